"""What every task does: is the instance fresh? If not, run its job in a worker and commit.

``TASKS`` holds one named Prefect task a stage. Prefect orders, shows and retries; whether a result
can be reused is decided here, from the store, because Prefect's own cache knows neither the code
behind a task nor whether an artefact is still there.
"""

import json
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from karma import history, worker
from karma.acceptance import Acceptance, told
from karma.cards import cards
from karma.dag import Dag, fingerprint
from karma.errors import BusyError, InputError, StageError, UserError
from karma.fingerprint import key_of
from karma.journal import Journal
from karma.lease import HeldError
from karma.nodes import SOURCES, STAGES, Node
from karma.plan import source_digest
from karma.pooled import Input, Request, Watcher
from karma.selection import EVERYTHING, Selection
from karma.store import Store
from tasks import entries, machine
from tasks.cluster import POOL, Cluster
from tasks.elsewhere import Elsewhere
from tasks.pools import Jobs


class Console(Watcher, Protocol):
    """What tells a person how the run goes."""

    def ended(self, instance: str, words: str) -> None:
        """An instance is done with, one way or another."""


@dataclass(frozen=True)
class Outcome:
    """What became of an instance."""

    key: str
    digest: str
    ran: bool
    accepted: tuple[Acceptance, ...] = ()

    @property
    def origin(self) -> str:
        """The key under which a job made the artefact."""
        return str(self.accepted[0]["from"]) if self.accepted else self.key


class Run:
    """One pipeline run: what its tasks share. A plain object: Prefect passes it on as it is."""

    def __init__(
        self,
        dag: Dag,
        store: Store,
        console: Console,
        selection: Selection = EVERYTHING,
        wait: bool = True,
    ) -> None:
        """``selection`` says what may run; without ``wait``, what another run is at is an error."""
        self.id = uuid.uuid4().hex
        self.dag = dag
        self.store = store
        self.console = console
        self.selection = selection
        self.wait = wait
        self.journal = Journal(store, self.id, console.say)
        self.outcomes: dict[str, Outcome] = {}
        self.failures: dict[str, Exception] = {}
        self.ended = False
        self.interrupted: Callable[..., None] | None = None
        """What ends this process when it is asked to end; None leaves that to Prefect."""
        pools = dag.settings.pools
        slots = dag.settings.slots or machine.slots(machine.memory())
        self._pools = Jobs(pools, store, console.say) if pools else None
        dask = dag.settings.runner == "dask"
        self._cluster = Cluster(slots, store, console.say) if dask else None
        self._pool = worker.Pool(slots)
        self._cards: worker.Pool | None = None
        jobs = [node for node in dag.nodes.values() if node.source is None]
        here = {node.stage for node in jobs if not dag.on_cluster(node)}
        if least := dag.settings.cards_here(here):
            self._cards = worker.Pool(0, cards(least))

    def pool(self, stage: str) -> worker.Pool:
        """The workers that run a stage's jobs: a card's for a trained stage, if there are cards."""
        if self._cards is not None and STAGES[stage].trained:
            return self._cards
        return self._pool

    def cards(self, stage: str) -> int:
        """How many cards a job of a stage runs on, if it runs on cards."""
        whole = self.dag.settings.compute == "cuda" and stage == "policy"
        return self.dag.settings.policy.processes if whole else 1

    @property
    def spread(self) -> bool:
        """Whether some jobs run on other machines."""
        return self._pools is not None or self._cluster is not None

    def elsewhere(self, node: Node) -> tuple[Elsewhere, str] | None:
        """Who hands a node's job to other machines, and the name of their pool; None for here."""
        pool = self.dag.settings.pools.get(node.stage)
        if self._pools is not None and pool is not None:
            return self._pools, pool
        if self._cluster is not None and self.dag.on_cluster(node):
            return self._cluster, POOL
        return None

    def accepted(self) -> dict[str, list[Acceptance]]:
        """What was accepted of the instances that are done."""
        return {name: list(o.accepted) for name, o in self.outcomes.items() if o.accepted}

    def close(self) -> None:
        """End all workers, and the jobs on other machines that still go on."""
        self._pool.close()
        self.cancel()
        if self._cards is not None:
            self._cards.close()

    def cancel(self) -> None:
        """Cancel the jobs on other machines that this run started and that still go on."""
        try:
            for jobs in (self._pools, self._cluster):
                if jobs is not None:
                    jobs.cancel()
        except InputError as error:
            self.console.say(f"jobs on work pools are not cancelled: {error}")


