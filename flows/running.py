"""The command ``karma run``: what it refuses, what it starts, and what it says at the end."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows import planning, recipe_name
from flows.headline import conclude
from flows.options import HERE, RecipePath, Settings, Shared, Workspace, opened, say, short
from karma import history
from karma.errors import BusyError, InputError, UserError
from karma.inputs import setting
from karma.plan import MISSING, Plan
from karma.plan import plan as make_plan
from karma.selection import Work, work
from karma.shared import SharedStore
from karma.store import Store

if TYPE_CHECKING:
    from tasks.stage import Run

CANCELLING = 20.0  # seconds that Ctrl-C waits for Prefect's server


def run(
    recipe: RecipePath,
    settings: Settings = None,
    workspace: Workspace = HERE,
    shared: Shared = "",
    only: planning.Only = None,
    start: planning.From = None,
    force: planning.Force = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would run.")] = False,
    no_wait: Annotated[
        bool,
        typer.Option(
            "--no-wait",
            help="Do not wait for what another run is working on: leave it and what is made from "
            "it out, and end with 1.",
        ),
    ] = False,
) -> int:
    """Bring a recipe up to date: run what is stale, and nothing else.

    karma plan with the same options shows beforehand what would run.

    Example: karma run flows/recipes/smoke.yaml --set policy.kl_coef=0.1
    """
    document, store = opened(recipe, settings, workspace, shared)
    planning.refuse_force(force, store)
    if not dry_run:
        store.create()
    selection = planning.selected(only, start, force)
    found = work(make_plan(recipe.stem, document, store), selection)
    if dry_run:
        planning.show(found)
        return 0
    refuse_missing(found)
    recipe_name.take(store, recipe)
    if least := document.cards_here(_stages(found)):
        from karma.cards import cards

        cards(least)
    found = reconciled(found, store)
    if not found.those("yes", "maybe"):
        if selection.whole and not settings:
            store.drop_refs(recipe.stem, found.plan.dag.nodes)
        say_nothing_ran(found, store)
        flush(found.plan, store)
        digest = found.plan.entries["report"].digest
        return conclude(document, digest, store, workspace)
    done = _run(found, store, wait=not no_wait)
    if not settings and done.dag.nodes.keys() <= done.outcomes.keys():
        # With settings over it, what the recipe has is not what this run had.
        store.drop_refs(recipe.stem, done.dag.nodes)
    return finish(done, workspace)


def reconciled(found: Work, store: Store) -> Work:
    """What a run will do once a store that machines share has been asked, if there is one.

    Raises SharedStoreError if that store cannot be used.
    """
    if not isinstance(store, SharedStore):
        return found
    if found.those("yes", "maybe"):
        store.remote.check()
    dag = found.plan.dag
    while not store.claim(e.key for e in found.plan.entries.values() if e.key is not None):
        # karma gc has removed something since it was looked up.
        found = work(make_plan(dag.recipe, dag.settings, store), found.selection)
    if found.those("yes", "maybe"):
        return found
    if _agree(found.plan, store):
        return found
    return work(make_plan(dag.recipe, dag.settings, store), found.selection)


def _agree(plan: Plan, store: SharedStore) -> bool:
    """Let what is here be known there and the other way round; whether all is as it was planned.

    Where another machine was first with a key, its artefact stands from now on.
    """
    agreed = True
    for entry in plan.entries.values():
        record = store.record(entry.node.stage, entry.key) if entry.key else None
        if record is not None and not history.untold(store, record):
            digest = store.share(record)["digest"]
            agreed = agreed and digest == entry.digest
            store.set_ref(plan.dag.recipe, entry.node.id, record["key"], digest)
    return agreed and store.fetch(plan.entries["report"].digest or "")


def _stages(found: Work) -> list[str]:
    """The stage of each job that a run would have to do or look at, but for those of a cluster."""
    nodes = [entry.node for entry in found.those("yes", "maybe")]
    dag = found.plan.dag
    return [node.stage for node in nodes if node.source is None and not dag.on_cluster(node)]


def say_nothing_ran(found: Work, store: Store) -> None:
    """Say so, and remember for ``karma gc`` that all of it was needed."""
    dag = found.plan.dag
    chosen = found.selection.chosen(dag)
    for entry in found.plan.entries.values():
        if entry.key is not None and entry.node.id in chosen:
            store.use(dag.recipe, entry.node.id, entry.key)
    store.release()
    which = "" if found.selection.whole else f" of {found.selection.words}"
    print(f"{dag.recipe}: all {len(chosen)} instances{which} are up to date; nothing ran.")


def refuse_missing(found: Work) -> None:
    """Inputs that are not there end the run before anything starts, told all at once."""
    dag = found.plan.dag
    needed = found.selection.needed(dag)
    told: dict[str, None] = {}
    for entry in found.plan.entries.values():
        source = entry.node.source
        if source is not None and entry.state == MISSING and entry.node.id in needed:
            assert source.path is not None
            key = setting(entry.node, dag.nodes)
            told[f"{key}: {source.path}: {_missing(source.path)}{_from(source.path)}"] = None
    if told:
        raise InputError(
            "missing inputs",
            "; ".join(told),
            "Check the paths in the recipe, or give others with --set.",
        )


def _from(path: Path) -> str:
    """Where a path is looked for that does not say so itself."""
    return "" if path.is_absolute() else f" (from {Path.cwd()})"


def _missing(path: Path) -> str:
    if path.is_file():
        return "it is a file, not a folder"
    if not path.is_dir():
        return "there is no such file or folder"
    return "it is a folder, not a file" if any(path.iterdir()) else "it is an empty folder"


def _run(found: Work, store: Store, wait: bool) -> "Run":
    """Run what is stale under Prefect."""
    from flows.console import Console
    from flows.server import server

    # Workers and the server see that this process is gone and end; what is done is kept.
    _at_interruption(lambda *_: _interrupted())
    recipe = found.plan.dag.recipe
    with Console() as console:
        stale = len(_stages(found))
        console.say(f"{recipe}: {stale} instances to bring up to date; starting Prefect")
        with server(store.root) as address:
            console.say(f"Prefect's page: {address.removesuffix('/api') or 'as configured'}")
            from flows.pipeline import execute
            from tasks.stage import Run

            made = Run(found.plan.dag, store, console, found.selection, wait)
            made.interrupted = lambda *_: _interrupted(made)
            _at_interruption(made.interrupted)
            return execute(made, tracking_uri(store))


def _at_interruption(end: Callable[..., None]) -> None:
    """What Ctrl-C does from now on, and SIGTERM, by which schedulers of machines end a process."""
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)


def _interrupted(run: "Run | None" = None) -> None:
    """End at once, but for jobs elsewhere, which do not see that this process is gone."""
    _at_interruption(lambda *_: os._exit(130))
    say("interrupted; run the same command again to go on")
    if run is not None and run.spread:
        say("its jobs on other machines are being cancelled")
        thread = threading.Thread(target=run.cancel, daemon=True)
        thread.start()
        thread.join(CANCELLING)
    os._exit(130)


def finish(done: "Run", workspace: Path) -> int:
    """Say what failed and what came out; after a failure there is a report too, with holes."""
    code = _explain_failures(done)
    report = done.outcomes.get("report")
    met = conclude(done.dag.settings, report.digest if report else None, done.store, workspace)
    return code or met


def _explain_failures(done: "Run") -> int:
    """Say what failed: 0 if nothing did, 2 if the user can mend it, else 1."""
    if not done.failures:
        return 0
    say("")
    for name, error in done.failures.items():
        say(f"error: {name}: {error}")
        if not isinstance(error, UserError | BusyError):
            say(f"  karma logs {name} --workspace {short(done.store.root)} shows its output")
    asked = done.selection.needed(done.dag)
    missing = len(asked - done.outcomes.keys())
    say(f"{missing} of {len(asked)} instances are missing; the rest is done and kept.")
    return 2 if any(isinstance(e, UserError) for e in done.failures.values()) else 1


def tracking_uri(store: Store) -> str:
    """The MLflow server that the environment names, or the workspace's own database."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{store.root / 'mlflow.db'}"


def flush(made: Plan, store: Store) -> None:
    """Tell MLflow what is left to tell, and what its registry is to hold if that has changed."""
    from karma import registry
    from karma.journal import settle_dead
    from karma.outbox import Outbox

    settle_dead(store, say)
    try:
        registry.tell(made, store, first=bool(Outbox(store.root).waiting()))
    except OSError as error:
        say(f"what MLflow's registry is to hold cannot be written ({error.strerror})")
    if Outbox(store.root).waiting():
        from karma.record import flush

        flush(store, tracking_uri(store), say)
