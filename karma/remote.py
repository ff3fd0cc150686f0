"""The store that several machines share; a workspace is its cache.

Layout below its URL:

    objects/<digest>/           as in a workspace; manifest.json is written last
    records/<stage>/<key>.json  created once: who comes second gets the record that stands
    runs/<key>.json             the MLflow run that made the record's artefact
    leases/<key>/<n>            who is at work on a key (``lease``)
    failed/<key>.txt            what the last job printed that failed on a worker of a pool
    needs/ claims/ kept/        who needs what, for ``karma gc`` (``claims``)

The object is uploaded first, its record is created last and only if there is none: across hosts, a
key is committed once. What a kill leaves of an upload has no manifest and no record. What comes
down is held against its manifest, and that against its digest, before anybody sees it.
"""

import hashlib
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from karma.claims import Claims
from karma.errors import InputError, SharedStoreError
from karma.lease import TTL, Leases
from karma.storage import Storage

Record = dict[str, Any]
Files = dict[str, dict[str, Any]]


class Remote:
    """A shared store as one process sees it; safe for many threads."""

    def __init__(self, storage: Storage, leases: Leases) -> None:
        self.address = storage.address
        self.leases = leases
        self.claims = Claims(storage, leases)
        self.storage = storage
        self._lock = threading.Lock()
        self._epoch: str | None = None
        self._listed: dict[str, set[str]] | None = None
        self._records: dict[str, Record] = {}
        self._objects: set[str] | None = None
        self._lost: set[str] = set()

    def check(self) -> None:
        """Raise SharedStoreError unless it can be written, and creates a file only once."""
        name = f"probe/{uuid.uuid4().hex}"
        self.storage.create(name, b"first")
        stands = self.storage.create(name, b"second")
        self.storage.delete(name)
        if stands != b"first":
            raise SharedStoreError(
                f"store {self.address}",
                "it does not refuse to create a file that is there (If-None-Match: *)",
                "Two hosts could commit one key: name a storage that does, such as S3.",
            )

    # What was listed, and whether it still holds

    def epoch(self) -> str:
        """The last collection when this process first asked, before it listed anything."""
        with self._lock:
            if self._epoch is None:
                self._epoch = self.claims.epoch()
            return self._epoch

    def look_again(self) -> bool:
        """Wait while ``karma gc`` removes; False if what was listed before has to be again."""
        now = self.claims.epoch(make=True)
        with self._lock:
            before, self._epoch = self._epoch, now
            if before != now:
                self._forget()
        return before in (now, None)

    def _forget(self) -> None:
        self._listed, self._objects = None, None
        self._records.clear()

    @contextmanager
    def closed(self) -> Iterator[Callable[[], None]]:
        """As ``Claims.closed``: while no run looks for anything new, what stands is listed anew."""
        with self.claims.closed() as check:
            self._begin_anew("")
            try:
                yield check
            finally:
                self._begin_anew(None)

    def _begin_anew(self, epoch: str | None) -> None:
        with self._lock:
            self._epoch = epoch
            self._forget()

    # Records

    def records(self) -> list[Record]:
        """All records as they are now."""
        names = self.storage.names("records")
        with self._lock:
            lacking = [n for n in names if PurePosixPath(n).stem not in self._records]
            for name, data in self.storage.read_all(lacking).items():
                self._records[PurePosixPath(name).stem] = self._parsed(name, data)
            found = [self._records.get(PurePosixPath(name).stem) for name in names]
        return [record for record in found if record is not None]

    def record(self, stage: str, key: str, cached: set[str]) -> Record | None:
        """The record of a key as far as it was listed when this process first asked.

        Records are fetched by the stage, side by side, but for those that are ``cached``.
        """
        self.epoch()
        with self._lock:
            if self._listed is None:
                self._listed = {}
                for name in self.storage.names("records"):
                    path = PurePosixPath(name)
                    self._listed.setdefault(path.parent.name, set()).add(path.stem)
            listed = self._listed.get(stage, set())
            if key in listed and key not in self._records:
                self._fetch_records(stage, listed - cached | {key})
            return self._records.get(key)

    def latest(self, stage: str, key: str) -> Record | None:
        """The record of a key as it is now."""
        with self._lock:
            self._records.pop(key, None)  # it may have been replaced, its artefact being gone
            self._fetch_records(stage, {key})
            return self._records.get(key)

    def _fetch_records(self, stage: str, keys: set[str]) -> None:
        names = {_record(stage, key): key for key in keys if key not in self._records}
        for name, data in self.storage.read_all(names).items():
            self._records[names[name]] = self._parsed(name, data)

    def _parsed(self, name: str, data: bytes) -> Record:
        try:
            document = json.loads(data)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise SharedStoreError(
                f"store {self.address}",
                f"{name} is damaged: no JSON object",
                "karma verify with this store takes it away; what it told is made again.",
            )
        return document

    def share(self, record: Record, folder: Path) -> Record:
        """Upload an artefact and create its record; the record that stands.

        One that stands although its artefact is gone is replaced.
        """
        while True:
            before = self.epoch()
            standing = self._share(record, folder)
            # A collection may have begun before the record stood, and taken what it points to.
            self.look_again()
            if self.epoch() == before:
                break
        with self._lock:
            self._records[record["key"]] = standing
        return standing

    def _share(self, record: Record, folder: Path) -> Record:
        name = _record(record["stage"], record["key"])
        data = json.dumps(record, indent=1, sort_keys=True).encode()
        self._upload(record["digest"], folder)
        standing = self._parsed(name, self.storage.create(name, data))
        if standing["digest"] != record["digest"] and not self.holds(standing["digest"]):
            self.storage.write(name, data)
            standing = record
        return standing

    # Artefacts

    def holds(self, digest: str) -> bool:
        """Whether it should have an artefact whole; ``download`` finds out."""
        self.epoch()
        with self._lock:
            if digest in self._lost:
                return False
            if self._objects is None:
                self._objects = self.storage.folders("objects")
            if digest not in self._objects and self.storage.exists(_manifest(digest)):
                self._objects.add(digest)
            return digest in self._objects

    def download(self, digest: str, folder: Path) -> bool:
        """Fetch an artefact's files and its logs into ``folder``; False if it is not whole there.

        From then on this process takes it for gone, and a new commit uploads it again.
        """
        manifest = self.storage.read(_manifest(digest))
        whole = manifest is not None and hashlib.sha256(manifest).hexdigest() == digest
        if whole and manifest is not None:
            files: Files = json.loads(manifest)
            (folder / "manifest.json").write_bytes(manifest)
            whole = all(self._fetch(digest, name, folder, files[name]) for name in files)
        if not whole:
            with self._lock:
                self._lost.add(digest)
            return False
        for name in self.storage.names(f"objects/{digest}/log"):
            relative = name.removeprefix(f"objects/{digest}/")
            if _inside(relative):
                self.storage.download(name, folder / relative)
        return True

    def _fetch(self, digest: str, name: str, folder: Path, expected: dict[str, Any]) -> bool:
        """Download one file; whether it is what the manifest says."""
        if not _inside(name):
            return False
        path = folder / name
        try:
            self.storage.download(f"objects/{digest}/{name}", path)
        except FileNotFoundError:
            return False
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        return bool(found == expected["sha256"])

    def _upload(self, digest: str, folder: Path) -> None:
        """Copy an artefact there, its manifest last, unless it is there; and its logs."""
        lost = digest in self._lost
        there = set() if lost else set(self.storage.names(f"objects/{digest}"))
        manifest = (folder / "manifest.json").read_bytes()
        files = {f"objects/{digest}/{name}" for name in ("manifest.json", *json.loads(manifest))}
        whole = files <= there
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            wanted = name.startswith("log/") or not whole
            if path.is_file() and name != "manifest.json" and wanted:
                remote = f"objects/{digest}/{name}"
                if not (name.startswith("log/") and remote in there):
                    self.storage.upload(path, remote)
        if not whole:
            self.storage.write(_manifest(digest), manifest)
        with self._lock:
            self._lost.discard(digest)
            if self._objects is not None:
                self._objects.add(digest)

    # What goes

    def remove(self, records: list[tuple[str, str]], digests: list[str]) -> None:
        """Remove records (stage, key), then artefacts; to be called while the gate is closed.

        Cut off anywhere, it leaves no record whose artefact it took.
        """
        self.storage.delete_all(_record(stage, key) for stage, key in records)
        self.storage.delete_all(f"runs/{key}.json" for _, key in records)
        self.storage.delete_all(f"failed/{key}.txt" for _, key in records)
        self.take(digests)

    def take(self, digests: list[str]) -> None:
        """Remove artefacts, the manifests first: a record that stands is then of a missing one."""
        self.storage.delete_all(map(_manifest, digests))
        for digest in digests:
            self.storage.delete_folder(f"objects/{digest}")

    # The log and the MLflow run of a key

    def log(self, digest: str, key: str) -> bytes | None:
        """What the job of a key printed, if it made an artefact."""
        return self.storage.read(f"objects/{digest}/log/{key}/output.txt")

    def mlflow_run(self, key: str) -> dict[str, str] | None:
        """The MLflow run that made the artefact of ``key``, on whichever host."""
        data = self.storage.read(f"runs/{key}.json")
        return None if data is None else json.loads(data)

    def set_mlflow_run(self, key: str, document: dict[str, str]) -> None:
        """Tell the other hosts which MLflow run made the artefact of ``key``."""
        self.storage.write(f"runs/{key}.json", json.dumps(document).encode())

    # The output of a job that failed elsewhere

    def failed(self, key: str) -> bytes | None:
        """What the last job of ``key`` printed that failed on a worker of a pool."""
        return self.storage.read(f"failed/{key}.txt")

    def set_failed(self, key: str, output: bytes) -> None:
        """Keep what a job printed for the run that waits for it."""
        self.storage.write(f"failed/{key}.txt", output)


def connect(url: str) -> Remote:
    """The shared store at ``url``; asks it nothing yet. Raises SharedStoreError."""
    storage = Storage(url)
    return Remote(storage, Leases(storage, _seconds()))


def _seconds() -> float:
    """How long a lease of ours stands without a beat: 60 s, or what the environment says."""
    said = os.environ.get("KARMA_LEASE", str(TTL))
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 3600:
        raise InputError(f"KARMA_LEASE={said}", "it is no number of seconds", "Give 1 to 3600.")
    return seconds


def _record(stage: str, key: str) -> str:
    return f"records/{stage}/{key}.json"


def _manifest(digest: str) -> str:
    return f"objects/{digest}/manifest.json"


def _inside(name: str) -> bool:
    """Whether a name from elsewhere stays below its folder."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