def bring_up_to_date(run: Run, instance: str) -> State:
    """Make sure that an instance's artefact exists for the inputs as they are.

    Returns a state named ``Cached`` if nothing had to run. Raises what its job raised.
    """
    node = run.dag.nodes[instance]
    if node.stage == "report":  # it comes last: all that it tells of is done
        node = told(node, run.accepted())
    try:
        outcome = _source(run, node) if node.source else _stage(run, node)
    except Exception as error:
        run.failures[instance] = error
        run.console.ended(instance, f"failed: {error}")
        raise
    run.outcomes[instance] = outcome
    return Completed(name="Completed" if outcome.ran else "Cached", message=outcome.digest[:16])


TASKS: dict[str, Task[..., Any]] = {
    stage: task(name=stage, cache_policy=NO_CACHE, persist_result=False)(bring_up_to_date)
    for stage in (*SOURCES, *STAGES)
}


def _source(run: Run, node: Node) -> Outcome:
    """Hash an input if it is not known yet."""
    source = node.source
    assert source is not None
    if not source.member and not source.revision and not source.files:
        raise InputError(
            str(source.path), "there is no such file", "Check the path in the recipe, or --set it."
        )
    for path in source.files:
        try:
            run.store.hash_source(path)
        except OSError as error:
            reason = error.strerror or "it cannot be read"
            raise InputError(str(path), reason, "Check the path and its rights.") from error
    files: dict[str, Any] = {}
    for name in node.inputs.values():
        record = run.store.record(run.dag.nodes[name].stage, run.outcomes[name].key)
        assert record is not None
        files = record["files"]
    digest = source_digest(source, run.store, files)
    if digest is None:
        raise InputError(node.id, "its files are not there", "Check the path in the recipe.")
    return Outcome("", digest, ran=False)


def _stage(run: Run, node: Node) -> Outcome:
    key, _ = _key(run, node)
    run.store.claim([key])
    with run.store.held():
        run.journal.use(key)
        record = run.store.record(node.stage, key)
    forced = node.id in run.selection.forced(run.dag)
    whole = record is not None and (node.stage != "report" or run.store.fetch(record["digest"]))
    if record is not None and whole and not forced:
        # Files that are gone are rebuilt when something that runs needs them.
        outcome = _outcome(_take_over(run, node, record), ran=False)
    else:
        _require_chosen(run, node)
        outcome = _build(run, node, forced)
    run.store.set_ref(run.dag.recipe, node.id, outcome.key, outcome.digest)
    return outcome


def _require_chosen(run: Run, node: Node) -> None:
    """The plan found it fresh; something changed since. Raises StageError if it may not run."""
    if node.id not in run.selection.chosen(run.dag):
        raise StageError(f"it became stale during the run, and {run.selection.words} leaves it out")


def _key(run: Run, node: Node) -> tuple[str, dict[str, Any]]:
    """The key of a node, its inputs being done. The report does without what failed."""
    digests = {r: run.outcomes[n].digest for r, n in node.inputs.items() if n in run.outcomes}
    document = fingerprint(node, run.dag.settings, digests)
    return key_of(document), document


