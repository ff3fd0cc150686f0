"""Jobs on work pools: started as runs of a pool's deployment, watched by their lease in the store.

    start ──► scheduled ──► a lease that beats ──► a record: done
      ▲           │ crashed, or running without a beat
      └───────────┘ a few times, each time after longer

Prefect leaves a run whose worker was killed RUNNING for ever. So what counts as a sign of life is
the job's lease; a run without one is marked as crashed, which frees its slot, and another worker
gets the job. A run of the same key that goes on already, whoever asked for it, is watched and not
started twice. A job outlives the pipeline run that asked for it, unless that was ended by Ctrl-C or
cancelled: what it commits is there for the next one.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn
from uuid import UUID

from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun, State, StateType, WorkerStatus
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Crashed

from karma.errors import RecipeError, StageError
from karma.lease import HeldError
from karma.pooled import FAILED, Request
from karma.store import Store, canonical
from tasks.client import asking
from tasks.elsewhere import Elsewhere, LostError, came_to_nothing

FLOW = "karma-job"
OPEN = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING)
BEGIN = 120.0  # seconds in which a worker that took a job must hold its lease
LOOKS = (2.0, 15.0)  # seconds between looks: at what is at work, at most at what waits


class Jobs(Elsewhere):
    """The jobs of one pipeline run that run on work pools."""

    def __init__(self, pools: dict[str, str], store: Store, say: Callable[[str], None]) -> None:
        """``pools`` names a pool by stage. Raises RecipeError if workers cannot see the store."""
        super().__init__(f"pools: {', '.join(pools)}", store, say)
        self._started: dict[str, UUID] = {}
        self._address = self._store.remote.address
        for pool in sorted(set(pools.values())):
            self._deployment(pool)

    def run(self, request: Request, started: Callable[[], None]) -> dict[str, Any]:
        """As any job elsewhere; when it is done there is nothing to cancel any more."""
        record = super().run(request, started)
        self._started.pop(request.key, None)
        return record

    def cancel(self) -> None:
        """Cancel the jobs that this run started and that go on. Raises InputError."""
        if not self._started:
            return
        with asking() as client:
            for flow_run in list(self._started.values()):
                with suppress(ObjectNotFound):  # somebody has deleted it
                    state = client.read_flow_run(flow_run).state
                    if state is not None and state.type in OPEN:
                        client.set_flow_run_state(flow_run, Cancelling(message="the run was ended"))

    def _once(self, request: Request, started: Callable[[], None]) -> dict[str, Any]:
        """Start a job, or join the one that goes on, and wait. Raises LostError if it is lost."""
        stage, key = request.stage, request.key
        leases = self._store.remote.leases
        flow_run = self._start(request)
        quiet, pause, began = time.monotonic(), LOOKS[0], False
        while (record := self._record(stage, key)) is None:
            time.sleep(pause)
            if leases.holder(key) is not None:
                quiet, pause = time.monotonic(), LOOKS[0]
                if not began:
                    started()
                began = True
                continue
            pause = min(1.5 * pause, LOOKS[1])
            found = self._look(flow_run)
            if found.state is not None and found.state.type not in OPEN:
                # It may have committed between the two looks.
                return self._record(stage, key) or _ended(found.state)
            if _waits(found):
                quiet = time.monotonic()
            elif time.monotonic() - quiet > (leases.ttl / 4 if began else BEGIN):
                self._reclaim(flow_run, stage, key)
                raise LostError(f"its worker on pool {request.pool} died")
        return record

    def _record(self, stage: str, key: str) -> dict[str, Any] | None:
        """The record of a key as it stands there, if its artefact can be had."""
        record = self._store.remote.latest(stage, key)
        return record if record is not None and self._store.intact(record["digest"]) else None

    def _deployment(self, pool: str) -> UUID:
        """The deployment whose runs are a pool's jobs. Raises RecipeError if there is none."""
        with asking() as client:
            try:
                return client.read_deployment_by_name(f"{FLOW}/{pool}").id
            except ObjectNotFound as error:
                raise RecipeError(
                    f"pools: {pool}",
                    f"Prefect's server at {client.api_url} has no deployment {FLOW}/{pool}",
                    "Set PREFECT_API_URL to the server of the pool's workers, and run karma deploy "
                    "RECIPE, which makes it.",
                ) from error

    def _start(self, request: Request) -> UUID:
        """A run of the pool's deployment for a key: the one that goes on, or a new one."""
        deployment, tag = self._deployment(request.pool), f"key {request.key}"
        with asking() as client:
            known = client.read_flow_runs(
                flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[tag]))
            )
            going_on = [r for r in known if r.state is not None and r.state.type in OPEN]
            if going_on:
                return going_on[0].id
            made = client.create_flow_run_from_deployment(
                deployment,
                parameters={"request": request.model_dump(mode="json"), "store": self._address},
                name=request.instance,
                tags=["karma", tag],
                # Two that start it at once get the same run. Not their number: some may be deleted.
                idempotency_key=f"{request.key} {_digest(known)}",
            )
        self._started[request.key] = made.id
        self._say(f"{request.instance} waits for a worker of pool {request.pool}")
        return made.id

    def _look(self, flow_run: UUID) -> FlowRun:
        with asking() as client:
            return client.read_flow_run(flow_run)

    def _reclaim(self, flow_run: UUID, stage: str, key: str) -> None:
        """Free the slot and the lease of a dead worker's job."""
        with asking() as client:
            crashed: State[Any] = Crashed(message="its worker died")
            client.set_flow_run_state(flow_run, crashed, force=True)
        with suppress(HeldError), self._store.lease(stage, key):
            pass


def _digest(known: list[FlowRun]) -> str:
    """The same for the same runs only."""
    return hashlib.sha256(canonical(sorted(str(run.id) for run in known))).hexdigest()


def _waits(found: FlowRun) -> bool:
    """Whether a job has still to begin: nobody has it, or a worker that is alive starts it, which
    may take long where a container has to come up."""
    if found.state is None or found.state.type == StateType.SCHEDULED:
        return True
    if found.state.type == StateType.RUNNING:
        return False
    name = found.labels.get("prefect.worker.name")
    with asking() as client:
        workers = client.read_workers_for_work_pool(str(found.work_pool_name))
    return any(worker.name == name and worker.status == WorkerStatus.ONLINE for worker in workers)


def _ended(state: State[Any]) -> NoReturn:
    """Say how a job ended that did not commit. Raises LostError, ToldError or StageError."""
    message = state.message or "it ended"
    if state.type in (StateType.CANCELLED, StateType.CANCELLING):
        raise StageError("its job was cancelled on Prefect's page")
    if state.type in (StateType.CRASHED, StateType.COMPLETED):
        raise LostError(message)
    came_to_nothing(state.name or FAILED, message)
