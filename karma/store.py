"""The content-addressed store: artefacts, the records that tie keys to them, and what is in work.

Layout below the root (the workspace):

    objects/<digest>/              an artefact: its files and manifest.json
    objects/<digest>/log/<key>/    what the job that made it printed and measured; not in the digest
    records/<stage>/<key>.json     fingerprint, digest, time, memory; written last
    records/<stage>/replaced/      those of other bytes whose key was built anew
    refs/<recipe>/<instance>.json  the last key of an instance: the "old" of ``karma why``
    uses/<recipe>/<instance>/<key> empty; when a run of the recipe last needed what the key made
    kept/<digest>.json             reports that ``karma gc`` leaves alone, with all that is behind
    tries/<recipe>/<instance>.json the key that it was last run under, finished or not
    runs/<key>.json                the MLflow run that made the record's artefact
    scratch/<key>/                 a job in work: out/, state/ (checkpoints), log.txt, failure.json
    outbox/                        what MLflow has not been told yet
    names/<recipe>/path            where the recipe's file lies
    registry/<recipe>.json         what MLflow's registry was told last to hold of a recipe
    open/<run>/                    a run that goes on: what MLflow will be told once it is done
    locks/                         one file per key, held with flock while its job runs, and one per
                                   object while that is put in its place
    sources.json                   digests of input files, by path, size, mtime and inode

Commit is atomic: the job's folder is hashed, synced and renamed to its digest, and only then is the
record written, with a link that fails if another process was first. A crash leaves either nothing
that looks finished or everything. What this module leaves out on purpose: what a key is made of
(``fingerprint``), what is stale (``plan``), and other machines (``shared``, for which some methods
stand here that do next to nothing on one).
"""

import fcntl
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from karma.errors import WorkspaceError
from karma.locks import try_lock

NOTES = ("refs", "tries", "uses", "names")  # by recipe


