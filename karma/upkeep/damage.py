"""What is wrong with an artefact, each of its files read again."""

from pathlib import Path

from karma.errors import WorkspaceError
from karma.store import Store, digest_of, sha256


def damage(store: Store, digest: str) -> list[str]:
    """One sentence for each thing that is not as it was made; none if the artefact is whole."""
    try:
        files = store.manifest(digest)
    except WorkspaceError:
        return ["manifest.json cannot be read"]
    if files is None:
        return ["its files are gone"]
    if digest_of(files) != digest:
        return ["manifest.json is not what it was made with"]
    folder, found = store.path(digest), []
    for name, expected in files.items():
        found += _file(folder / name, name, expected["size"], expected["sha256"])
    return found + [f"{name} does not belong to it" for name in _strange(folder, set(files))]


def _file(path: Path, name: str, size: int, digest: str) -> list[str]:
    try:
        if path.stat().st_size != size:
            return [f"{name} has {path.stat().st_size} bytes instead of {size}"]
        return [] if sha256(path) == digest else [f"{name} holds other bytes than were written"]
    except FileNotFoundError:
        return [f"{name} is gone"]
    except OSError as error:
        return [f"{name} cannot be read ({error.strerror})"]


def _strange(folder: Path, known: set[str]) -> list[str]:
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(
        name
        for name in names
        if name not in known and name != "manifest.json" and not name.startswith("log/")
    )
