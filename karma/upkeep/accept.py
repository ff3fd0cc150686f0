"""Acceptances: a new key tied to the artefact that an old one made, with a person's reason.

After a change that cannot matter (code moved, a library's patch release) the fingerprint is
another one and the artefact would be made again. An acceptance is a record like any other, under
the new key, with the old artefact's digest and ``accepted``: for each step that led here from a
real run the key that it came ``from``, the ``causes`` that were accepted, ``because``, ``at`` and
``by``. It lies in the store, goes where the artefact goes, and is told wherever the artefact is.

It is made instance by instance. Settings, inputs and the accelerator are what a result is of:
causes of these kinds are refused unless they are named one by one.
"""

import getpass
import time
from dataclasses import dataclass
from typing import Any

from karma.dag import fingerprint
from karma.errors import BusyError, InputError, RecipeError
from karma.fingerprint import Cause, differences, key_of
from karma.lease import HeldError
from karma.nodes import Node
from karma.plan import FRESH, PENDING, Entry, Plan
from karma.selection import named
from karma.store import Store
from karma.upkeep.damage import damage

# What can change without a change in meaning; the rest has to be asked for.
FORM = ("code", "sql", "file", "version")


@dataclass(frozen=True)
class Accepted:
    """One instance that was accepted, and the causes that were."""

    instance: str
    digest: str
    causes: list[Cause]


def accept(
    plan: Plan, store: Store, part: str, because: str, also: tuple[str, ...] = ()
) -> list[Accepted]:
    """Accept what is stale of ``part``, a stage or the beginning of an instance's id.

    ``also`` names other kinds of causes that are accepted as well. What was never built is left
    out. Raises RecipeError or InputError where an instance must not be accepted, and then accepts
    none; BusyError at the first that a run is building.
    """
    if not because.strip():
        raise RecipeError("--because", "it is empty", "Say why the change cannot matter.")
    entries = [plan.entries[name] for name in named(plan.dag, [part])]
    stale = [e for e in entries if e.digest is None and store.ref(plan.dag.recipe, e.node.id)]
    if not stale:
        raise RecipeError(
            f"accept {part}", _nothing(entries), "karma plan shows what is stale and what is not."
        )
    digests = {name: entry.digest for name, entry in plan.entries.items()}
    prepared: dict[str, dict[str, Any]] = {}
    for entry in stale:
        _require_inputs(plan, entry.node, digests)
        record = _prepare(plan, store, entry.node, digests, because)
        # What of the same stage is made from it has its key from it.
        digests[entry.node.id] = record["digest"]
        if store.record(record["stage"], record["key"]) is None:
            _allowed(entry.node.id, record["accepted"][-1]["causes"], also)
            prepared[entry.node.id] = record
    return [
        Accepted(name, record["digest"], record["accepted"][-1]["causes"])
        for name, record in prepared.items()
        if _adopt(plan.dag.recipe, store, name, record)
    ]


def _nothing(entries: list[Entry]) -> str:
    if not entries:
        return "the recipe has no instance of that name"
    fresh = all(entry.state == FRESH for entry in entries)
    return "all of it is fresh" if fresh else "there is no old artefact that could be kept"


def _require_inputs(plan: Plan, node: Node, digests: dict[str, str | None]) -> None:
    """Raise RecipeError if something that a node is made from is stale itself."""
    unknown = [plan.entries[name] for name in node.inputs.values() if digests[name] is None]
    if unknown:
        first = next((entry for entry in unknown if entry.state != PENDING), unknown[0])
        raise RecipeError(
            f"accept {node.id}",
            f"it is made from {first.node.id}, which is {first.state}",
            "Accept or run that first.",
        )


def _prepare(
    plan: Plan, store: Store, node: Node, digests: dict[str, str | None], because: str
) -> dict[str, Any]:
    """The record that accepts an instance, or the one that stands; nothing is written yet."""
    document = fingerprint(
        node, plan.dag.settings, {role: digests[name] or "" for role, name in node.inputs.items()}
    )
    standing = store.record(node.stage, key_of(document))
    if standing is not None:
        return standing
    ref = store.ref(plan.dag.recipe, node.id)
    old = store.record(node.stage, ref["key"]) if ref else None
    if old is None:
        raise InputError(
            f"accept {node.id}", "the record of its old artefact is gone", "Run the stage."
        )
    store.fetch(old["digest"])
    wrong = damage(store, old["digest"])
    if wrong:
        raise InputError(
            f"accept {node.id}", f"its old artefact is damaged: {wrong[0]}", "Run the stage."
        )
    causes = differences(old["fingerprint"], document)
    step = {"from": old["key"], "causes": causes, "because": because.strip()}
    step |= {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "by": _user()}
    steps = [*old.get("accepted", []), step]
    return {**old, "key": key_of(document), "fingerprint": document, "accepted": steps}


def _allowed(instance: str, causes: list[Cause], also: tuple[str, ...]) -> None:
    refused = [cause for cause in causes if cause["kind"] not in (*FORM, *also)]
    if refused:
        told = ", ".join(f"{cause['kind']} {cause['what']}" for cause in refused[:5])
        more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
        kinds = " ".join(f"--also {kind}" for kind in dict.fromkeys(c["kind"] for c in refused))
        raise RecipeError(
            f"accept {instance}",
            f"more than its form changed: {told}{more}",
            f"Run it; or, if that cannot matter either, name it: {kinds}.",
        )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return "unknown"


def _adopt(recipe: str, store: Store, instance: str, record: dict[str, Any]) -> bool:
    """Write the record and point to it; False if a run has just built the same."""

    def busy(holder: str) -> None:
        raise BusyError(f"{instance}: {holder} is building it; wait for it, or stop it first.")

    store.claim([record["key"], record["accepted"][-1]["from"]])
    try:
        with (
            store.lock(record["key"], busy),
            store.lease(record["stage"], record["key"]),
            store.held(),
        ):
            if not store.adopt(record):
                return False
            store.set_ref(recipe, instance, record["key"], record["digest"])
    except HeldError as other:
        raise BusyError(
            f"{instance}: {other} is building it or has just done so; karma plan tells."
        ) from other
    finally:
        store.release()
    return True
