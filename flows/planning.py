"""The commands that look ahead: ``karma plan``, ``karma why``."""

import json
from typing import Annotated

import typer

from flows import fold
from flows.options import HERE, Instance, Json, RecipePath, Settings, Shared, Workspace, opened
from karma.acceptance import reasons
from karma.errors import RecipeError
from karma.plan import FAILED, FRESH, Entry
from karma.plan import plan as make_plan
from karma.selection import Selection, Work, work
from karma.shared import SharedStore
from karma.store import Store

Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="STAGE",
        help="Run what is stale of a stage (or policy/reddit, or one instance) and nothing else; "
        "an error if what it is made from is stale itself.",
    ),
]
From = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="STAGE",
        help="Run what is stale of a stage and of all that is made from it, and nothing else; "
        "an error if what that is made from is stale itself.",
    ),
]
Force = Annotated[
    list[str] | None,
    typer.Option(
        "--force",
        metavar="STAGE",
        help="Run a stage's instances although they are fresh; what they make replaces what they "
        "had made, and what is made from them follows if it differs.",
    ),
]


def selected(only: list[str] | None, start: list[str] | None, force: list[str] | None) -> Selection:
    """The options of a command as the library takes them."""
    return Selection(tuple(only or ()), tuple(start or ()), tuple(force or ()))


def refuse_force(force: list[str] | None, store: Store) -> None:
    """Raise RecipeError if nothing can be forced because machines share the store."""
    if force and isinstance(store, SharedStore):
        raise RecipeError(
            "--force",
            "machines share the store, where the first artefact of a key stands",
            "Change what the stage depends on, or run it without --store.",
        )


def plan(
    recipe: RecipePath,
    settings: Settings = None,
    workspace: Workspace = HERE,
    shared: Shared = "",
    only: Only = None,
    start: From = None,
    force: Force = None,
    as_json: Json = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 4 if something is not fresh.")
    ] = False,
) -> int:
    """What would run, why, and what it took the last time; writes nothing.

    With --only, --from or --force: what karma run with the same options would do.

    Example: karma plan flows/recipes/smoke.yaml --set policy.kl_coef=0.1
    """
    document, store = opened(recipe, settings, workspace, shared)
    refuse_force(force, store)
    found = work(make_plan(recipe.stem, document, store), selected(only, start, force))
    if as_json:
        print(json.dumps(found.document(), indent=1))
    else:
        show(found)
    return 4 if exit_code and found.those("yes", "maybe") else 0


def show(found: Work) -> None:
    """Print what a run would do: a line for the instances of a stage that are stale for the same
    reason, with what the last time took (seconds in all, the most memory), then what all come to.
    """
    alike: dict[tuple[str, str, str], list[str]] = {}
    for name, entry in found.plan.entries.items():
        unchanged = entry.state == FRESH or not found.selection.whole
        if found.runs[name] == "no" and unchanged and not entry.accepted:
            continue
        reason = (entry.node.stage, entry.state, _because(entry, found))
        alike.setdefault(reason, []).append(name)
    for (_, state, because), names in alike.items():
        for product in fold.products(names):
            entries = [found.plan.entries[name] for name in product]
            count = f"({len(product)})" if len(product) > 1 else ""
            told = f"{fold.name(product):<44} {count:<5} {_took(entries):>18}  {because}"
            print(f"{state:<8} {told}".rstrip())
    print(_sum(found))


def _took(entries: list[Entry]) -> str:
    """Time and memory of the last time."""
    times = [entry.last_seconds for entry in entries if entry.last_seconds is not None]
    peaks = [entry.last_mib for entry in entries if entry.last_mib is not None]
    seconds = f"{sum(times):.0f} s" if times else ""
    memory = f"{max(peaks):.0f} MiB" if peaks else ""
    return f"{seconds:>8} {memory:>9}".rstrip()


def _because(entry: Entry, found: Work) -> str:
    if entry.state == FAILED:
        return f"failed: {entry.last_error}"
    words = [f"{cause['kind']} {cause['what']}" for cause in entry.causes[:3]]
    more = len(entry.causes) - len(words)
    told = ", ".join(words) + (f" and {more} more (karma why)" if more else "")
    if entry.state != FRESH:
        return told
    if found.runs[entry.node.id] == "no":
        return f"accepted: {reasons(entry.accepted)}"
    forced = entry.node.id in found.selection.forced(found.plan.dag)
    return "forced" if forced else "if what is forced before it differs"


def _sum(found: Work) -> str:
    runs, waits = found.those("yes"), found.those("maybe")
    parts = [f"{len(runs)} to run, {len(waits)} to look at when those are done"]
    seconds = [e.last_seconds for e in (*runs, *waits) if e.last_seconds is not None]
    memory = [e.last_mib for e in (*runs, *waits) if e.last_mib is not None]
    if seconds:
        peak = f" and at most {max(memory):.0f} MiB each" if memory else ""
        parts.append(f"{sum(seconds):.0f} s of work{peak} the last time")
    if found.left_alone and not found.selection.whole:
        parts.append(f"{found.left_alone} not fresh and left alone")
    fresh = sum(entry.state == FRESH for entry in found.plan.entries.values())
    return "; ".join([*parts, f"{fresh} fresh"]) + "."


def why(
    recipe: RecipePath,
    instance: Instance,
    settings: Settings = None,
    workspace: Workspace = HERE,
    shared: Shared = "",
) -> int:
    """Every cause that makes an instance stale, old and new, and where they come from.

    The first line is the first root cause: what changed by itself, before anything followed.

    Example: karma why flows/recipes/smoke.yaml policy/reddit/context/0
    """
    from karma import why as causes
    from karma.instances import find

    document, store = opened(recipe, settings, workspace, shared)
    made = make_plan(recipe.stem, document, store)
    entry = made.entries[find(made.dag, instance).id]
    print(causes.sentence(made, store, instance))
    if entry.accepted:
        print(f"  accepted: {reasons(entry.accepted)}")
    if entry.last_error:
        print(f"  the last try failed: {entry.last_error}")
    for cause in entry.causes:
        old, new = causes.change(cause)
        print(f"  {cause['kind']} {cause['what']}: {old} → {new}")
    for name in dict.fromkeys(entry.node.inputs.values()):
        if made.entries[name].state != FRESH:
            print(f"  waits for {name}, which is {made.entries[name].state}")
    behind = [root for root in causes.roots(made, store, instance) if root.instance != instance]
    for root in behind:
        old, new = causes.change(root.cause)
        what = f"{root.cause['kind']} {root.cause['what']}"
        print(f"  behind it, {root.instance}: {what}: {old} → {new}")
    return 0
