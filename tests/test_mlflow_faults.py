"""MLflow away, slow, dying or locked: the pipeline makes the same in its time, and each entry
arrives once afterwards."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from karma.outbox import Outbox
from karma.plan import plan
from karma.recipe import load
from karma.record import Sender, flush, prepare
from karma.store import Store
from tests.crash import kill_at_request, try_it
from tests.filled import SMOKE
from tests.serving import DROPPED, LOST, REFUSED, Server
from tests.told import client, parent, put, runs, stage

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
BOUND = 10.0  # seconds that a run waits for MLflow at its end


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory) -> Iterator[Server]:
    """MLflow's own application on a SQLite database."""
    folder = tmp_path_factory.mktemp("server")
    database = f"sqlite:///{folder}/mlflow.db"
    prepare(database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MLFLOW_SERVER_FILE_STORE", database)
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", str(folder / "artifacts"))
        # Its server takes its own registry for that of the whole process.
        patch.setattr("mlflow.tracking._model_registry.utils._registry_uri", None)
        from mlflow.server import app

        with Server(app, {}).serving() as serving:
            yield serving


@pytest.fixture
def quick(mlflow_server) -> Iterator[Server]:
    """The server, undisturbed before and after."""
    yield mlflow_server
    mlflow_server.disturb = lambda _: ""
    mlflow_server.late = 0.0


def leave_entries(store: Store, name: str) -> None:
    """What a run leaves that made a model and read it once: a parent, two stages, an end, and what
    the registry is to hold."""
    more = {"experiment": name}
    put(store, {**parent("run"), **more})
    put(store, stage("reward/context/0", "k1", **more))
    put(store, stage("policy/reddit/context/0", "k2", models=["k1"], **more))
    end = {"kind": "end", "keys": ["run"], "end": 3, "status": "FINISHED", "note": "done"}
    put(store, {**end, "cached": [], "artifacts": []})
    about = {"name": f"{name}-reward", "of": "reward/context", "recipe": name, "by": "spearman"}
    row = {"key": "k1", "instance": "reward/context/0", "seed": "0", "digest": "d", "score": 0.5}
    models = [{**about, "versions": [row], "best": "k1"}]
    put(store, {"kind": "registry", "keys": ["k1"], "models": models})


def require_once(uri: str, name: str) -> None:
    """All that ``leave_entries`` told is there once."""
    found = {run.info.run_name: run for run in runs(uri, name)}
    assert len(runs(uri, name)) == 3
    assert sorted(found) == ["policy/reddit/context/0", "reward/context/0", "smoke now"]
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    policy, reward = found["policy/reddit/context/0"], found["reward/context/0"]
    assert policy.data.tags["mlflow.parentRunId"] == found["smoke now"].info.run_id
    made = [model.model_id for model in reward.outputs.model_outputs]
    assert [model.model_id for model in policy.inputs.model_inputs] == made
    experiment = client(uri).get_experiment_by_name(name).experiment_id
    models = client(uri).search_logged_models([experiment])
    assert sorted(m.name for m in models) == ["policy-reddit-context-0", "reward-context-0"]
    (version,) = client(uri).search_model_versions(f"name = '{name}-reward'")
    assert version.source == f"models:/{made[0]}"
    assert version.tags["spearman"] == "0.5"
    best = client(uri).get_model_version_by_alias(f"{name}-reward", "best")
    assert best.source == version.source


def send(root: Path, uri: str) -> None:
    """What a run does with what an earlier one left, in a process that may be killed."""
    flush(Store(root), uri, print, seconds=120)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1500)  # each process imports MLflow
@pytest.mark.parametrize("fate", [DROPPED, LOST])
def test_killed_at_any_request_to_mlflow_the_next_run_tells_all_once(quick, tmp_path, fate):
    number = 1
    while True:
        store = Store(tmp_path / str(number))
        store.create()
        name = f"{fate}-{number}"
        leave_entries(store, name)
        killed = kill_at_request(number, fate, quick, send, store.root, quick.address)
        assert flush(store, quick.address, print, seconds=120) == 0
        require_once(quick.address, name)
        if not killed:
            break
        number += 1
    assert number > 20
    print(f"{fate}: killed {number - 1} times")


