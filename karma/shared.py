"""A workspace that is the cache of a store which several machines share.

What is not here is looked for there; what is committed here is committed there as well, so that a
store that is away leaves a whole commit here, which the next run shares. Files come down when a
job needs them. Two notes are kept beside what a workspace holds anyhow:

    shared/workspace.json            the name by which stores know this workspace
    shared/<store>/<epoch>/<key>     this key's record is the one that stands in that store, as far
                                     as is known since its last collection (``claims``)
"""

import hashlib
import json
import shutil
import socket
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from karma.errors import SharedStoreError
from karma.lease import HeldError, myself
from karma.lineage.known import refs, uses
from karma.remote import Remote, connect
from karma.store import NOTES, Store, read_json, sync_files, write_atomically

POLL = 2.0  # seconds between looks at a key that another machine works on
BEAT = 60.0  # seconds between two times that a run tells the store that it is at work


def open_store(workspace: Path, url: str) -> Store:
    """The store of a workspace, shared if there is a ``url``; nothing is asked of that yet."""
    return SharedStore(workspace, connect(url)) if url else Store(workspace)


class SharedStore(Store):
    """A workspace and the store that it shares."""

    def __init__(self, root: Path, remote: Remote) -> None:
        super().__init__(root)
        self.remote = remote
        name = hashlib.sha256(remote.address.encode()).hexdigest()[:16]
        self._shared = self.root / "shared" / name
        self._run = uuid.uuid4().hex
        self._claimed: set[str] = set()
        self._told: set[str] = set()
        self._guard = threading.Lock()
        self._ended = threading.Event()

    def intact(self, digest: str) -> bool:
        """Whether an artefact can be had: it is here or there."""
        return self.here(digest) or self.remote.holds(digest)

    def fetch(self, digest: str) -> bool:
        """Make sure that an artefact is on this disk; what comes is held against its manifest."""
        if self.here(digest):
            return True
        if not self.remote.holds(digest):
            return False
        name = f"object-{digest}"  # karma gc looks for the lock by the name of the folder
        with self.lock(name, lambda _: None):
            folder = self.root / "scratch" / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            if not self.here(digest) and self.remote.download(digest, folder):
                sync_files(folder)
                with self.held():
                    self._install(folder, digest)
            shutil.rmtree(folder, ignore_errors=True)
        return self.here(digest)

    def record(self, stage: str, key: str) -> dict[str, Any] | None:
        """The record of a key, here or in what was listed there when this process first asked."""
        record = self.own_record(stage, key)
        if record is None:
            cached = {path.stem for path in self._record_path(stage, key).parent.glob("*.json")}
            record = self.remote.record(stage, key, cached)
        return record

    def latest(self, stage: str, key: str) -> dict[str, Any] | None:
        """The record of a key, here or there as it is now."""
        return self.own_record(stage, key) or self.remote.latest(stage, key)

    def share(self, record: dict[str, Any]) -> dict[str, Any]:
        """Let a record stand there, with its artefact, or be kept here if it comes from there.

        If another machine was first, its record stands, here as well. Raises SharedStoreError.
        """
        stage, key = record["stage"], record["key"]
        mine = self.own_record(stage, key)
        note = self._note(key)
        if mine == record and note.exists():
            return record
        standing = mine if mine is not None and self.here(mine["digest"]) else record
        there = self.remote.record(stage, key, set())
        if there is not None and self.remote.holds(there["digest"]):
            standing = there
        elif self.here(standing["digest"]):
            standing = self.remote.share(standing, self.path(standing["digest"]))
        elif standing == mine:
            return mine  # it has no files to share
        if standing != mine:
            if mine is not None and mine["digest"] != standing["digest"]:
                self._set_aside(stage, mine)
            self._write_record(standing)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
        return standing

    def _note(self, key: str) -> Path:
        return self._shared / self.remote.epoch() / key

    def commit(
        self,
        stage: str,
        key: str,
        facts: dict[str, Any],
        before: Callable[[dict[str, Any]], None] = lambda _: None,
        replace: bool = False,
    ) -> dict[str, Any]:
        """Commit here, then share; files that were gone from there are uploaded again."""
        assert not replace, "among machines the first commit of a key stands"
        for note in self._shared.glob(f"*/{key}"):
            note.unlink()
        return super().commit(stage, key, facts, before)

    def adopt(self, record: dict[str, Any]) -> bool:
        """Write a record here and there; False if one stands on either side."""
        if self.latest(record["stage"], record["key"]) is not None or not super().adopt(record):
            return False
        return self.share(record) == record

    def records(self) -> Iterator[dict[str, Any]]:
        """The records of the workspace, then those of other machines."""
        here = set()
        for record in super().records():
            here.add(record["key"])
            yield record
        yield from (record for record in self.remote.records() if record["key"] not in here)

    # What this workspace needs of the store, told there for who collects on another machine

    def claim(self, keys: Iterable[str]) -> bool:
        """Tell that a run uses keys, before it looks for their records; waits while ``karma gc``
        removes. False if what was looked up before has to be looked up again.
        """
        with self._guard:
            new = set(keys) - self._claimed
            if not new:
                return True
            self.remote.claims.claim(self._run, myself(), self._claimed | new)
            self._claimed |= new
            known = self.remote.look_again()
            if len(self._claimed) == len(new):
                self._ended = threading.Event()
                threading.Thread(target=self._beat, args=(self._ended,), daemon=True).start()
            return known

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(BEAT):
            with self._guard, suppress(SharedStoreError):  # the next beat may get through
                if not ended.is_set():
                    self.remote.claims.claim(self._run, myself(), self._claimed)
                    self._publish()

    def release(self) -> None:
        """Tell what the recipes that ran need from now on, and that this process needs no more."""
        with self._guard:
            self._ended.set()
            self._publish()
            if self._claimed:
                self.remote.claims.release(self._run)
                self._claimed.clear()

    def use(self, recipe: str, instance: str, key: str) -> None:
        """As in a workspace; the store hears of it with the next beat, or at the end."""
        super().use(recipe, instance, key)
        self._told.add(recipe)

    def _publish(self) -> None:
        """Tell what the recipes need of which something was used."""
        those, self._told = self._told, set()
        try:
            for document in self.needs(those):
                self.remote.claims.publish(document)
        except SharedStoreError:
            self._told |= those
            raise

    def needs(self, recipes: set[str] | None = None) -> list[dict[str, Any]]:
        """What recipes of this workspace need, all by default, as ``Claims.publish`` takes it."""
        about = {"workspace": self.name(), "host": socket.gethostname(), "folder": str(self.root)}
        documents: dict[str, dict[str, Any]] = defaultdict(lambda: {"refs": {}, "uses": {}})
        for (recipe, instance), path in refs(self).items():
            if recipes is None or recipe in recipes:
                ref = read_json(path)
                documents[recipe]["refs"] |= {instance: ref["key"]} if ref else {}
        for key, those in uses(self).items():
            for use in (use for use in those if use.recipe in documents):
                documents[use.recipe]["uses"][key] = [use.instance, use.when]
        return [{**about, "recipe": recipe, **found} for recipe, found in documents.items()]

    def forget(self, recipe: str) -> None:
        """A recipe of this workspace needs nothing any more."""
        for notes in NOTES:
            shutil.rmtree(self.root / notes / recipe, ignore_errors=True)

    def name(self) -> str:
        """By which stores know this workspace; a copy of its folder is another one."""
        path = self.root / "shared" / "workspace.json"
        inode = self.root.stat().st_ino
        known = read_json(path)
        if known is None or known["inode"] != inode:
            known = {"name": uuid.uuid4().hex, "inode": inode}
            write_atomically(path, json.dumps(known).encode())
        return str(known["name"])

    def kept(self) -> list[dict[str, Any]]:
        """What ``karma keep`` protects in the store, on whichever machine it was said."""
        return self.remote.claims.kept()

    def set_kept(self, document: dict[str, Any]) -> None:
        """Protect an artefact of the store."""
        self.remote.claims.keep(document)

    def unkeep(self, digest: str) -> None:
        """Protect it no longer."""
        self.remote.claims.unkeep(digest)

    # Among machines

    @contextmanager
    def lease(self, stage: str, key: str) -> Iterator[None]:
        """Hold ``key`` alone among machines. Raises HeldError if another has or had it."""
        with self.remote.leases.hold(key, self._owner()):
            record = self.remote.latest(stage, key)
            if record is not None and self.remote.holds(record["digest"]):
                raise HeldError("another machine")  # which was done with it just before
            yield

    def _owner(self) -> str:
        """This workspace among all: the host, its boot, and the folder, whatever it is called."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        stat = self.root.stat()
        return f"{socket.gethostname()} {boot} {stat.st_dev} {stat.st_ino}"

    def wait(self, stage: str, key: str) -> None:
        """Wait until the machine that holds ``key`` has committed, let go, or counts as dead."""
        while self.remote.leases.holder(key) and self.latest(stage, key) is None:
            time.sleep(POLL)

    def mlflow_run(self, key: str) -> dict[str, str] | None:
        """The MLflow run that made the artefact of ``key``, on whichever machine."""
        known = super().mlflow_run(key)
        if known is None:
            with suppress(SharedStoreError):  # then a link is missing, and nothing else
                known = self.remote.mlflow_run(key)
        return known

    def set_mlflow_run(self, key: str, document: dict[str, str]) -> None:
        """Remember the MLflow run that made the artefact of ``key``, for all machines."""
        super().set_mlflow_run(key, document)
        with suppress(SharedStoreError):
            self.remote.set_mlflow_run(key, document)
