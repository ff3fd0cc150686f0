"""The command ``karma accept``."""

from enum import StrEnum
from typing import Annotated

import typer

from flows.options import HERE, RecipePath, Settings, Shared, Workspace, opened


class Meaning(StrEnum):
    """What a result is of: changed, it is accepted only if it is named."""

    CONFIG = "config"
    INPUT = "input"
    COMPUTE = "compute"


def accept(
    recipe: RecipePath,
    stages: Annotated[
        list[str],
        typer.Argument(metavar="STAGE", help="A stage, policy/reddit, or one instance; several."),
    ],
    because: Annotated[
        str,
        typer.Option("--because", help="Why the change cannot matter; shown with the artefact."),
    ],
    also: Annotated[
        list[Meaning] | None,
        typer.Option(
            "--also", help="Accept changed settings, inputs or another accelerator as well."
        ),
    ] = None,
    settings: Settings = None,
    workspace: Workspace = HERE,
    shared: Shared = "",
) -> int:
    """Keep what a stage made, although it is stale, after a change that cannot matter.

    Changed code, SQL, files and library versions are accepted; anything else only with --also.
    What is accepted is shown in the plan, the lineage, the report and MLflow.

    Example: karma accept flows/recipes/smoke.yaml policy --because "ppo.py: renamed a variable"
    """
    from karma.plan import plan
    from karma.upkeep.accept import accept as write

    document, store = opened(recipe, settings, workspace, shared)
    for stage in stages:
        made = plan(recipe.stem, document, store)
        for one in write(made, store, stage, because, tuple(also or ())):
            causes = ", ".join(f"{cause['kind']} {cause['what']}" for cause in one.causes)
            print(f"accepted  {one.instance:<44} {one.digest[:16]}  {causes}")
    return 0