def _build(run: Run, node: Node, forced: bool = False) -> Outcome:
    """Run a node's job, its inputs' files rebuilt first where they are gone.

    Raises BusyError if another run is at it and this one is not to wait.
    """
    store = run.store
    for name in node.inputs.values():
        if name in run.outcomes:
            _restore(run, run.dag.nodes[name])
    key, document = _key(run, node)
    store.claim([key])

    def waiting(holder: str) -> None:
        if not run.wait:
            raise BusyError(f"{holder} is at it, and this run does not wait (--no-wait)")
        run.console.say(f"{node.id} waits for {holder}, which is at it too")

    with store.lock(key, waiting):
        while forced or (record := _done(run, node, key)) is None:
            try:
                if (there := run.elsewhere(node)) is not None:
                    record = _run_elsewhere(run, node, key, document, *there)
                else:
                    record = _run_job(run, node, key, document, forced)
            except HeldError as other:
                waiting(str(other))
                store.wait(node.stage, key)
            else:
                return _outcome(record, ran=True)
        store.drop(key)
        run.console.ended(node.id, "done by another run")
        return _outcome(record, ran=False)


def _outcome(record: dict[str, Any], ran: bool) -> Outcome:
    return Outcome(record["key"], record["digest"], ran, tuple(record.get("accepted", ())))


def _done(run: Run, node: Node, key: str) -> dict[str, Any] | None:
    """The record of a key, if another run has committed it by now and its files can be had."""
    record = run.store.latest(node.stage, key)
    if record is None or not run.store.fetch(record["digest"]):
        return None
    return run.store.share(record)


def _restore(run: Run, node: Node) -> None:
    """Rebuild the files of an input if they are gone; what it is made from may have to be, too."""
    if node.source:
        for name in node.inputs.values():
            _restore(run, run.dag.nodes[name])
        if node.inputs:  # made again, it may be of other bytes
            run.outcomes[node.id] = _source(run, node)
    elif not run.store.fetch(run.outcomes[node.id].digest):
        run.console.say(f"{node.id}: its files are gone from the store and are made again")
        run.outcomes[node.id] = outcome = _build(run, node)
        run.store.set_ref(run.dag.recipe, node.id, outcome.key, outcome.digest)


def _run_job(
    run: Run, node: Node, key: str, document: dict[str, Any], forced: bool
) -> dict[str, Any]:
    store = run.store
    folder = store.begin(key)
    store.set_try(run.dag.recipe, node.id, key)
    spec = {
        "job": node.job,
        "config": node.job_config,
        "inputs": {r: str(p) for r, n in node.inputs.items() if (p := _path(run, n)) is not None},
        "compute": run.dag.settings.compute if STAGES[node.stage].trained else "cpu",
    }
    began = time.time()
    with ExitStack() as leases:

        def started() -> None:
            # Not before it has a slot: what only waits for one is left to other machines.
            leases.enter_context(store.lease(node.stage, key))
            run.console.started(node.id)

        try:
            usage = run.pool(node.stage).run(
                spec,
                folder,
                document,
                lambda done, total, unit: run.console.progress(node.id, done, total, unit),
                started,
                _group(run, node),
                run.dag.settings.time_limits.get(node.stage),
                run.cards(node.stage),
            )
            _unchanged(run, node)
        except (UserError, StageError) as error:
            store.fail(key, str(error))
            raise
        worker.keep_log(folder)
        extent = _extent(folder / "out") if node.stage == "dumps" else {}
        facts = {"fingerprint": document, "began": began, "run": run.id, **extent, **usage}
        record = store.commit(
            node.stage, key, facts, lambda new: _prepare(run, node, new), replace=forced
        )
    run.console.ended(node.id, f"{usage['seconds']:.1f} s")
    if record.get("run") == run.id:
        _tell(run, node, record)
    return record


def _prepare(run: Run, node: Node, record: dict[str, Any]) -> None:
    """Write down what MLflow is to be told of a record that is about to stand."""
    made = entries.evaluation if node.stage == "evals" else entries.stage
    run.journal.prepare(record["key"], {**made(run, node, record), "run": record["run"]})


