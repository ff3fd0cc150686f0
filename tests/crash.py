"""Processes that are killed at a chosen point, and what must hold of a store afterwards.

A point is an event that Python's audit hooks tell of: a file below some folder is about to be
opened, renamed, linked, made or removed, or a lock is about to be taken. The hook kills the process
that it is in, so the product runs as it is. What lies between two events, the middle of a write, is
reached by a limit on the size of files, at which the kernel kills.
"""

import json
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from karma import storage
from karma.errors import SharedStoreError, WorkspaceError
from karma.journal import Journal, settle_dead
from karma.outbox import Outbox
from karma.shared import open_store
from karma.storage import Storage
from karma.store import Store, digest_of, manifest_of
from tests.serving import Server
from tests.told import parent, stage

EVENTS = ("open", "os.", "shutil.", "fcntl.flock")
RUN_ENDS = {"kind": "end", "keys": ["x"], "end": None, "note": "", "cached": [], "artifacts": []}
FILES = {"a.txt": "one", "b/c.txt": "two", "log/output.txt": "made"}

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.crash", "fsspec.implementations.local", "s3fs"])


def work(root: Path, url: str, run: str) -> None:
    """What a run does with one instance: tell of itself, make what is not there, commit, end."""
    store = open_store(root, url)
    store.create()
    settle_dead(store, print)
    store.tidy()
    journal = Journal(store, run, print)
    ends = {**RUN_ENDS, "keys": [run]}
    journal.open(parent(run), {**ends, "status": "KILLED"})
    store.claim(["k"])
    with store.lock("k", print):
        record = store.latest("base", "k")
        if record is None or not store.fetch(record["digest"]):
            with store.lease("base", "k"):
                _make(store, journal, run)
        else:
            store.share(record)
    store.release()
    journal.close({**ends, "status": "FINISHED"})


def fetch(root: Path, url: str, digest: str) -> None:
    """Bring an artefact of a shared store down."""
    store = open_store(root, url)
    store.create()
    assert store.fetch(digest)


def hash_files(root: Path, *paths: Path) -> None:
    """Hash input files, or know them."""
    store = Store(root)
    store.create()
    for path in paths:
        store.hash_source(path)


def _make(store: Store, journal: Journal, run: str) -> None:
    out = store.begin("k") / "out"
    for name, text in FILES.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    with (store.root.parent / "made").open("a") as file:
        file.write(f"{run}\n")
    facts = {"fingerprint": {}, "seconds": 1.0, "run": run}
    entry = stage("base", "k", parent=run)
    record = store.commit("base", "k", facts, lambda _: journal.prepare("k", entry))
    if record.get("run") == run:
        journal.tell("k")


def kill_at(point: int, below: Path, task: Callable[..., None], *arguments: Any) -> bool:
    """Run a task in a process that is killed at its point of that number; whether it was."""
    return _killed(_forks.Process(target=_until, args=(point, below, task, arguments)))


def kill_at_size(size: int, task: Callable[..., None], *arguments: Any) -> bool:
    """Run a task in a process that is killed when it writes more than ``size`` bytes to a file."""
    return _killed(_forks.Process(target=_limited, args=(size, task, arguments)))


def kill_at_request(
    number: int, fate: str, server: Server, task: Callable[..., None], *arguments: Any
) -> bool:
    """Run a task in a process that is killed while its request of that number is under way.

    The server has handled that (LOST) or has not (DROPPED); the process never hears of it.
    """
    child = _forks.Process(target=_with, args=(server.environment, task, arguments))
    before = server.asked.total()

    def disturb(asked: int) -> str:
        if asked - before != number:
            return ""
        os.kill(child.pid, signal.SIGKILL)
        return fate

    server.disturb = disturb
    try:
        return _killed(child)
    finally:
        server.disturb = lambda _: ""


def try_it(task: Callable[..., None], *arguments: Any) -> bool:
    """Run a task in a process of its own; whether it ended well, or a full disk ended it."""
    child = _forks.Process(target=_tried, args=(task, arguments))
    child.start()
    child.join()
    assert child.exitcode in (0, 3)
    return child.exitcode == 0


def _tried(task: Callable[..., None], arguments: tuple[Any]) -> None:
    storage.WAITS = ()  # this does not pass
    try:
        task(*arguments)
    except (OSError, WorkspaceError, SharedStoreError):
        sys.exit(3)


def _with(environment: dict[str, str], task: Callable[..., None], arguments: tuple[Any]) -> None:
    os.environ.update(environment)
    task(*arguments)


def _killed(child: Any) -> bool:
    child.start()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL, -signal.SIGXFSZ), child.exitcode
    return bool(child.exitcode)


def _listen(below: Path, heard: Callable[[], None]) -> None:
    def hook(event: str, values: tuple[Any, ...]) -> None:
        if event.startswith(EVENTS) and (
            event == "fcntl.flock" or any(str(value).startswith(str(below)) for value in values)
        ):
            heard()

    sys.addaudithook(hook)


def _until(point: int, below: Path, task: Callable[..., None], arguments: tuple[Any]) -> None:
    number = 0

    def heard() -> None:
        nonlocal number
        number += 1
        if number == point:
            os.kill(os.getpid(), signal.SIGKILL)

    _listen(below, heard)
    task(*arguments)


def _limited(size: int, task: Callable[..., None], arguments: tuple[Any]) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    task(*arguments)


def require_whole(root: Path) -> None:
    """All objects are what their manifests say, and all records have theirs."""
    store = Store(root)
    for folder in (root / "objects").glob("[0-9a-f]*"):
        files = store.manifest(folder.name)
        assert files == manifest_of(folder)
        assert digest_of(files) == folder.name
    for path in (root / "records").glob("*/*.json"):
        assert store.here(json.loads(path.read_bytes())["digest"])


def require_whole_there(url: str, scratch: Path) -> None:
    """What a store shares is whole for a machine that comes to it new: each record's artefact."""
    store = open_store(scratch, url)
    store.create()
    for name in Storage(url).names("records"):
        record = json.loads(Storage(url).read(name))
        assert store.fetch(record["digest"])
    require_whole(scratch)


def told(root: Path) -> list[str]:
    """What waits to be told, in order: runs, stages, ends."""
    entries = [json.loads(path.read_bytes()) for path in Outbox(root).waiting()]
    return [f"{entry['kind']} {entry['keys'][0]}" for entry in entries]


def made(root: Path) -> int:
    """How often the instance was made."""
    path = root.parent / "made"
    return len(path.read_text().splitlines()) if path.exists() else 0
