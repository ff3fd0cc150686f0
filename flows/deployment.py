"""A recipe as a Prefect deployment: registered with a work pool, or served by this process."""

import asyncio
import signal
from contextlib import suppress
from pathlib import Path
from typing import Literal

from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound, TerminationSignal
from prefect.runner import Runner
from prefect.types.entrypoint import EntrypointType

from flows.job import job
from flows.scheduled import scheduled
from karma.address import public
from karma.errors import RecipeError
from karma.recipe import Recipe
from tasks.client import asking

Overlap = Literal["wait", "skip"]
STRATEGY = {
    "wait": ConcurrencyLimitStrategy.ENQUEUE,
    "skip": ConcurrencyLimitStrategy.CANCEL_NEW,
}


def schedule(cron: str, timezone: str) -> CronSchedule:
    """A schedule. Raises RecipeError if it is none."""
    try:
        return CronSchedule(cron=cron, timezone=timezone)
    except ValueError as error:
        raise RecipeError(
            f"--cron {cron!r} --timezone {timezone!r}",
            "it is no schedule",
            'Give five fields and a zone, such as --cron "0 3 * * *" --timezone Europe/London.',
        ) from error


def declare(
    recipe: Recipe,
    name: str,
    workspace: Path,
    store: str,
    when: CronSchedule | None,
    overlap: Overlap,
) -> RunnerDeployment:
    """The deployment of a recipe: one run at a time, the recipe's own words as its parameter."""
    return RunnerDeployment.from_flow(
        scheduled,
        name=name,
        schedules=[] if when is None else [when],
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=STRATEGY[overlap]),
        parameters={
            "recipe": recipe.model_dump(mode="json", exclude_unset=True),
            "name": name,
            "workspace": str(workspace),
            "store": store,
        },
        tags=["karma"],
        enforce_parameter_schema=False,  # what is wrong is said by the run, in our words
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def jobs(pool: str) -> RunnerDeployment:
    """The deployment whose runs are a pool's jobs. What each does is said when it is started."""
    return RunnerDeployment.from_flow(
        job,
        name=pool,
        tags=["karma"],
        enforce_parameter_schema=False,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def register(deployment: RunnerDeployment, pool: str, folder: Path | None = None) -> str:
    """Put a deployment on a work pool of the configured server; the server's address.

    The pool is made, of the type process, if it is missing. A worker of this type runs it in
    ``folder``, or else in an empty one of its own. Raises InputError if the server cannot be used.
    """
    with asking() as client:
        try:
            found = client.read_work_pool(pool)
        except ObjectNotFound:
            found = client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        if found.type == "process" and folder is not None:
            deployment.job_variables = {"working_dir": str(folder)}
        deployment.work_pool_name = pool
        deployment.apply()
        return public(str(client.api_url))


def serve(deployment: RunnerDeployment) -> None:
    """Run what is scheduled, and what the page starts, in children of this process, until Ctrl-C.

    The schedule is paused while nobody serves it.
    """
    # Begun in the background of a script it ignores what Ctrl-C sends.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runner = Runner(name="karma", pause_on_shutdown=True)
    runner.add_deployment(deployment)
    with suppress(KeyboardInterrupt, TerminationSignal):
        asyncio.run(runner.start())
