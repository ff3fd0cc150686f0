"""The pipeline as a Prefect deployment: what a schedule, or a person on Prefect's page, starts.

The recipe is a parameter, which Prefect's page shows as a form; it is checked here, with the words
of the command line. Dumps that globs name are looked for at each run, and one that is still being
written is left for the next.
"""

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows import running
from flows.console import Console
from flows.headline import conclude
from flows.pipeline import execute
from karma import history
from karma.errors import UserError
from karma.plan import plan
from karma.recipe import Recipe, check
from karma.selection import Selection, work
from karma.settle import settle
from karma.shared import open_store
from karma.store import Store
from tasks.stage import Run

GATE = 3  # the exit code of a gate that is not met


@flow(
    name="karma-deployed",
    flow_run_name="{name}",
    persist_result=False,
    log_prints=True,
    validate_parameters=False,  # the messages are ours
)
def scheduled(recipe: Recipe, name: str, workspace: str = ".karma", store: str = "") -> State[Any]:
    """Bring a recipe up to date.

    Args:
        recipe: The recipe, section by section.
        name: The recipe's name, under which its artefacts are found again.
        workspace: The folder of artefacts and records, on the machine that runs it.
        store: The store that machines share, if there is one: s3://bucket/prefix, or a folder.
    """
    try:
        document = check(Recipe, recipe, f"recipe {name}", "Correct the deployment's parameters.")
        return _bring_up_to_date(document, name, open_store(Path(workspace), store))
    except UserError as error:
        return Failed(message=str(error))


def _bring_up_to_date(document: Recipe, name: str, store: Store) -> State[Any]:
    document, left = settle(document)
    for path, reason in left.items():
        print(f"{path} is left for the next run: {reason}")
    store.create()
    found = work(plan(name, document, store), Selection())
    running.refuse_missing(found)
    found = running.reconciled(found, store)
    if not found.those("yes", "maybe"):
        running.say_nothing_ran(found, store)
        running.flush(found.plan, store)
        history.idle(store, name, len(found.plan.entries))
        code = conclude(document, found.plan.entries["report"].digest, store, store.root)
        return _state(code, "nothing was stale", "Cached")
    with Console() as console:
        run = Run(found.plan.dag, store, console, Selection(), wait=True)
        done = execute(run, running.tracking_uri(store))
    code = running.finish(done, store.root)
    ran = sum(outcome.ran for outcome in done.outcomes.values())
    holes = "; ".join(f"{name}: {error}" for name, error in done.failures.items())
    return _state(code, holes or f"{ran} instances ran", "Completed")


def _state(code: int, words: str, name: str) -> State[Any]:
    """A run's exit code as a state, which automations can watch for."""
    if code == 0:
        return Completed(name=name, message=words)
    if code == GATE:
        return Failed(name="GateNotMet", message=f"a gate of the recipe is not met; {words}")
    return Failed(name="Holes", message=words)
