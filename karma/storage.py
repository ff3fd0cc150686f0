"""Files below an fsspec URL: what can pass is tried again, everything else is told in words.

What a shared store asks of a storage is little: read, write, list, and create a file only if it is
not there yet. fsspec is imported with the first request, so that naming a store costs nothing.
Credentials come from the environment, as the storage's own tools read them.
"""

import hashlib
import math
import os
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from karma.address import USER, public
from karma.errors import SharedStoreError

T = TypeVar("T")
THREADS = 8
BLOCK = 8 * 2**20  # bytes that are read at once to be hashed
WAITS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)  # seconds between tries; a client may have its own as well
PATIENCE = 60.0  # seconds after a first failure in which others are tried, however long they take
# What is the same at the next try. Named, because a storage's own errors need its library.
LASTING = ("PermissionError", "NoCredentialsError", "PartialCredentialsError", "NoRegionError")


class Storage:
    """The files below ``url``, by their relative names. Every method may raise SharedStoreError."""

    def __init__(self, url: str) -> None:
        if "://" not in url:
            url = str(Path(url).expanduser().absolute())  # one folder, one address
        self.address = public(url)
        if USER.search(url):
            raise SharedStoreError(
                f"store {self.address}",
                "its address holds a user or a password",
                "Give credentials in the environment (for S3: AWS_ACCESS_KEY_ID, AWS_PROFILE, ...)",
            )
        self._url = url
        self._opened: tuple[Any, str] | None = None

    def read(self, name: str) -> bytes | None:
        """A file's bytes, or None if it is not there."""
        return self.read_all([name]).get(name)

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """The bytes of those files that are there, asked for side by side."""
        found: dict[str, bytes] = {}
        lacking = {self._path(name): name for name in names}

        def once() -> None:
            trouble: list[Exception] = []
            # From byte 0 on: s3fs asks for the size first where no range is named.
            answers = self._files.cat(list(lacking), on_error="return", start=0)
            for path, answer in answers.items():
                if isinstance(answer, bytes):
                    found[lacking.pop(path)] = answer
                elif isinstance(answer, FileNotFoundError):
                    del lacking[path]
                else:
                    trouble.append(answer)
            if trouble:
                raise trouble[0]

        if lacking:
            self._patiently("read", once)
        return found

    def names(self, folder: str) -> list[str]:
        """The files below a folder at any depth, relative to the storage."""
        return list(self.sizes(folder))

    def sizes(self, folder: str) -> dict[str, int]:
        """The files below a folder at any depth, relative to the storage, with their bytes."""
        try:
            found = self._patiently(
                "list", lambda: self._files.find(self._path(folder), detail=True)
            )
        except FileNotFoundError as error:
            raise self._told("list", error) from error
        root = self._path("")
        named = {path.removeprefix(root).lstrip("/"): about for path, about in found.items()}
        # A folder that is made meanwhile may be listed itself; hidden files are half written.
        return {
            name: int(about["size"] or 0)
            for name, about in named.items()
            if name.startswith(f"{folder}/" if folder else "")
            and not PurePosixPath(name).name.startswith(".")
        }

    def modified(self, name: str) -> float | None:
        """When a file was written last, in seconds since the epoch by the storage's clock."""
        try:
            when = self._patiently("read", lambda: self._files.modified(self._path(name)))
        except FileNotFoundError:
            return None
        return float(when.timestamp())

    def now(self) -> float:
        """Seconds since the epoch by the storage's clock."""
        name = f"probe/{uuid.uuid4().hex}"
        self.write(name, b"")
        when = self.modified(name)
        self.delete(name)
        assert when is not None, "nobody else knows its name"
        return when

    def sha256(self, name: str) -> str:
        """The SHA-256 of a file, read piece by piece. Raises FileNotFoundError."""

        def once() -> str:
            with self._files.open(self._path(name), "rb", block_size=BLOCK) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()

        return self._patiently("read", once)

    def folders(self, folder: str) -> set[str]:
        """The names of what lies in a folder."""
        try:
            found = self._patiently(
                "list", lambda: self._files.ls(self._path(folder), detail=False)
            )
        except FileNotFoundError:
            return set()
        return {PurePosixPath(path).name for path in found}

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        return bool(self._patiently("read", lambda: self._files.exists(self._path(name))))

    def create(self, name: str, data: bytes) -> bytes:
        """Write a file unless it is there; the bytes that stand, one's own or another's."""

        def once() -> bytes:
            try:
                self._write(name, data, new=True)
            except Exception as error:
                # It may stand: another's, or one's own whose answer was lost.
                try:
                    return bytes(self._files.cat_file(self._path(name), start=0))
                except FileNotFoundError:
                    if isinstance(error, FileExistsError | FileNotFoundError):
                        # It or its folder was removed just now; this is tried again.
                        raise ConnectionError(f"{name} comes and goes") from error
                    raise error from None
            return data

        return self._patiently("write", once)

    def write(self, name: str, data: bytes) -> None:
        """Write a file, over what was there."""
        self._patiently("write", lambda: self._write(name, data, new=False))

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""

        def once() -> None:
            if self._files.exists(self._path(name)):
                with suppress(FileNotFoundError):  # another was faster
                    self._files.rm_file(self._path(name))

        self._patiently("write", once)

    def delete_all(self, names: Iterable[str]) -> None:
        """Remove those of some files that are there, side by side."""
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self.delete, names))

    def delete_folder(self, name: str) -> None:
        """Remove all files below a folder, and on a disk the folders."""
        self.delete_all(self.names(name))
        if self._local:
            for folder, _, _ in os.walk(self._path(name), topdown=False):
                with suppress(OSError):  # another process writes there again
                    Path(folder).rmdir()

    def upload(self, path: Path, name: str) -> None:
        """Copy a local file there; until it is whole it may be seen in part, or not at all."""

        def once() -> None:
            if self._local:
                Path(self._path(name)).parent.mkdir(parents=True, exist_ok=True)
            try:
                self._files.put_file(str(path), self._path(name))
            except FileNotFoundError as error:
                if path.exists():  # another process removed its folder; this is tried again
                    raise ConnectionError(f"the folder of {name} is gone") from error
                raise

        self._patiently("write", once)

    def download(self, name: str, path: Path) -> None:
        """Copy a file to a local path. Raises FileNotFoundError if it is not there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._patiently("read", lambda: self._files.get_file(self._path(name), str(path)))

    @property
    def _files(self) -> Any:
        return self._open()[0]

    @property
    def _local(self) -> bool:
        return "file" in self._files.protocol

    def _path(self, name: str) -> str:
        return f"{self._open()[1]}/{name}".rstrip("/")

    def _open(self) -> tuple[Any, str]:
        if self._opened is None:
            try:
                import fsspec

                files, root = fsspec.core.url_to_fs(self._url, use_listings_cache=False)
            except ImportError as error:
                raise SharedStoreError(
                    f"store {self.address}",
                    f"its library is not installed ({error})",
                    "For S3: pip install -e '.[s3]' in the checkout.",
                ) from error
            except ValueError as error:
                raise self._told("open", error) from error
            self._opened = files, root.rstrip("/")
        return self._opened

    def _write(self, name: str, data: bytes, new: bool) -> None:
        if not self._local:
            self._files.pipe_file(self._path(name), data, mode="create" if new else "overwrite")
            return
        # fsspec writes local files in place: a kill would leave half, and two could both be first.
        path = Path(self._path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if new:
                path.hardlink_to(part)
            else:
                part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _patiently(self, verb: str, once: Callable[[], T]) -> T:
        """Try until it succeeds; raise what will not pass, in words after the last try."""
        until = math.inf
        for wait in (*WAITS, None):
            try:
                return once()
            except (FileNotFoundError, FileExistsError, SharedStoreError):
                raise
            except Exception as error:
                now = time.monotonic()
                lasting = type(error).__name__ in LASTING
                if wait is None or lasting or now > until:
                    raise self._told(verb, error) from error
                until = min(until, now + PATIENCE)
                time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _told(self, verb: str, error: Exception) -> SharedStoreError:
        lines = public(str(error)).splitlines() or [""]
        return SharedStoreError(
            f"store {self.address}",
            f"cannot {verb} ({type(error).__name__}: {lines[0][:200]})",
            "Check the address, the credentials in the environment and the connection; "
            "what is done is kept in the workspace.",
        )
