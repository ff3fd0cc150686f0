"""Where a stale instance's causes come from: what changed by itself, before anything followed.

A changed input is no root: what changed it is. An input that is stale itself has causes of its own
in the plan; of one that was made again the store knows what its two artefacts were made of.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from karma.fingerprint import Cause, differences
from karma.lineage.known import Known
from karma.plan import FAILED, FRESH, Entry, Plan
from karma.store import Store

LONGEST = 200  # characters of a value that are shown


@dataclass(frozen=True)
class Root:
    """A cause that follows from no other, and the instance that it is a cause of."""

    instance: str
    cause: Cause


def roots(plan: Plan, store: Store, instance: str) -> list[Root]:
    """All root causes of an instance, each once, its own first; none if it is fresh."""
    found: dict[str, Root] = {}
    for root in _planned(plan, Known(store), instance, set()):
        # One edited module is a cause of many instances, and one root.
        found.setdefault(f"{root.cause}", root)
    return list(found.values())


def _planned(plan: Plan, known: Known, name: str, seen: set[str]) -> Iterator[Root]:
    """The roots of an instance and of the inputs that it waits for."""
    if name in seen:
        return
    seen.add(name)
    entry = plan.entries[name]
    inputs = [cause for cause in entry.causes if _is_input(entry, cause)]
    yield from (Root(name, cause) for cause in entry.causes if cause not in inputs)
    for above in dict.fromkeys(entry.node.inputs.values()):
        if plan.entries[above].state != FRESH:
            yield from _planned(plan, known, above, seen)
    for cause in inputs:
        source = entry.node.inputs.get(cause["what"], cause["what"])
        yield from _made(known, source, cause, set())


def _is_input(entry: Entry, cause: Cause) -> bool:
    return cause["kind"] == "input" and entry.node.source is None


def _made(
    known: Known, name: str, cause: Cause, seen: set[tuple[str | None, str | None]]
) -> Iterator[Root]:
    """The roots of an input's change from one artefact to another, by what each was made of."""
    pair = (cause["old"], cause["new"])
    if pair in seen:
        return
    seen.add(pair)
    both = [known.fingerprint(digest) if digest else None for digest in pair]
    if both[0] is None or both[1] is None:
        yield Root(name, cause)
        return
    for below in differences(both[0], both[1]):
        if below["kind"] == "input":
            yield from _made(known, below["what"], below, seen)
        else:
            yield Root(name, below)


def sentence(plan: Plan, store: Store, instance: str) -> str:
    """The state of an instance and its first root cause, in one sentence."""
    entry = plan.entries[instance]
    found = roots(plan, store, instance)
    if entry.state == FRESH:
        return f"{instance} is FRESH."
    if not found:
        reason = "the last try failed" if entry.state == FAILED else "an input is not there yet"
        return f"{instance} is {entry.state} because {reason}."
    first = found[0]
    of = "" if first.instance == instance else f" of {first.instance}"
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{instance} is {entry.state} because {_clause(first.cause, of)}{more}."


def _clause(cause: Cause, of: str) -> str:
    """A cause as a clause; ``of`` says whose it is, where that is another instance."""
    what = cause["what"]
    old, new = change(cause)
    if cause["kind"] == "missing":
        whose = of.removeprefix(" of ")
        if cause["what"] == "files":
            return f"the files{of} are gone" if of else "its files are gone"
        return f"{whose or 'it'} was never built"
    if new == "no such file":
        return f"there is no file {what}"
    if what == "input, not yet hashed":
        return f"the input {new} was not hashed yet"
    changed = f"changed from {old} to {new}"
    thing = {"code": "the code of ", "version": "the version of ", "input": "the input "}
    return f"{thing.get(cause['kind'], '')}{what}{of} {changed}"


def change(cause: Cause) -> tuple[str, str]:
    """What a cause's value was and is; of two lists, what only one of them has."""
    old, new = cause["old"], cause["new"]
    if isinstance(old, list) and isinstance(new, list):
        gone, come = [e for e in old if e not in new], [e for e in new if e not in old]
        old, new = (gone, come) if gone or come else (old, new)
    return value(old), value(new)


def value(given: Any) -> str:
    """A value of a fingerprint, digests and what is very long cut short."""
    text = "nothing" if given is None else str(given)
    if len(text) == 64:
        return text[:12] + "…"
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
