"""What is stale, and why: a pure function of the DAG and the store.

    inputs known? ── no ──────────────────────────────────────────► PENDING
         │ yes: the key is known
    a record for the key? ── yes ── files there? ── yes ──────────► FRESH
         │ no                           └─ no ────────────────────► MISSING (digest known)
    last try failed? ── yes ──────────────────────────────────────► FAILED
         │ no
    built before under another key? ── yes ───────────────────────► STALE, with all differences
         └─ no ───────────────────────────────────────────────────► MISSING (never built)

An artefact whose record stands but whose files are gone still has a digest, so whatever reads it
stays as it is; its bytes are rebuilt only when a stage that runs needs them. Nothing is written and
no input is read: a file whose size, mtime and inode are unknown is STALE until a run hashes it.
"""

import fnmatch
import hashlib
from dataclasses import dataclass, field
from typing import Any

from karma.acceptance import Acceptance, told
from karma.dag import Dag, build, fingerprint
from karma.fingerprint import Cause, differences, key_of
from karma.nodes import Extent, Node, Source
from karma.recipe import Recipe
from karma.store import Store, canonical

FRESH, STALE, MISSING, PENDING, FAILED = "FRESH", "STALE", "MISSING", "PENDING", "FAILED"
STATES = (FRESH, STALE, MISSING, PENDING, FAILED)


@dataclass(frozen=True)
class Entry:
    """What the plan says of one node."""

    node: Node
    state: str
    key: str | None = None
    digest: str | None = None
    causes: list[Cause] = field(default_factory=list)
    last_seconds: float | None = None
    last_mib: int | None = None
    last_error: str | None = None
    accepted: list[Acceptance] = field(default_factory=list)
    """Why the artefact stands for a key that did not make it; empty if a job made it."""

    def document(self) -> dict[str, Any]:
        """The entry as ``plan --json`` prints it."""
        return {
            "id": self.node.id,
            "stage": self.node.stage,
            "state": self.state,
            "key": self.key,
            "digest": self.digest,
            "causes": self.causes,
            "inputs": list(dict.fromkeys(self.node.inputs.values())),
            "last_seconds": self.last_seconds,
            "last_mib": self.last_mib,
            "last_error": self.last_error,
            "accepted": self.accepted,
        }


@dataclass(frozen=True)
class Plan:
    """The state of every node of a recipe."""

    dag: Dag
    entries: dict[str, Entry]

    @property
    def to_run(self) -> list[Entry]:
        """What a run would have to do or look at, in order.

        MISSING with a digest is left out, unless it is the report's: the bytes are rebuilt only
        when somebody needs them.
        """
        return [e for e in self.entries.values() if e.state != FRESH and not _unneeded(e)]

    def document(self) -> dict[str, Any]:
        """The plan as ``plan --json`` prints it."""
        stages = [entry.document() for entry in self.entries.values()]
        return {"schema": 1, "recipe": self.dag.recipe, "stages": stages}


def _unneeded(entry: Entry) -> bool:
    return entry.state == MISSING and entry.digest is not None and entry.node.stage != "report"


def plan(name: str, recipe: Recipe, store: Store) -> Plan:
    """The plan of a recipe, with one ``threads`` entry while the dumps are not there."""
    first = build(name, recipe)
    dumps = _states(first, store, _behind_dumps(first))
    extents = known_extents(first, store, {e.node.id: e.key for e in dumps.values()})
    if extents is None:
        return Plan(first, _states(first, store, set(first.nodes)))
    dag = build(name, recipe, extents)
    return Plan(dag, _states(dag, store, set(dag.nodes)))


def _behind_dumps(dag: Dag) -> set[str]:
    """The dumps and what they are made from: all that has to be known for the thread ranges."""
    found = {node.id for node in dag.nodes.values() if node.stage == "dumps"}
    for node in reversed(dag.nodes.values()):
        if node.id in found:
            found.update(node.inputs.values())
    return found


def known_extents(dag: Dag, store: Store, keys: dict[str, str | None]) -> dict[str, Extent] | None:
    """What each dump holds, from the records; None if one has no record yet."""
    extents = {}
    for node in dag.nodes.values():
        if node.stage == "dumps":
            key = keys.get(node.id)
            record = store.record("dumps", key) if key else None
            if record is None:
                return None
            extents[node.id] = Extent(tuple(record["ranges"]), *record["months"])
    return extents