def canonical(document: Any) -> bytes:
    """``document`` as JSON whose bytes depend on its content only."""
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` so that a reader sees all of it or what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    except BaseException:
        # A full disk must not fill further with what nobody looks at.
        new.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object at ``path``, or None if there is no such file. Raises WorkspaceError."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WorkspaceError(
            str(path),
            f"it cannot be read ({error.strerror})",
            "Check its rights, or name another workspace with --workspace or KARMA_WORKSPACE.",
        ) from error
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise WorkspaceError(
            str(path),
            "it is damaged: no JSON object",
            "Delete the file; what it told is found or made again.",
        )
    return document


def manifest_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each file of an artefact, by relative path; ``log/`` does not count."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name == "manifest.json" or name.startswith("log/"):
            continue
        files[name] = {"size": path.stat().st_size, "sha256": sha256(path)}
    return files


def digest_of(files: dict[str, dict[str, Any]]) -> str:
    """The digest of an artefact: the SHA-256 of its manifest's files."""
    return hashlib.sha256(canonical(files)).hexdigest()


class Store:
    """A workspace on a local disk; safe for many processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._parsed: tuple[list[int], dict[str, Any]] | None = None

    def create(self) -> None:
        """Make the folders. Raises WorkspaceError if that cannot be, or if DuckDB would take their
        path as a glob."""
        if any(sign in str(self.root.resolve()) for sign in "*?["):
            raise WorkspaceError(
                f"workspace {self.root}",
                "its path holds one of * ? [, which DuckDB has no escape for",
                "Name another with --workspace or KARMA_WORKSPACE.",
            )
        try:
            folders = ("objects", "records", "refs", "runs", "scratch", "outbox", "open", "locks")
            for name in folders:
                (self.root / name).mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe.{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise WorkspaceError(
                f"workspace {self.root}",
                f"it cannot be written ({error.strerror})",
                "Name another with --workspace or KARMA_WORKSPACE.",
            ) from error

    # Artefacts

    def path(self, digest: str) -> Path:
        """The folder of an artefact."""
        return self.root / "objects" / digest

    def manifest(self, digest: str) -> dict[str, dict[str, Any]] | None:
        """The files of an artefact, or None if it is not there."""
        return read_json(self.path(digest) / "manifest.json")

    def intact(self, digest: str) -> bool:
        """Whether an artefact can be had."""
        return self.here(digest)

    def fetch(self, digest: str) -> bool:
        """Make sure that an artefact is on this disk; False if it cannot be had."""
        return self.here(digest)

    def here(self, digest: str) -> bool:
        """Whether all files of an artefact are here with their sizes; contents are not reread."""
        files = self.manifest(digest)
        if files is None:
            return False
        folder = self.path(digest)
        try:
            return all((folder / name).stat().st_size == f["size"] for name, f in files.items())
        except FileNotFoundError:
            return False

    # Records

    def record(self, stage: str, key: str) -> dict[str, Any] | None:
        """What is known of the artefact that ``key`` stands for, or None if it was never built."""
        return self.own_record(stage, key)

    def own_record(self, stage: str, key: str) -> dict[str, Any] | None:
        """As ``record``, of this workspace alone."""
        return read_json(self._record_path(stage, key))

    def latest(self, stage: str, key: str) -> dict[str, Any] | None:
        """As ``record``, and what another machine has committed this moment is found, too."""
        return self.record(stage, key)

    def records(self) -> Iterator[dict[str, Any]]:
        """Every record, those that a forced run replaced before the ones that stand."""
        paths = sorted((self.root / "records").rglob("*.json"), key=lambda path: -len(path.parts))
        for path in paths:
            record = read_json(path)
            if record is not None:  # another process may have removed it
                yield record

    def share(self, record: dict[str, Any]) -> dict[str, Any]:
        """Let a record be known to other machines; the record that stands."""
        return record

    def _record_path(self, stage: str, key: str) -> Path:
        return self.root / "records" / stage / f"{key}.json"

    def _write_record(self, record: dict[str, Any]) -> None:
        data = json.dumps(record, indent=1, sort_keys=True).encode()
        write_atomically(self._record_path(record["stage"], record["key"]), data)

    def commit(
        self,
        stage: str,
        key: str,
        facts: dict[str, Any],
        before: Callable[[dict[str, Any]], None] = lambda _: None,
        replace: bool = False,
    ) -> dict[str, Any]:
        """Turn ``scratch/<key>/out`` into an artefact and write its record; return the record.

        ``facts`` (fingerprint, seconds, memory, ...) become part of the record. If another process
        was first, its record stands and is returned. A record whose artefact is gone is replaced,
        and with ``replace`` one that stands, too; of other bytes, it is kept beside the new one.
        ``before`` gets the record just before it is written, the artefact being in its place.
        """
        out = self.root / "scratch" / key / "out"
        files = manifest_of(out)
        digest = digest_of(files)
        (out / "manifest.json").write_bytes(canonical(files))
        sync_files(out)
        record = {"stage": stage, "key": key, "digest": digest, "files": files, **facts}
        # Another key may just make the same bytes; an object without a record yet is no rubbish.
        with self.lock(f"object-{digest}", lambda _: None), self.held():
            self._place(out, digest, key)
            # As far as it is known here: other machines are asked when it is shared.
            standing = self.own_record(stage, key)
            if standing is not None and self.here(standing["digest"]) and not replace:
                record = standing
            else:
                if standing is not None and standing["digest"] != digest:
                    self._set_aside(stage, standing)
                before(record)
                self._write_record(record)
        self.drop(key)
        return self.share(record)

    def adopt(self, record: dict[str, Any]) -> bool:
        """Write a record that ties its key to an artefact that is there; False if one stands."""
        with self.held():
            if self.record(record["stage"], record["key"]) is not None:
                return False
            self._write_record(record)
        return True

    def _set_aside(self, stage: str, record: dict[str, Any]) -> None:
        """Keep a record whose place another takes: what was made from its artefact may be kept."""
        name = f"{record['key']}-{record['digest'][:16]}.json"
        data = json.dumps(record, indent=1, sort_keys=True).encode()
        write_atomically(self.root / "records" / stage / "replaced" / name, data)

    def _place(self, out: Path, digest: str, key: str) -> None:
        """Rename a finished job's folder to its digest, its log below the log of the object."""
        target = self.path(digest)
        log = out / "log"
        if log.exists():
            log.rename(out / "log.tmp")
            log.mkdir()
            (out / "log.tmp").rename(log / key)
        if self.here(digest):
            if log.exists() and not (target / "log" / key).exists():
                (target / "log").mkdir(exist_ok=True)
                (log / key).rename(target / "log" / key)
            return
        self._install(out, digest)

    def _install(self, folder: Path, digest: str) -> None:
        """Rename a whole folder to its digest."""
        target = self.path(digest)
        if target.exists():
            # Damaged: move it aside in one step, so that nobody sees half of it.
            target.rename(self.root / "scratch" / f"damaged-{digest[:16]}-{time.time_ns()}")
        folder.rename(target)
        _sync_folder(target.parent)

    # Work in progress

    def begin(self, key: str) -> Path:
        """An empty ``scratch/<key>/out`` beside the checkpoints of an earlier try; its parent."""
        folder = self.root / "scratch" / key
        shutil.rmtree(folder / "out", ignore_errors=True)
        (folder / "out").mkdir(parents=True)
        (folder / "state").mkdir(exist_ok=True)
        return folder

    def drop(self, key: str) -> None:
        """Remove what tries for ``key`` have left, now that another has done it."""
        shutil.rmtree(self.root / "scratch" / key, ignore_errors=True)

    def tidy(self) -> None:
        """Drop the scratch of keys whose process died after the record and before this.

        Where the files are gone again, it may hold the checkpoints of who makes them anew.
        """
        for folder in (self.root / "scratch").iterdir():
            records = [read_json(p) for p in (self.root / "records").glob(f"*/{folder.name}.json")]
            if not any(record and self.here(record["digest"]) for record in records):
                continue
            with (self.root / "locks" / folder.name).open("a") as file:
                if try_lock(file):
                    self.drop(folder.name)

    def failure(self, key: str) -> str | None:
        """The message of the last try, if it failed and no try has succeeded since."""
        document = read_json(self.root / "scratch" / key / "failure.json")
        return None if document is None else document["error"]

    def fail(self, key: str, error: str) -> None:
        """Remember that the last try for ``key`` failed."""
        document = json.dumps({"error": error}).encode()
        write_atomically(self.root / "scratch" / key / "failure.json", document)

    @contextmanager
    def lock(self, key: str, waiting: Callable[[str], None]) -> Iterator[None]:
        """Hold ``key`` alone. While another holds it, ``waiting`` is told once who and since when.

        The kernel frees the lock when its holder dies.
        """
        path = self.root / "locks" / key
        with path.open("a+", encoding="utf-8") as file:
            told = False
            while not try_lock(file):
                if not told:
                    waiting(path.read_text(encoding="utf-8") or "another process")
                    told = True
                time.sleep(0.2)
            file.truncate(0)
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            file.write(f"pid {os.getpid()} on {socket.gethostname()} since {since}")
            file.flush()
            yield

    @contextmanager
    def held(self, alone: bool = False) -> Iterator[None]:
        """Keep ``karma gc`` from removing anything meanwhile, or, ``alone``, everybody else from
        adding: for short work only. Raises WorkspaceError if there is no workspace.
        """
        try:
            file = (self.root / "locks" / "gc").open("ab")
        except OSError as error:
            raise WorkspaceError(
                f"workspace {self.root}",
                f"it cannot be locked ({error.strerror})",
                "Check the path and its rights, or name another with --workspace.",
            ) from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield

    def lease(
        self,
        stage: str,  # noqa: ARG002 - only other machines need it
        key: str,  # noqa: ARG002 - only other machines need it
    ) -> AbstractContextManager[None]:
        """Hold ``key`` alone among machines. Raises HeldError if another has or had it."""
        return nullcontext()

    def wait(self, stage: str, key: str) -> None:
        """Wait until the machine that holds ``key`` is done with it, or dead."""

    def claim(self, keys: Iterable[str]) -> bool:  # noqa: ARG002 - only other machines need it
        """Tell that a run uses keys, before it looks for their records."""
        return True

    def release(self) -> None:
        """Tell that what was claimed is not used any more, but for what references point to."""

    # What is kept

    def kept(self) -> list[dict[str, Any]]:
        """What ``karma keep`` protects."""
        found = map(read_json, (self.root / "kept").glob("*.json"))
        return [document for document in found if document is not None]

    def set_kept(self, document: dict[str, Any]) -> None:
        """Protect the artefact of ``digest`` and all behind it."""
        path = self.root / "kept" / f"{document['digest']}.json"
        write_atomically(path, json.dumps(document).encode())

    def unkeep(self, digest: str) -> None:
        """Protect it no longer."""
        (self.root / "kept" / f"{digest}.json").unlink(missing_ok=True)

    # References and small notes

    def ref(self, recipe: str, instance: str) -> dict[str, Any] | None:
        """The last key and digest of an instance of a recipe, or None."""
        return read_json(self.root / "refs" / recipe / f"{instance}.json")

    def set_ref(self, recipe: str, instance: str, key: str, digest: str) -> None:
        """Remember the last key and digest of an instance of a recipe."""
        self.use(recipe, instance, key)
        document = {"key": key, "digest": digest}
        if self.ref(recipe, instance) != document:
            write_atomically(
                self.root / "refs" / recipe / f"{instance}.json", json.dumps(document).encode()
            )

    def use(self, recipe: str, instance: str, key: str) -> None:
        """Remember that an instance of a recipe needed what ``key`` made, and that it was now."""
        path = self.root / "uses" / recipe / instance / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def drop_refs(self, recipe: str, but: Collection[str]) -> None:
        """Forget what instances of a recipe last made or used, ``but`` for those that it has."""
        folder = self.root / "refs" / recipe
        for path in list(folder.rglob("*.json")):
            if path.relative_to(folder).with_suffix("").as_posix() not in but:
                path.unlink(missing_ok=True)

    def last_try(self, recipe: str, instance: str) -> str | None:
        """The key that an instance was last run under, finished or not."""
        document = read_json(self.root / "tries" / recipe / f"{instance}.json")
        return None if document is None else str(document["key"])

    def set_try(self, recipe: str, instance: str, key: str) -> None:
        """Remember the key that an instance is run under."""
        path = self.root / "tries" / recipe / f"{instance}.json"
        write_atomically(path, json.dumps({"key": key}).encode())

    def recipes(self) -> list[str]:
        """The recipes that were ever run here, the latest first."""
        last: dict[str, float] = {}
        for folder in (*self.root.glob("tries/*"), *self.root.glob("refs/*")):
            times = [path.stat().st_mtime for path in folder.rglob("*.json")]
            last[folder.name] = max([*times, last.get(folder.name, 0.0)])
        return sorted(last, key=lambda name: last[name], reverse=True)

    def mlflow_run(self, key: str) -> dict[str, str] | None:
        """The MLflow run that made the artefact of ``key``, once the server has been told."""
        return read_json(self.root / "runs" / f"{key}.json")

    def set_mlflow_run(self, key: str, document: dict[str, str]) -> None:
        """Remember the MLflow run that made the artefact of ``key``."""
        write_atomically(self.root / "runs" / f"{key}.json", json.dumps(document).encode())

    def log_folder(self, stage: str, key: str) -> Path | None:
        """Where a finished job's log lies, or that of a job in work; None if there is none."""
        record = self.record(stage, key)
        folders = [self.root / "scratch" / key]
        if record is not None:
            folders.insert(0, self.path(record["digest"]) / "log" / key)
        return next((folder for folder in folders if folder.exists()), None)

    # Input files

    def known_digest(self, path: Path) -> str | None:
        """The SHA-256 of an input file, if it was hashed and has not changed since; never reads it.

        A file is the same while its size, mtime and inode are. Raises FileNotFoundError.
        """
        entry = self._sources().get(str(path.absolute()))
        return entry["sha256"] if entry and entry["stat"] == _stat(path) else None

    def hash_source(self, path: Path) -> str:
        """The SHA-256 of an input file, read only if it has to be, and remembered."""
        known = self.known_digest(path)
        if known is not None:
            return known
        before = _stat(path)
        digest = sha256(path)
        if _stat(path) != before:
            raise WorkspaceError(str(path), "it changed while it was read", "Run again.")
        with self.lock("sources", lambda _: None):
            entries = {**self._sources(), str(path.absolute()): {"stat": before, "sha256": digest}}
            write_atomically(self.root / "sources.json", json.dumps(entries, indent=1).encode())
        return digest

    def _sources(self) -> dict[str, Any]:
        """What is known of input files, parsed once for as long as its file stays as it is."""
        path = self.root / "sources.json"
        try:
            found = _stat(path)
        except OSError:
            return read_json(path) or {}
        parsed = self._parsed
        if parsed is None or parsed[0] != found:
            self._parsed = parsed = found, read_json(path) or {}
        return parsed[1]


def _stat(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_files(folder: Path) -> None:
    """Let all files below a folder be on the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            _sync(path)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
