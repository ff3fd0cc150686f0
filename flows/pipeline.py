"""The Prefect flow: walk the DAG, one named task an instance.

A failed instance stops only what needs it; the report waits for all and shows the holes.
"""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from prefect import allow_failure, flow, tags
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.context import TagsContext
from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectFuture
from prefect.logging.handlers import APILogHandler
from prefect.states import Completed, Crashed, Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from karma import history, registry
from karma.dag import Dag, build
from karma.errors import CheckError, SharedStoreError, StageError
from karma.journal import settle_dead
from karma.lineage import graph, page
from karma.plan import Plan, known_extents, plan
from karma.store import write_atomically
from tasks import entries
from tasks.client import asking
from tasks.stage import TASKS, Run

Futures = dict[str, PrefectFuture[Any]]

# One thread an instance: it waits for its inputs, then for a worker.
RUNNER: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=1024)


@flow(
    name="karma",
    flow_run_name="{recipe}",
    persist_result=False,
    validate_parameters=False,
    task_runner=RUNNER,
)
def pipeline(run: Run, recipe: str) -> State:
    """Bring every instance of the recipe's DAG up to date."""
    if run.interrupted is not None:
        # Prefect has put a handler of its own there, which waits until no job runs any more.
        signal.signal(signal.SIGTERM, run.interrupted)
    try:
        return _walk(run, recipe)
    except TerminationSignal:
        # Cancelled. Prefect waits for threads next, and those that wait for jobs elsewhere go on.
        run.cancel()
        raise


def _walk(run: Run, recipe: str) -> State:
    futures: Futures = {}
    _submit(run, _known_now(run.dag), futures)
    for name, future in futures.items():
        if name.startswith("dumps/"):
            future.wait()
    keys = {name: outcome.key for name, outcome in run.outcomes.items()}
    extents = known_extents(run.dag, run.store, dict(keys))
    if extents is not None:
        run.dag = build(recipe, run.dag.settings, extents)
        guilty = graph.reaches_reddit_only_through_reward(run.dag)
        if guilty:
            raise CheckError(f"unexposed, yet made from Reddit text: {', '.join(guilty)}")
        _submit(run, [name for name in run.dag.nodes if name not in futures], futures)
    for future in futures.values():
        future.wait()
    run.ended = True
    missing = len(run.selection.needed(run.dag) - run.outcomes.keys())
    return Failed(message=f"{missing} instances are missing") if missing else Completed()


def _known_now(dag: Dag) -> list[str]:
    """The instances that do not depend on the thread ranges."""
    known: list[str] = []
    for node in dag.nodes.values():
        if node.id not in ("threads", "report") and all(n in known for n in node.inputs.values()):
            known.append(node.id)
    return known


def _submit(run: Run, names: list[str], futures: Futures) -> None:
    needed = run.selection.needed(run.dag)
    for name in (name for name in names if name in needed):
        node = run.dag.nodes[name]
        above = [futures[n] for n in dict.fromkeys(node.inputs.values()) if n in futures]
        stage = TASKS[node.stage].with_options(task_run_name=name)
        wait: list[Any] = [allow_failure(f) for f in above] if name == "report" else list(above)
        # Each task would ask the server for a slot of each tag; of many at once it refuses some.
        with TagsContext(current_tags=set()):
            futures[name] = stage.submit(run, name, wait_for=wait)


def execute(run: Run, uri: str) -> Run:
    """Run the flow from outside Prefect; the run, with its outcomes and failures.

    MLflow is told by a thread beside the flow and gets ten more seconds at the end.
    """
    from karma.record import Sender

    sweep()
    store, console = run.store, run.console
    settle_dead(store, console.say)
    store.tidy()
    run.journal.open(entries.begin(run), entries.killed(run))
    _note(run, lambda: history.begin(store, run.id, run.dag.recipe, _mark(os.getpid())))
    sender = Sender(store, uri, console.say)
    sender.start()
    try:
        _flow(run)
        _close_parent(run)
        _note(run, lambda: _end(run))
    finally:
        run.close()
        _release(run)
    sender.finish(10.0)
    return run


