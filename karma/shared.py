"""A workspace that is the cache of a store which several machines share.

What is not here is looked for there; what is committed here is committed there as well, so that a
store that is away leaves a whole commit here, which the next run shares. Files come down when a
job needs them. One note is kept beside what a workspace holds anyhow:

    shared/<store>/<key>    this key's record is the one that stands in that store
"""

import hashlib
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from karma.errors import SharedStoreError
from karma.lease import HeldError
from karma.remote import Remote, connect
from karma.store import Store, sync_files

POLL = 2.0  # seconds between looks at a key that another machine works on


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

    def intact(self, digest: str) -> bool:
        """Whether an artefact can be had: it is here or there."""
        return self.here(digest) or self.remote.holds(digest)

    def fetch(self, digest: str) -> bool:
        """Make sure that an artefact is on this disk; what comes is held against its manifest."""
        if self.here(digest):
            return True
        if not self.remote.holds(digest):
            return False
        with self.lock(f"object-{digest}", lambda _: None):
            folder = self.root / "scratch" / f"fetched-{digest[:16]}"
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
        if mine == record and (self._shared / key).exists():
            return record
        standing = mine if mine is not None and self.here(mine["digest"]) else record
        if self.here(standing["digest"]):
            standing = self.remote.share(standing, self.path(standing["digest"]))
        elif standing == mine:
            return mine  # it has no files to share
        if standing != mine:
            self._write_record(standing)
        self._shared.mkdir(parents=True, exist_ok=True)
        (self._shared / key).touch()
        return standing

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
        (self._shared / key).unlink(missing_ok=True)
        return super().commit(stage, key, facts, before)

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