def _tell(run: Run, node: Node, record: dict[str, Any]) -> None:
    """Tell MLflow of a record that stands; of a model's evaluations at the end."""
    if node.stage != "evals":
        run.journal.tell(record["key"])


def _run_elsewhere(
    run: Run, node: Node, key: str, document: dict[str, Any], jobs: Elsewhere, pool: str
) -> dict[str, Any]:
    """Have a worker of another machine do a node's job; take over the record that it committed."""
    run.store.set_try(run.dag.recipe, node.id, key)
    request = Request(
        instance=node.id,
        fingerprint=document,
        config=node.job_config,
        inputs={r: i for r, n in node.inputs.items() if (i := _artefact(run, n)) is not None},
        run=run.id,
        pool=pool,
        limit=run.dag.settings.time_limits.get(node.stage),
        cards=run.cards(node.stage),
    )
    try:
        record = jobs.run(request, lambda: run.console.started(node.id))
    except (UserError, StageError) as error:
        run.store.fail(key, str(error))
        if (output := jobs.output(key)) is not None:
            (run.store.begin(key) / "log.txt").write_bytes(output)
        raise
    if not run.store.fetch(record["digest"]):
        raise StageError(f"what pool {request.pool} made is gone from the store; run again")
    record = _take_over(run, node, record)
    run.store.drop(key)
    run.console.ended(node.id, f"{record['seconds']:.1f} s on pool {request.pool}")
    return record


def _take_over(run: Run, node: Node, record: dict[str, Any]) -> dict[str, Any]:
    """Let a record stand here and there.

    What a pool's worker made MLflow hears from the run that asked for it; if that had ended before,
    from the next one of its workspace.
    """
    store = run.store
    if record.get("run") != run.id and not history.untold(store, record):
        return store.share(record)
    store.fetch(record["digest"])
    _prepare(run, node, record)
    record = store.share(record)
    _tell(run, node, record)
    return record


def _artefact(run: Run, name: str) -> Input | None:
    """An input for a worker elsewhere; None for one that its job loads from a hub."""
    source = run.dag.nodes[name].source
    if source is None:
        return Input(digest=run.outcomes[name].digest)
    if source.member:
        return Input(digest=run.outcomes["world"].digest, member=source.member)
    if source.path is None:
        return None
    raise InputError(
        str(source.path),
        "it lies on this machine, where the workers of a pool do not see it",
        "Leave the stage out of pools.",
    )


def _group(run: Run, node: Node) -> str:
    """What a job shares with others, which then run in one worker: a model that is evaluated."""
    return run.outcomes[node.inputs["model"]].digest if node.stage == "evals" else ""


def _extent(out: Path) -> dict[str, Any]:
    """What a dump holds, which decides the instances of ``threads`` and what they read."""
    profile = json.loads((out / "profile.json").read_bytes())
    return {"ranges": sorted(profile["ranges"]), "months": profile["months"]}


def _path(run: Run, name: str) -> Path | None:
    """Where a job finds an input; None for one that it loads from a hub."""
    if name not in run.outcomes:
        return None
    source = run.dag.nodes[name].source
    if source is None:
        return run.store.path(run.outcomes[name].digest)
    if source.member:
        return run.store.path(run.outcomes["world"].digest) / source.member
    return source.path.absolute() if source.path else None


def _unchanged(run: Run, node: Node) -> None:
    """Input files must still be what was hashed. Raises InputError if one changed meanwhile."""
    for name in node.inputs.values():
        source = run.dag.nodes[name].source
        if source is None or not source.files:
            continue
        try:
            same = source_digest(source, run.store, {}) == run.outcomes[name].digest
        except OSError:
            same = False
        if not same:
            raise InputError(str(source.path), "it changed during the run", "Run again.")
