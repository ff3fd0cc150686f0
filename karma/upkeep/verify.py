"""Rehashes a store: objects against their manifests, records against both, references to records.

Only reads, and can run beside a pipeline: what a run adds meanwhile is whole or not there yet, and
what ``karma gc`` removes meanwhile is not told as damage.
"""

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from karma.errors import WorkspaceError
from karma.fingerprint import differences, key_of
from karma.lineage.known import refs, uses
from karma.store import Store, digest_of, read_json
from karma.upkeep.damage import damage

Record = dict[str, Any]
Progress = Callable[[int, int], None]
LookUp = Callable[[str, str], Record | None]
THREADS = 4  # hashing lets go of the interpreter's lock; more do not make a disk faster


def silent(done: int, of: int) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was written."""

    instances: tuple[str, ...]
    """``recipe:instance`` of each that has it; empty if no recipe ever used it."""
    place: str
    """The file or folder below the workspace."""
    what: str


@dataclass(frozen=True)
class Verified:
    """What was looked at, and what was found."""

    artefacts: int
    bytes: int
    records: int
    accepted: int
    references: int
    findings: list[Finding]
    seconds: float

    def document(self) -> dict[str, Any]:
        """As ``karma verify --json`` prints it."""
        return {"schema": 1, **asdict(self)}


Names = dict[str, tuple[str, ...]]


def verify(store: Store, progress: Progress = silent) -> Verified:
    """Read everything again. ``progress`` is told how many artefacts are done, of how many.

    Raises WorkspaceError if there is no workspace.
    """
    if not (store.root / "objects").is_dir():
        raise WorkspaceError(
            f"workspace {store.root}", "there is none", "Name another with --workspace."
        )
    began = time.monotonic()
    names = {key: tuple(f"{u.recipe}:{u.instance}" for u in us) for key, us in uses(store).items()}
    references = refs(store)
    findings = _references(store, references)
    paths = sorted((store.root / "records").rglob("*.json"))
    records: dict[Path, Record] = {}
    for path in paths:
        record, wrong = _record(store, path)
        place = path.relative_to(store.root).as_posix()
        findings += [Finding(names.get(path.stem, ()), place, what) for what in wrong]
        if record is not None:
            records[path] = record
    there = [path.name for path in (store.root / "objects").iterdir()]
    findings += _objects(store, there, records, names, progress)
    return Verified(
        artefacts=len(there),
        bytes=sum(size(store.path(digest)) for digest in there),
        records=len(paths),
        accepted=sum(bool(record.get("accepted")) for record in records.values()),
        references=len(references),
        findings=findings,
        seconds=time.monotonic() - began,
    )


def size(folder: Path) -> int:
    """The bytes of the files below a folder; what vanishes meanwhile does not count."""
    found = 0
    with contextlib.suppress(FileNotFoundError):
        for path in folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                found += path.stat().st_size if path.is_file() else 0
    return found


def _references(store: Store, references: dict[tuple[str, str], Path]) -> list[Finding]:
    """References that point to no record."""
    found = []
    for (recipe, instance), path in references.items():
        try:
            ref = read_json(path)
            stage = instance.split("/")[0]
            wrong = ref is not None and store.record(stage, ref["key"]) is None
        except (WorkspaceError, KeyError):
            wrong = True
        if wrong and path.exists():
            place = path.relative_to(store.root).as_posix()
            found.append(Finding((f"{recipe}:{instance}",), place, "it points to no record"))
    return found


def _record(store: Store, path: Path) -> tuple[Record | None, list[str]]:
    """A record, and what is wrong with it; None if it cannot be read or has just been removed."""
    try:
        record = read_json(path)
        if record is None:
            return None, []
        stage = path.relative_to(store.root / "records").parts[0]
        return record, contradictions(record, stage, path.stem.split("-")[0], store.record)
    except (WorkspaceError, KeyError, TypeError) as error:
        reason = "a field is missing" if isinstance(error, KeyError) else "it is no record"
        return None, [reason]


def contradictions(record: Record, stage: str, key: str, look_up: LookUp) -> list[str]:
    """What is wrong with a record that lies in the place of ``stage`` and ``key``.

    ``look_up`` finds another by both. Raises KeyError or TypeError if it is no record.
    """
    found = []
    if (record["stage"], record["key"]) != (stage, key):
        found.append("it lies in the place of another")
    if key_of(record["fingerprint"]) != record["key"]:
        found.append("its fingerprint is not what its key was made of")
    if digest_of(record["files"]) != record["digest"]:
        found.append("its files are not those of its artefact")
    return found + _acceptance(record, look_up)


def _acceptance(record: Record, look_up: LookUp) -> list[str]:
    """What an accepted record says of the one that it came from must be so, while that stands."""
    steps = record.get("accepted", [])
    if not steps:
        return []
    if not all(step["because"].strip() for step in steps):
        return ["it was accepted without a reason"]
    before = look_up(record["stage"], steps[-1]["from"])
    if before is None or before["digest"] != record["digest"]:
        return []  # a forced run may have replaced it
    causes = differences(before["fingerprint"], record["fingerprint"])
    return [] if causes == steps[-1]["causes"] else ["it was accepted for other causes"]


def _objects(
    store: Store,
    there: list[str],
    records: dict[Path, Record],
    names: Names,
    progress: Progress,
) -> list[Finding]:
    """Artefacts whose files are not as they were written, and records without an artefact."""
    whose: dict[str, list[Path]] = {digest: [] for digest in there}
    for path, record in records.items():
        whose.setdefault(record["digest"], []).append(path)
    found = []
    with ThreadPoolExecutor(THREADS) as pool:
        looked = pool.map(partial(damage, store), whose)
        for done, (digest, wrong) in enumerate(zip(whose, looked, strict=True), 1):
            progress(done, len(whose))
            # What gc has removed since has neither a folder nor a record.
            if wrong and (store.path(digest).exists() or any(p.exists() for p in whose[digest])):
                keys = [records[path]["key"] for path in whose[digest]]
                instances = tuple(name for key in keys for name in names.get(key, ()))
                found += [Finding(instances, f"objects/{digest}", what) for what in wrong]
    return found
