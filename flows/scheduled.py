"""The pipeline as a Prefect deployment: what a schedule, or a person on Prefect's page, starts.

The recipe is a parameter, which Prefect's page shows as a form; it is checked here, with the words
of the command line. Dumps that globs name are looked for at each run, and one that is still being
written is left for the next.
"""

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from karma.errors import UserError
from karma.recipe import Recipe, check


@flow(
    name="karma-deployed",
    flow_run_name="{name}",
    persist_result=False,
    validate_parameters=False,  # the messages are ours
)
def scheduled(recipe: Recipe, name: str, workspace: str = ".karma") -> State[Any]:
    """Bring a recipe up to date.

    Args:
        recipe: The recipe, section by section.
        name: The recipe's name, under which its artefacts are found again.
        workspace: The folder of artefacts and records, on the machine that runs it.
    """
    try:
        document = check(Recipe, recipe, f"recipe {name}", "Mend the parameters.")
        return _bring_up_to_date(document, name, Path(workspace))
    except UserError as error:
        return Failed(message=str(error))


def _bring_up_to_date(document: Recipe, name: str, workspace: Path) -> State[Any]:
    from flows.running import nothing_to_do, refuse_missing, run_plan, unmet_gates
    from karma.plan import plan
    from karma.settle import settle
    from karma.store import Store

    log = get_run_logger()
    settled, left = settle(document)
    for path, reason in left.items():
        log.warning("%s is left for the next run: %s", path, reason)
    store = Store(workspace)
    store.create()
    made = plan(name, settled, store)
    ...
