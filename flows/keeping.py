"""The commands that look after the store: ``karma verify``, ``karma gc``, ``karma keep``."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.options import HERE, Json, Shared, Workspace, say
from karma.errors import InputError, WorkspaceError
from karma.shared import SharedStore, open_store
from karma.store import Store

if TYPE_CHECKING:
    from karma.upkeep.holdings import Item


def verify(workspace: Workspace = HERE, shared: Shared = "", as_json: Json = False) -> int:
    """Read the whole store again: artefacts, records, references; end with 1 if one is damaged.

    Of a store that machines share, the shared copy is read, and what is damaged there is removed.

    Example: karma verify --workspace .karma
    """
    from karma.upkeep import shared as there
    from karma.upkeep.verify import silent
    from karma.upkeep.verify import verify as check

    store = _opened(workspace, shared)
    told = _progress if sys.stderr.isatty() else silent
    is_shared = isinstance(store, SharedStore)
    found = there.verify(store, told) if isinstance(store, SharedStore) else check(store, told)
    if as_json:
        print(json.dumps(found.document(), indent=1))
        return 1 if found.findings else 0
    for finding in found.findings:
        whose = ", ".join(finding.instances) or "of no recipe"
        print(f"damaged  {whose}  {finding.place}: {finding.what}")
    accepted = f", {found.accepted} of them accepted" if found.accepted else ""
    print(
        f"{found.artefacts} artefacts ({readable(found.bytes)}), {found.records} records"
        f"{accepted}, {found.references} references, read in {found.seconds:.1f} s: "
        f"{len(found.findings) or 'nothing'} damaged."
    )
    if found.findings and is_shared:
        say("What was damaged was taken away: karma run makes it again, or shares it again.")
    elif found.findings:
        say("Delete it, of objects/ the whole folder: karma run makes it again.")
    return 1 if found.findings else 0


def _opened(workspace: Path, shared: str) -> Store:
    """A workspace that is there, or one that is made to be the cache of a shared store.

    Raises WorkspaceError if there is none.
    """
    store = open_store(workspace, shared)
    if isinstance(store, SharedStore):
        store.create()
    elif not (store.root / "objects").is_dir():
        raise WorkspaceError(
            f"workspace {workspace}", "there is none", "Name another with --workspace."
        )
    return store


def _progress(done: int, of: int) -> None:
    print(f"\r{done} of {of} artefacts", end="" if done < of else "\n", file=sys.stderr, flush=True)


def gc(
    workspace: Workspace = HERE,
    shared: Shared = "",
    apply: Annotated[
        bool, typer.Option("--apply", help="Remove what is listed; without it nothing is.")
    ] = False,
    containing: Annotated[
        str | None,
        typer.Option(
            metavar="AUTHOR-OR-THREAD",
            help="List all that comes from the rows of u/NAME or of thread t3_ID instead, and "
            "with --apply remove what of it nobody needs.",
        ),
    ] = None,
    forget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RECIPE", help="A recipe that nobody will run again: list what only it needs."
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """List what no recipe and no kept run needs; with --apply, remove it.

    A recipe needs what it last made or used, and all that this was made from. Safe beside a run.
    A store that machines share is searched instead, for the recipes of all workspaces.

    Example: karma gc --apply
    """
    from karma.upkeep import containing as search
    from karma.upkeep import gc as collector
    from karma.upkeep import shared as there
    from karma.upkeep.holdings import Holdings

    store = _opened(workspace, shared)
    forgotten = tuple(forget or ())
    _refuse_unknown(store, forgotten)
    if isinstance(store, SharedStore):
        holdings: Holdings = there.SharedHoldings(store, forgotten)
    else:
        holdings = Holdings(store, forgotten)
    if containing is not None:
        items = search.find(holdings, containing, say)
    else:
        items = holdings.unneeded()
    removed = []
    if apply and isinstance(store, SharedStore):
        removed = there.remove(store, items, forgotten)
    elif apply:
        removed = collector.remove(store, items, forgotten)
    if as_json:
        freed = sum(item.bytes for item in removed)
        listed = [asdict(item) for item in items]
        document = {"schema": 1, "applied": apply, "freed": freed, "items": listed}
        print(json.dumps(document, indent=1))
    else:
        _print(items, removed, apply)
    return 0


def _refuse_unknown(store: Store, recipes: tuple[str, ...]) -> None:
    if not recipes:
        return
    if isinstance(store, SharedStore):
        from karma.upkeep.shared import recipes as named

        known = {name: f" on {d['host']} in {d['folder']}" for name, d in named(store).items()}
    else:
        known = dict.fromkeys(store.recipes(), "")
    for recipe in recipes:
        if recipe not in known:
            names = ", ".join(f"{name}{where}" for name, where in known.items()) or "none"
            raise InputError(f"--forget {recipe}", "no such recipe ran here", f"Known: {names}.")


def _print(items: list["Item"], removed: list["Item"], applied: bool) -> None:
    for item in items:
        day = time.strftime("%Y-%m-%d", time.localtime(item.last_use))
        needed = f"  needed by {', '.join(item.needed_by)}" if item.needed_by else ""
        how = f"  {item.how:<9}" if item.how else ""
        print(
            f"{item.recipe:<12} {item.stage:<10} {item.instance:<40} {readable(item.bytes):>9}  "
            f"{day}{how}{needed}  {(item.digest or item.key)[:16]}"
        )
    asked_for = sum(bool(item.needed_by) for item in items)
    free = sum(item.bytes for item in items if not item.needed_by)
    told = f"{len(items)} listed"
    told += f", {asked_for} of them needed (karma gc leaves them alone)" if asked_for else ""
    if applied:
        print(f"{told}; {len(removed)} removed, {readable(sum(i.bytes for i in removed))} free.")
    else:
        print(f"{told}; --apply removes {len(items) - asked_for}, {readable(free)}.")


def keep(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="A recipe (its last report), RECIPE:INSTANCE, or digits of a key or digest; "
            "without it, what is kept is listed.",
        ),
    ] = None,
    release: Annotated[
        bool, typer.Option("--release", help="Stop keeping it; this removes nothing.")
    ] = False,
    workspace: Workspace = HERE,
    shared: Shared = "",
) -> int:
    """Protect a run from karma gc: its report, and all that this was made from.

    Example: karma keep smoke
    """
    from karma.upkeep import keep as keeper

    store = _opened(workspace, shared)
    if name is None and release:
        raise InputError("--release", "it names nothing", "karma keep lists what is kept.")
    if name is None:
        for document in keeper.kept(store):
            _print_kept(document, "kept")
    elif release:
        _print_kept(keeper.release(store, name), "released")
    else:
        _print_kept(keeper.keep(store, name), "kept")
    return 0


def _print_kept(document: dict[str, Any], word: str) -> None:
    digest, day = document["digest"][:16], document["at"][:10]
    print(f"{word}  {document['name']:<24} {document['stage']:<8} {digest}  since {day}")


def readable(size: float) -> str:
    """A number of bytes for a person: ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
