"""What a pipeline run will have told MLflow: a crash at any moment loses none of it, repeats none.

    open/<run>/<key>.json ── the record stands ──► outbox/ ── sent ──► MLflow
       written before it       moved after it

An entry is written before the record that it tells of, and moved to the outbox after. Evaluations
wait for the end of the run, where those of one model become one entry. The folder of a run is
locked while its process lives; who finds it unlocked (the next run, even one that has nothing to
run) moves what was committed, and the end that the run left for the case of its death.

A journal that cannot be written (a full disk) stops nothing: that is said once, and tried again
when the run ends.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from karma.errors import WorkspaceError
from karma.locks import try_lock
from karma.outbox import Outbox, write
from karma.store import Store, write_atomically

Entry = dict[str, Any]
ORDER = ("parent", "stage", "end")


class Journal:
    """The entries of one pipeline run."""

    def __init__(self, store: Store, run: str, say: Callable[[str], None]) -> None:
        self._store = store
        self._folder = store.root / "open" / run
        self._say = say
        self._lock = -1
        self._unwritten: dict[str, Entry] = {}
        self._told_of_trouble = False

    def open(self, begin: Entry, death: Entry) -> None:
        """Tell that the run began; ``death`` is told if its process dies. Raises WorkspaceError."""
        # Locked under another name first, so that nobody finds it unlocked.
        new = self._folder.with_name(f".{self._folder.name}")
        try:
            new.mkdir()
            self._lock = os.open(new, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            new.rename(self._folder)
        except OSError as error:
            raise WorkspaceError(
                str(self._folder),
                f"it cannot be written ({error.strerror})",
                "Make room for it, or see to your rights to write there.",
            ) from error
        self.prepare("end", death)
        self.prepare("begin", begin)
        self.tell("begin")

    def prepare(self, name: str, entry: Entry) -> None:
        """Keep an entry until it is told; to be called before what it tells of is there."""
        try:
            write(self._folder / f"{name}.json", entry)
        except OSError as error:
            self._unwritten[name] = entry
            self._complain(error)

    def use(self, key: str) -> None:
        """Tell ``karma gc`` that the run needs what ``key`` made or will make.

        To be called under ``Store.held`` before its record is looked for.
        """
        try:
            with (self._folder / "used.txt").open("a", encoding="utf-8") as file:
                file.write(f"{key}\n")
        except OSError as error:
            self._complain(error)

    def tell(self, name: str) -> None:
        """Move a prepared entry to the outbox, now that what it tells of is there."""
        path = self._folder / f"{name}.json"
        if not path.exists():
            return  # it could not be written, or another process was first with what it tells of
        try:
            Outbox(self._store.root).put(path)
        except OSError as error:
            self._complain(error)

    def close(self, end: Entry) -> None:
        """Tell all that was committed, and that the run ended."""
        try:
            for name, entry in {**self._unwritten, "end": end}.items():
                write(self._folder / f"{name}.json", entry)
            _settle(self._store, self._folder)
        except OSError as error:
            self._complain(error)
        os.close(self._lock)

    def _complain(self, error: OSError) -> None:
        if not self._told_of_trouble:
            self._say(_trouble(error))
        self._told_of_trouble = True


def settle_dead(store: Store, say: Callable[[str], None]) -> None:
    """Move to the outbox what runs had committed whose process died before it could say so."""
    for folder in sorted((store.root / "open").glob("[0-9a-f]*")):
        with _unlocked(folder) as dead:
            if not dead:
                continue
            try:
                _settle(store, folder)
            except OSError as error:
                say(_trouble(error))


def goes_on(store: Store, run: str) -> bool:
    """Whether the process of a pipeline run still lives."""
    folder = store.root / "open" / run
    with _unlocked(folder) as dead:
        return folder.exists() and not dead


@contextmanager
def _unlocked(folder: Path) -> Iterator[bool]:
    """Whether the process that locked a folder is gone; while the block lasts it is ours."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        yield False  # another process has just settled it
        return
    try:
        yield try_lock(descriptor)
    finally:
        os.close(descriptor)


def _settle(store: Store, folder: Path) -> None:
    """Move what was committed to the outbox, in order, and remove the folder.

    Can be cut off anywhere and be done again. Raises OSError.
    """
    for (path, entry), *others in _groups(store, folder):
        if others:
            whole = _joined([entry, *(other for _, other in others)])
            write_atomically(path, json.dumps(whole).encode())
        for other, _ in others:
            other.unlink()
        Outbox(store.root).put(path)
    shutil.rmtree(folder, ignore_errors=True)


def _groups(store: Store, folder: Path) -> list[list[tuple[Path, Entry]]]:
    """The entries to be told, in the order of events, those of one MLflow run together."""
    paths = sorted(folder.glob("*.json"))
    found: list[tuple[Path, Entry]] = [(path, json.loads(path.read_bytes())) for path in paths]
    found.sort(key=lambda item: (ORDER.index(item[1]["kind"]), item[1].get("start", 0)))
    groups: dict[tuple[str, str], list[tuple[Path, Entry]]] = {}
    for path, entry in found:
        if entry["kind"] != "stage" or _committed(store, entry, folder.name):
            groups.setdefault((entry["kind"], entry.get("name", "")), []).append((path, entry))
    return list(groups.values())


def _committed(store: Store, entry: Entry, run: str) -> bool:
    """Whether the records that an entry tells of stand, made for the run that it names, or else
    for the one whose journal it lies in."""
    records = [store.record(entry["tags"]["stage"], key) for key in entry["keys"]]
    maker = entry.get("run", run)
    return all(record is not None and record.get("run") == maker for record in records)


def _joined(entries: list[Entry]) -> Entry:
    """Several entries of one MLflow run as one; an entry twice changes nothing."""
    whole = dict(entries[0])
    for entry in entries[1:]:
        for name, value in entry.items():
            if isinstance(value, dict):
                whole[name] = {**whole[name], **value}
            elif isinstance(value, list):
                whole[name] = [*whole[name], *(item for item in value if item not in whole[name])]
    whole["start"] = min(entry["start"] for entry in entries)
    whole["end"] = max(entry["end"] for entry in entries)
    return whole


def _trouble(error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return f"What MLflow is to be told cannot be written ({reason}); it is told later"