def _states(dag: Dag, store: Store, names: set[str]) -> dict[str, Entry]:
    """What the plan says of ``names``, which hold all that they are made from."""
    entries: dict[str, Entry] = {}
    for node in (node for node in dag.nodes.values() if node.id in names):
        above = {role: entries[name] for role, name in node.inputs.items()}
        if node.source:
            entries[node.id] = _source(node, above, store)
            continue
        if node.stage == "report":
            accepted = {e.node.id: e.accepted for e in entries.values() if e.accepted}
            node = told(node, accepted)
        entries[node.id] = _stage(dag, node, above, store)
    return entries


def _source(node: Node, above: dict[str, Entry], store: Store) -> Entry:
    source = node.source
    assert source is not None
    files: dict[str, Any] = {}
    for entry in above.values():
        record = store.record(entry.node.stage, entry.key) if entry.key else None
        if record is None:
            return Entry(node, PENDING)
        files = record["files"]
    digest = source_digest(source, store, files)
    if digest is not None:
        return Entry(node, FRESH, digest=digest)
    if not source.files:
        cause = Cause(kind="input", what=str(source.path), old=None, new="no such file")
        return Entry(node, MISSING, causes=[cause])
    cause = Cause(kind="input", what="input, not yet hashed", old=None, new=str(source.path))
    return Entry(node, STALE, causes=[cause])


def source_digest(source: Source, store: Store, files: dict[str, Any]) -> str | None:
    """The digest of an input as far as it is known without reading it; None if it is not.

    ``files`` is the manifest of the artefact that the input is a member of, if it is one.
    """
    if source.revision:
        return hashlib.sha256(source.revision.encode()).hexdigest()
    if source.member:
        return _joint({n: f["sha256"] for n, f in files.items() if counts(source, n)})
    digests = {}
    for path in source.files:
        known = store.known_digest(path)
        if known is None:
            return None
        digests[str(path.relative_to(source.path or path))] = known
    return _joint(digests)


def counts(source: Source, name: str) -> bool:
    """Whether a file of the simulator's artefact belongs to this input."""
    if not source.patterns:
        return name == source.member
    return any(fnmatch.fnmatch(name, f"{source.member}/{p}") for p in source.patterns)


def _joint(digests: dict[str, str]) -> str | None:
    """One file's own digest, or that of several by their names; None if there are none."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    return hashlib.sha256(canonical(digests)).hexdigest() if digests else None


def _stage(dag: Dag, node: Node, above: dict[str, Entry], store: Store) -> Entry:
    ref = store.ref(dag.recipe, node.id)
    before = store.record(node.stage, ref["key"]) if ref else None
    digests = {role: entry.digest for role, entry in above.items()}
    whole = all(digests.values()) and (node.id != "threads" or dag.complete)
    document = fingerprint(node, dag.settings, {r: d or "" for r, d in digests.items()})
    if not whole:
        # The inputs will be compared when they are there; the rest can be told now.
        return Entry(node, PENDING, causes=_told_now(dag, before, document), **_last(before))
    key = key_of(document)
    record, error = store.record(node.stage, key), store.failure(key)
    if record is not None:
        digest, known = record["digest"], {**_last(record), "accepted": record.get("accepted", [])}
        if store.intact(digest):
            return Entry(node, FRESH, key, digest, **known)
        gone = Cause(kind="missing", what="files", old=digest, new=None)
        return Entry(node, MISSING, key, digest, [gone], **known, last_error=error)
    if before is None:
        causes = [Cause(kind="missing", what="never built", old=None, new=None)]
    else:
        causes = differences(before["fingerprint"], document)
    if error is not None:
        return Entry(node, FAILED, key, None, causes, **_last(before), last_error=error)
    state = MISSING if before is None else STALE
    return Entry(node, state, key, None, causes, **_last(before))


def _told_now(dag: Dag, before: dict[str, Any] | None, document: dict[str, Any]) -> list[Cause]:
    """The causes of an instance that waits, but for what only its inputs will tell."""
    if before is None:
        return []
    old = before["fingerprint"]
    rest = {**document, "input": old["input"]}
    if not dag.complete and "lineage" in old["config"]:
        # The drawing counts the ranges of threads, which are not known yet.
        rest["config"] = {**document["config"], "lineage": old["config"]["lineage"]}
    return differences(old, rest)


def _last(record: dict[str, Any] | None) -> dict[str, Any]:
    """What an instance took the last time: seconds, and MiB at its peak."""
    if record is None:
        return {}
    return {"last_seconds": record["seconds"], "last_mib": record.get("peak_mib")}
