"""Jobs on work pools: what a worker takes and refuses, and what becomes of how it ended."""

import json
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelled, Completed, Crashed, Failed

from karma import history
from karma.dag import fingerprint
from karma.errors import InputError, RecipeError, StageError, ToldError
from karma.fingerprint import code, key_of, minor
from karma.nodes import STAGES
from karma.plan import plan
from karma.pooled import AWAY, FAILED, HELD, REFUSED, Input, Request, perform
from karma.recipe import load
from karma.shared import SharedStore
from karma.storage import Storage
from tasks import entries
from tasks.elsewhere import LostError
from tasks.pools import Jobs, _digest, _ended
from tasks.stage import Run, _artefact, bring_up_to_date
from tests.filled import SMOKE
from tests.test_shared import Quiet, machine
from tests.test_store import build


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/shared"


@pytest.fixture
def worker(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> SharedStore:
    """The cache of a worker, new to the store, whose jobs find the tests."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    return machine(tmp_path / "worker", url)


def request(tmp_path: Path, url: str, **changes: object) -> Request:
    """A job that writes a line, with one artefact to read."""
    made = build(machine(tmp_path / "parent", url), "above", {"a.txt": "one", "b/c.txt": "two"})
    document = {
        "stage": "base",
        "job": "tests.test_worker:write",
        "config": {"text": "hello"},
        "code": code("karma.jobs"),
        "input": {"text": made["digest"]},
        "version": {"numpy": minor("numpy")},
        "compute": "cpu",
    }
    return Request(
        instance="base",
        fingerprint={**document, **changes},
        config=document["config"],
        inputs={"text": Input(digest=made["digest"], member="b/c.txt")},
        run="r",
        pool="gpu",
    )


def test_a_worker_fetches_what_it_needs_and_commits_once_what_it_made(tmp_path, url, worker):
    asked = request(tmp_path, url)
    console = Quiet()
    record = perform(worker, asked, console)
    assert record["key"] == asked.key
    assert (record["run"], record["pool"]) == ("r", "gpu")
    parent = machine(tmp_path / "parent", url)
    assert parent.latest("base", record["key"]) == record
    assert parent.fetch(record["digest"])
    log = parent.path(record["digest"]) / "log" / record["key"] / "output.txt"
    (path,) = json.loads(log.read_text().splitlines()[0])["inputs"].values()
    assert Path(path).read_text() == "two"
    assert Path(path).is_relative_to(worker.root)
    other = machine(tmp_path / "other", url)
    assert perform(other, asked, console) == record
    assert not (other.root / "objects" / asked.inputs["text"].digest).exists()
    assert Storage(url).names("leases") == []


def test_a_worker_of_another_version_refuses_the_job_and_names_both(tmp_path, url, worker):
    asked = request(
        tmp_path, url, code={**code("karma.jobs"), "karma.errors": "0123456789"}, file={"a": "b"}
    )
    with pytest.raises(InputError, match=r"pool gpu: it is of another version") as told:
        perform(worker, asked, Quiet())
    ours = code("karma.jobs")["karma.errors"][:8]
    assert f"karma.errors (run 01234567, worker {ours})" in str(told.value)
    assert "a (run b, worker has none)" in str(told.value)
    asked = request(tmp_path, url, version={"numpy": "0.1"})
    with pytest.raises(InputError, match=rf"numpy \(run 0\.1, worker {minor('numpy')}\)"):
        perform(worker, asked, Quiet())
    assert Storage(url).names("leases") == []


def test_what_a_failed_job_printed_is_had_where_the_run_waits(tmp_path, url, worker):
    asked = request(tmp_path, url, job="tests.test_worker:crash")
    with pytest.raises(StageError, match="a bug"):
        perform(worker, asked, Quiet())
    jobs = Jobs({}, machine(tmp_path / "parent", url), print)
    assert b"ValueError: a bug" in jobs.output(asked.key)
    assert jobs.output("another") is None


def test_a_worker_that_sees_another_store_says_so(tmp_path, url):
    asked = request(tmp_path, url)
    elsewhere = machine(tmp_path / "worker", f"file://{tmp_path}/elsewhere")
    with pytest.raises(InputError, match="does not find text of base"):
        perform(elsewhere, asked, Quiet())


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (Crashed(message="no"), LostError),
        (Completed(name=HELD, message="no"), LostError),
        (Failed(name=AWAY, message="no"), LostError),
        (Failed(name=REFUSED, message="no"), ToldError),
        (Failed(name=FAILED, message="no"), StageError),
        (Failed(message="no"), StageError),
        (Cancelled(message="no"), StageError),
    ],
    ids=lambda value: value.name if isinstance(value, State) else "",
)
def test_what_can_pass_is_tried_again_and_what_cannot_is_not(state, error):
    with pytest.raises(error):
        _ended(state)


def test_a_job_is_asked_for_anew_although_an_earlier_run_of_it_was_deleted():
    first, second = (FlowRun(flow_id=uuid4()) for _ in range(2))
    assert _digest([first, second]) == _digest([second, first])
    assert _digest([second]) != _digest([first])


def test_pools_without_a_store_that_workers_see_are_refused(store):
    with pytest.raises(RecipeError, match="none is named"):
        Jobs({"policy": "gpu"}, store, print)


def test_a_machine_whose_trained_stages_are_all_on_pools_needs_no_card():
    pools = ["pools={base: g, sft: g, reward: g, policy: g, evals: g}", "compute=cuda"]
    assert load(SMOKE, pools).cards_here(STAGES) == 0
    assert load(SMOKE, [*pools[1:], "policy.processes=2"]).cards_here(STAGES) == 2
    assert (
        load(SMOKE, [*pools[1:], "policy.processes=2", "pools={policy: g}"]).cards_here(STAGES) == 1
    )
    assert load(SMOKE, []).cards_here(STAGES) == 0


def test_a_file_of_this_machine_is_no_input_for_a_worker(tmp_path, url):
    path = tmp_path / "text.jsonl"
    path.touch()
    recipe = load(SMOKE, [f"prompts.unexposed.instructions={path}"])
    store = machine(tmp_path / "parent", url)
    run = Run(plan("smoke", recipe, store).dag, store, Quiet())
    with pytest.raises(InputError, match="Leave the stage out of pools"):
        _artefact(run, "instructions")
    run.close()


def test_what_a_pool_made_for_a_run_that_died_mlflow_hears_from_the_next_one(tmp_path, url):
    store = machine(tmp_path / "parent", url)
    dag = plan("smoke", load(SMOKE, []), store).dag
    document = fingerprint(dag.nodes["world"], dag.settings, {})
    key = key_of(document)
    history.begin(store, "dead", "smoke", "pid 7 on host")
    worker = machine(tmp_path / "worker", url)
    (worker.begin(key) / "out" / "a.txt").write_text("1")
    usage = {"seconds": 1.0, "cpu_seconds": 1.0, "peak_mib": 1, "began": 0.0}
    asked = {"fingerprint": document, "run": "dead", "pool": "gpu", **usage}
    worker.commit("world", key, asked)
    for _ in range(2):  # the second one has nothing to tell
        again = machine(store.root, url)
        run = Run(dag, again, Quiet())
        run.journal.open(entries.begin(run), entries.killed(run))
        bring_up_to_date(run, "world")
        assert not run.outcomes["world"].ran
        run.journal.close(entries.end(run, "FINISHED", "", []))
        run.close()
    told = [json.loads(path.read_text()) for path in (store.root / "outbox").glob("*.json")]
    assert [entry["name"] for entry in told if entry["kind"] == "stage"] == ["world"]
