"""The command ``karma status``: what ran, what runs, what waits, and when the next run is due."""

import json
import os
from datetime import UTC, datetime
from typing import Any

from flows.options import HERE, Json, Workspace
from flows.server import address
from karma.errors import InputError
from karma.history import Past, last
from karma.store import Store

SHOWN = 10


def status(workspace: Workspace = HERE, as_json: Json = False) -> int:
    """The last runs of a workspace, and what Prefect runs, has queued and has scheduled.

    Prefect is asked where a server is up: the workspace's own, or the one that is configured.

    Example: karma status
    """
    store = Store(workspace)
    runs = last(store, SHOWN)
    url = address(store.root)
    deployed = None if url is None else _deployed(url)
    if as_json:
        print(json.dumps(_document(runs, deployed), indent=1))
        return 0
    for run in runs:
        print(_line(run))
    if not runs:
        print(f"No run in {workspace} yet.")
    for one in deployed or []:
        print(f"{_when(one['due'])}  {one['recipe']:<12} {one['state']}")
    if deployed is None:
        print("No Prefect server is up here, so nothing is scheduled: karma deploy, karma ui.")
    elif not deployed:
        print("Nothing is queued or scheduled.")
    return 0


def _document(runs: list[Past], deployed: list[dict[str, Any]] | None) -> dict[str, Any]:
    """The command's answer; ``deployed`` is null where there is no server to ask."""
    return {"schema": 1, "runs": [vars(run) for run in runs], "deployed": deployed}


def _line(run: Past) -> str:
    until = "" if run.ended is None else f" in {run.ended - run.began:.0f} s"
    what = f"{run.ran} ran, {run.cached} cached" if run.ended is not None else run.who
    first = next(iter((run.failures or {}).items()), None)
    failed = f"; {len(run.failures or {})} failed, {first[0]}: {first[1]}" if first else ""
    return f"{_when(run.began)}  {run.recipe:<12} {run.status}{until}; {what}{failed}"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")


def _deployed(url: str) -> list[dict[str, Any]]:
    """The runs of deployments that go on or are to come, the next of each deployment alone."""
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
                flow_filter=FlowFilter.model_validate({"name": {"any_": ["karma-deployed"]}}),
                flow_run_filter=FlowRunFilter.model_validate({"state": open_states}),
                sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            )
        except httpx.HTTPError as error:
            raise InputError(
                f"Prefect's server {client.api_url}", f"it does not answer ({error})", "Start it."
            ) from error
    seen: set[tuple[Any, Any]] = set()
    runs = []
    for run in found:
        if (run.deployment_id, run.state_name) in seen or run.expected_start_time is None:
            continue
        seen.add((run.deployment_id, run.state_name))
        due = run.expected_start_time.astimezone(UTC).timestamp()
        runs.append({"recipe": run.parameters["name"], "state": run.state_name, "due": due})
    return runs