def _flow(run: Run) -> None:
    """Run the flow. Raises StageError if it ended early.

    Prefect's server may go in its midst: tasks go on without it, and what is made stands.
    """
    try:
        with tags(_mark(os.getpid())):
            state = pipeline(run, run.dag.recipe, return_state=True)
        APILogHandler().flush()
        reason = f"the flow ended early: {state.message}"
    except httpx.HTTPError as error:
        reason = f"Prefect's server does not answer any more ({str(error) or type(error).__name__})"
        if run.ended:
            run.console.say(f"{reason}; what was made stands")
    if not run.ended:
        raise StageError(f"{reason}; run the same command again to go on")


def _release(run: Run) -> None:
    """Tell a store that machines share what is needed of it from now on."""
    try:
        run.store.release()
    except SharedStoreError as error:
        run.console.say(f"{error} What this run made is claimed there for a day; run it again.")


def _note(run: Run, write: Callable[[], None]) -> None:
    """Write to the history; what cannot be written there stops nothing."""
    try:
        write()
    except OSError as error:
        run.console.say(f"{history.FILE} cannot be written ({error.strerror}); the rest is kept")


def _end(run: Run) -> None:
    ran = sum(outcome.ran for outcome in run.outcomes.values())
    failures = {name: str(error) for name, error in run.failures.items()}
    history.end(run.store, run.id, ran, len(run.outcomes) - ran, failures)


def _close_parent(run: Run) -> None:
    """End the parent run in MLflow, with the report and the drawn lineage."""
    status = "FAILED" if run.failures else "FINISHED"
    holes = "\n".join(f"- {name}: {error}" for name, error in run.failures.items())
    asked = "All instances are" if run.selection.whole else f"All of {run.selection.words} is"
    note = f"Failed:\n{holes}" if holes else f"{asked} up to date."
    path = run.store.root / "pages" / f"{run.id}-lineage.html"
    made = plan(run.dag.recipe, run.dag.settings, run.store)
    drawn = page.page(graph.document(made, run.store))
    try:
        write_atomically(path, drawn.encode())
    except OSError as error:
        run.console.say(f"{path} cannot be written ({error.strerror}); the rest is kept")
    files = [path]
    if "report" in run.outcomes:
        folder = run.store.path(run.outcomes["report"].digest)
        files += [folder / f"report.{ending}" for ending in ("html", "md", "json")]
        files += [*sorted(folder.glob("*.png")), folder / "cards"]  # report.md names the figures
    run.journal.close(entries.end(run, status, note, [str(path) for path in files]))
    _tell_registry(run, made)


def _tell_registry(run: Run, made: Plan) -> None:
    """Tell MLflow's registry what it is to hold now, and a person what has no best."""
    try:
        missing = registry.tell(made, run.store)
    except OSError as error:
        run.console.say(f"the next run reports to MLflow's registry ({error.strerror})")
        return
    if missing and "report" in run.outcomes and not run.failures:
        names = ", ".join(missing)
        run.console.say(f"no score by which to call a version of {names} the best (see registry)")


def _mark(pid: int) -> str:
    return f"pid {pid} on {socket.gethostname()}"


def _dead(mark: str) -> bool:
    """Whether the process that a mark names was one of this machine and is gone."""
    pid, _, host = mark.removeprefix("pid ").partition(" on ")
    return host == socket.gethostname() and not Path(f"/proc/{pid}").exists()


def sweep() -> None:
    """Mark runs whose process is gone as crashed; Prefect would show them as running for ever.

    Raises InputError if the server that the user's settings of Prefect name cannot be used.
    """
    running = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING]))
    )
    with asking() as client:
        for found in client.read_flow_runs(flow_run_filter=running):
            mark = next((tag for tag in found.tags if tag.startswith("pid ")), "")
            if _dead(mark):
                crashed: State[Any] = Crashed(message="its process died")
                client.set_flow_run_state(found.id, crashed, force=True)