@pytest.mark.parametrize("fate", [REFUSED, DROPPED, LOST])
def test_a_server_that_fails_now_and_then_is_told_all_once(quick, store, fate):
    leave_entries(store, f"often-{fate}")
    first = quick.asked.total()
    quick.disturb = lambda number: fate if (number - first) % 17 == 2 else ""
    sender = Sender(store, quick.address, lambda _: None, again=0.1)
    sender.start()
    deadline = time.monotonic() + 120
    while Outbox(store.root).waiting() and time.monotonic() < deadline:
        time.sleep(0.1)
    sender.finish(BOUND)
    quick.disturb = lambda _: ""
    require_once(quick.address, f"often-{fate}")


class Silent:
    """A console that nobody reads."""

    def started(self, instance: str) -> None: ...

    def progress(self, instance: str, done: float, total: float, unit: str) -> None: ...

    def ended(self, instance: str, words: str) -> None: ...

    def say(self, words: str) -> None: ...


def make_world(root: Path, uri: str) -> None:
    """Run one small stage as the pipeline does; ``result`` gets its artefact and two times."""
    from tasks import entries
    from tasks.stage import Run, bring_up_to_date

    store = Store(root)
    store.create()
    began = time.monotonic()
    recipe = load(SMOKE, ["world.threads=20", "world.texts=20"])
    run = Run(plan("smoke", recipe, store).dag, store, Silent())
    run.journal.open(entries.begin(run), entries.killed(run))
    sender = Sender(store, uri, lambda _: None)
    sender.start()
    bring_up_to_date(run, "world")
    run.close()
    run.journal.close(entries.end(run, "FINISHED", "", []))
    made = time.monotonic()
    sender.finish(BOUND)
    times = [made - began, time.monotonic() - made]
    (root / "result").write_text(json.dumps([run.outcomes["world"].digest, *times]))


def ran(root: Path, uri: str) -> tuple[str, float, float]:
    """The artefact that a run made, the seconds that it took, and those that it waited at its end.

    In a process of its own, so that it ends with the run as ``karma run`` does.
    """
    assert try_it(make_world, root, uri)
    digest, seconds, waited = json.loads((root / "result").read_text())
    return digest, seconds, waited


@contextmanager
def locked(database: str) -> Iterator[None]:
    """A SQLite database that nobody else can use."""
    connection = sqlite3.connect(database.removeprefix("sqlite:///"))
    connection.execute("BEGIN EXCLUSIVE")
    yield
    connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["away", "slow", "dying", "locked"])
def test_a_fault_of_mlflow_costs_a_run_ten_seconds_at_most_and_nothing_is_lost(
    quick, tmp_path, monkeypatch, fault
):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    well = ran(tmp_path / "well", quick.address)
    root, last = tmp_path / fault, quick.asked.total() + 3
    uri = "http://127.0.0.1:9" if fault == "away" else quick.address
    quick.late = 10.0 if fault == "slow" else 0.0
    quick.disturb = lambda number: DROPPED if fault == "dying" and number > last else ""
    database = os.environ["_MLFLOW_SERVER_FILE_STORE"]
    with locked(database) if fault == "locked" else nullcontext():
        ill = ran(root, uri)
    print(
        f"{fault}: {ill[1]:.1f} s and {ill[2]:.1f} s of waiting; else {well[1]:.1f}, {well[2]:.1f}"
    )
    assert ill[0] == well[0]
    assert ill[2] < BOUND + 1
    assert Outbox(root).waiting()
    quick.late, quick.disturb = 0.0, lambda _: ""
    assert flush(Store(root), quick.address, print, seconds=120) == 0
    told = [run for run in runs(quick.address, "smoke") if _tells(run, Store(root))]
    assert sorted(run.data.tags["stage"] for run in told) == ["pipeline", "world"]


def _tells(run, store: Store) -> bool:
    """Whether an MLflow run is one of those that the workspace knows."""
    known = [store.mlflow_run(path.stem)["run"] for path in (store.root / "runs").iterdir()]
    parents = run.data.tags.get("mlflow.parentRunId")
    return run.info.run_id in known or parents in known
