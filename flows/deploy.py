"""The command ``karma deploy``: a recipe on a schedule, as a Prefect deployment."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.options import HERE, RecipePath, Settings, Shared, Workspace, opened
from flows.server import configured, server
from karma.errors import InputError

UTC, POOL = "UTC", "karma"


def deploy(
    recipe: RecipePath,
    cron: Annotated[
        str | None,
        typer.Option(
            metavar="CRON",
            help="When it runs, in UTC unless --timezone; without it, when started by hand.",
        ),
    ] = None,
    timezone: Annotated[
        str, typer.Option(metavar="ZONE", help="The schedule's zone, such as Europe/London.")
    ] = UTC,
    overlap: Annotated[
        Literal["wait", "skip"],
        typer.Option(help="What a run does while another of this deployment goes on."),
    ] = "wait",
    pool: Annotated[
        str,
        typer.Option(metavar="POOL", help="The work pool; created, with type process, if missing."),
    ] = POOL,
    settings: Settings = None,
    workspace: Workspace = HERE,
    shared: Shared = "",
) -> int:
    """Put a recipe on a schedule, as a deployment whose parameters Prefect's page shows.

    With a Prefect server of your own (PREFECT_API_URL or a profile) the deployment remains when the
    command ends, and the workers of the pool run it. Without one the command serves it on the
    workspace's server until Ctrl-C, so give it a terminal of its own. Globs are looked up anew at
    each run, and a dump that is still being written is left for the next. The pools that the recipe
    names for stages get a deployment for their jobs, too.

    Example: karma deploy flows/recipes/smoke.yaml --cron "0 3 * * *"
    """
    document, store = opened(recipe, settings, workspace, shared)
    own = not configured()
    if timezone != UTC and cron is None:
        raise InputError("--timezone", "there is no schedule that it could be of", "Add --cron.")
    if pool != POOL and own:
        raise InputError(
            "--pool",
            "work pools are those of a Prefect server of your own, and none is configured",
            "Name it with PREFECT_API_URL (docs/operations.md), or leave --pool out.",
        )
    # What a run prints is for Prefect's page here.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
    store.create()
    with server(store.root) as address:
        from flows import deployment

        when = None if cron is None else deployment.schedule(cron, timezone)
        made = deployment.declare(document, recipe.stem, store.root, shared, when, overlap)
        if not own:
            place = deployment.register(made, pool, Path.cwd())
            print(f"{made.full_name} stands on {place}, for the work pool {pool}.")
            print(f"A machine that is to run it: prefect worker start --pool {pool}")
            for name in sorted(set(document.pools.values())):
                jobs = deployment.jobs(name)
                deployment.register(jobs, name)
                print(f"{jobs.full_name} stands too: prefect worker start --pool {name}")
            return 0
        print(f"{made.full_name} is served; Prefect's page: {address.removesuffix('/api')}")
        print("Ctrl-C ends it; the schedule waits until it is served again.", flush=True)
        deployment.serve(made)
    return 0
