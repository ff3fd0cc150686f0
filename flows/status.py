"""The command ``karma status``: what ran, what runs, what waits, and when the next run is due."""

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flows.options import HERE, Json, Workspace
from flows.server import address
from karma.errors import InputError, words
from karma.history import Past, last
from karma.store import Store

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

SHOWN = 10
FLOWS = ["karma-deployed", "karma-job"]
JOB = "request"  # the parameter by which a job on a work pool is known
Found = list[dict[str, Any]]


def status(workspace: Workspace = HERE, as_json: Json = False) -> int:
    """The last runs of a workspace, and what Prefect runs, has queued and has scheduled.

    Prefect is asked where a server is up: the workspace's own, or the one that is configured.

    Example: karma status
    """
    store = Store(workspace)
    runs = last(store, SHOWN)
    if not as_json:
        # Before a server is asked, which may be down.
        for run in runs:
            print(_line(run))
        if not runs:
            print(f"No run in {workspace} yet.")
    url = address(store.root)
    deployed, jobs = (None, None) if url is None else _deployed(url)
    if as_json:
        print(json.dumps(_document(runs, deployed, jobs), indent=1))
        return 0
    for one in deployed or []:
        print(f"{_when(one['due'])}  {one['recipe']:<12} {one['state']}")
    for one in jobs or []:
        print(f"{one['instance']}: {one['state']} on pool {one['pool']}")
    if deployed is None:
        print("No Prefect server is up here, so nothing is scheduled: karma deploy, karma ui.")
    elif not deployed:
        print("Nothing is queued or scheduled.")
    return 0


def _document(runs: list[Past], deployed: Found | None, jobs: Found | None) -> dict[str, Any]:
    """The command's answer; ``deployed`` and ``jobs`` are null where there is no server to ask."""
    past = [vars(run) for run in runs]
    return {"schema": 1, "runs": past, "deployed": deployed, "jobs": jobs}


def _line(run: Past) -> str:
    until = "" if run.ended is None else f" in {run.ended - run.began:.0f} s"
    what = f"{run.ran} ran, {run.cached} cached" if run.ended is not None else run.who
    first = next(iter((run.failures or {}).items()), None)
    failed = f"; {len(run.failures or {})} failed, {first[0]}: {first[1]}" if first else ""
    return f"{_when(run.began)}  {run.recipe:<12} {run.status}{until}; {what}{failed}"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")


def _deployed(url: str) -> tuple[Found, Found]:
    """The runs of deployments that go on or are to come, the next of each deployment alone; and the
    jobs on work pools, all of them."""
    if url:
        os.environ["PREFECT_API_URL"] = url
    import httpx
    from prefect import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    open_states = {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "PAUSED"]}}
    with get_client(sync_client=True) as client:
        try:
            found = client.read_flow_runs(
                flow_filter=FlowFilter.model_validate({"name": {"any_": FLOWS}}),
                flow_run_filter=FlowRunFilter.model_validate({"state": open_states}),
                sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            )
        except httpx.HTTPError as error:
            raise InputError(
                f"Prefect's server {client.api_url}",
                f"it does not answer ({words(error)})",
                "Start it (prefect server start), or correct PREFECT_API_URL.",
            ) from error
    jobs = [run for run in found if JOB in run.parameters]
    return _next([run for run in found if JOB not in run.parameters]), [_job(run) for run in jobs]


def _next(runs: list["FlowRun"]) -> Found:
    """The first run in each state of each deployment."""
    seen: set[tuple[Any, Any]] = set()
    found: Found = []
    for run in runs:
        if (run.deployment_id, run.state_name) in seen or run.expected_start_time is None:
            continue
        seen.add((run.deployment_id, run.state_name))
        due = run.expected_start_time.astimezone(UTC).timestamp()
        found.append({"recipe": run.parameters["name"], "state": run.state_name, "due": due})
    return found


def _job(run: "FlowRun") -> dict[str, Any]:
    instance = run.parameters[JOB]["instance"]
    return {"instance": instance, "pool": run.work_pool_name, "state": run.state_name}
