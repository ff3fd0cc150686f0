"""Jobs on a Dask cluster of two processes over one store."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from karma.dag import build
from karma.errors import InputError, RecipeError, StageError, ToldError
from karma.jobs import Job
from karma.nodes import STAGES
from karma.plan import plan
from karma.pooled import Request
from karma.recipe import load
from karma.storage import Storage
from karma.store import Store
from tasks import cluster, elsewhere
from tasks.cluster import Cluster
from tasks.stage import Run
from tests.filled import SMOKE
from tests.small import karma, settings
from tests.test_pools import request
from tests.test_shared import Quiet, machine

# Dask closes its event loop and its sockets in no particular order.
pytestmark = pytest.mark.filterwarnings("ignore")


def die_once(job: Job) -> None:
    """Kill the Dask worker that this job came to, unless that has been done."""
    flag = Path(job.config["text"])
    if not flag.exists():
        flag.touch()
        os.kill(os.getppid(), signal.SIGKILL)
    (job.out / "a.txt").write_text("made")


def linger(job: Job) -> None:
    """Take longer than a run waits between its looks, and say when."""
    began = time.monotonic()
    time.sleep(4)
    (job.out / "span.json").write_text(json.dumps([began, time.monotonic()]))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/shared"


@pytest.fixture
def jobs(tmp_path, url, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("KARMA_LEASE", "2")
    made = Cluster(2, machine(tmp_path / "parent", url), print)
    yield made
    made.cancel()


def asked(tmp_path: Path, url: str, job: str, text: str) -> Request:
    """A job with ``text`` in its configuration."""
    made = request(tmp_path, url, job=job, config={"text": text})
    return made.model_copy(update={"config": {"text": text}, "pool": cluster.POOL})


def test_jobs_commit_to_the_store(tmp_path, url, jobs):
    wanted = [asked(tmp_path, url, "tests.test_worker:write", f"text {n}") for n in range(6)]
    with ThreadPoolExecutor() as pool:
        records = list(pool.map(lambda one: jobs.run(one, lambda: None), wanted))
    assert [record["key"] for record in records] == [one.key for one in wanted]
    here = machine(tmp_path / "parent", url)
    made = []
    for number, record in enumerate(records):
        assert here.fetch(record["digest"])
        text, _, _ = (here.path(record["digest"]) / "a.txt").read_text().rpartition(" ")
        assert text == f"text {number}"
        made.append(record["pool"])
    assert made == ["dask"] * 6
    assert Storage(url).names("leases") == []


def test_two_jobs_run_at_once_and_a_run_is_told_when_they_begin(tmp_path, url, jobs):
    wanted = [asked(tmp_path, url, "tests.test_cluster:linger", f"text {n}") for n in range(2)]
    told = []
    with ThreadPoolExecutor() as pool:
        records = list(pool.map(lambda one: jobs.run(one, lambda: told.append(one.key)), wanted))
    assert sorted(told) == sorted(one.key for one in wanted)
    here = machine(tmp_path / "parent", url)
    spans = []
    for record in records:
        assert here.fetch(record["digest"])
        spans.append(json.loads((here.path(record["digest"]) / "span.json").read_text()))
    assert max(began for began, _ in spans) < min(ended for _, ended in spans)


def test_a_job_that_another_machine_is_at_is_waited_for_however_long_it_takes(
    tmp_path, url, jobs, monkeypatch
):
    monkeypatch.setattr(elsewhere, "TRIES", (0.1,))
    one = asked(tmp_path, url, "tests.test_worker:write", "a")
    other = machine(tmp_path / "other", url)
    with ThreadPoolExecutor() as pool:
        with other.lease("base", one.key):
            made = pool.submit(jobs.run, one, lambda: None)
            time.sleep(5)
            assert not made.done()
        assert made.result()["key"] == one.key


def test_how_a_job_failed_comes_back_with_its_output(tmp_path, url, jobs):
    crashed = asked(tmp_path, url, "tests.test_worker:crash", "a")
    with pytest.raises(StageError, match="a bug"):
        jobs.run(crashed, lambda: None)
    assert b"ValueError: a bug" in jobs.output(crashed.key)
    with pytest.raises(ToldError, match="it is empty"):
        jobs.run(asked(tmp_path, url, "tests.test_worker:complain", "a"), lambda: None)


def test_the_job_of_a_worker_that_dies_is_done_by_another(tmp_path, url, jobs):
    one = asked(tmp_path, url, "tests.test_cluster:die_once", str(tmp_path / "flag"))
    record = jobs.run(one, lambda: None)
    assert (tmp_path / "flag").exists()
    assert record["key"] == one.key


def test_a_cluster_leaves_no_process_behind(tmp_path, url):
    before = set(psutil.Process().children(recursive=True))
    made = Cluster(2, machine(tmp_path / "parent", url), print)
    assert set(psutil.Process().children(recursive=True)) - before
    made.cancel()
    left = set(psutil.Process().children(recursive=True)) - before
    # What watches over shared memory stays as long as Python does.
    assert not [process for process in left if "tracker" not in " ".join(process.cmdline())]


def test_a_scheduler_that_is_not_there_and_a_store_that_is_not_shared_are_named(
    tmp_path, url, store, monkeypatch
):
    with pytest.raises(RecipeError, match=r"runner: dask: .*none is named"):
        Cluster(1, store, print)
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:9")
    monkeypatch.setattr(cluster, "WAIT", 1.0)
    with pytest.raises(InputError, match=r"DASK_SCHEDULER_ADDRESS=tcp://127\.0\.0\.1:9"):
        Cluster(1, machine(tmp_path / "parent", url), print)


def test_what_is_wide_goes_to_the_cluster_and_what_reads_local_files_stays(tmp_path, url):
    path = tmp_path / "text.jsonl"
    path.touch()
    settings = ["runner=dask", "slots=1", f"prompts.unexposed.instructions={path}"]
    store = machine(tmp_path / "parent", url)
    run = Run(plan("smoke", load(SMOKE, settings), store).dag, store, Quiet())
    jobs = [node for node in run.dag.nodes.values() if node.source is None]
    sent = {node.id for node in jobs if run.elsewhere(node) is not None}
    run.close()
    assert {"reward/context/0", "policy/reddit/context/0", "sft/reddit/0"} <= sent
    assert not {"world", "labels", "report", "sft/unexposed/0"} & sent


def test_only_what_a_cluster_does_not_get_needs_a_card_here(tmp_path):
    path = tmp_path / "text.jsonl"
    path.touch()
    settings = ["runner=dask", "compute=cuda"]
    for more, cards in ([], 0), ([f"prompts.unexposed.instructions={path}"], 1):
        dag = build("smoke", load(SMOKE, [*settings, *more]))
        jobs = [node for node in dag.nodes.values() if node.source is None]
        here = [node.stage for node in jobs if not dag.on_cluster(node)]
        assert dag.settings.cards_here(here) == cards


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_whole_run_on_a_cluster_makes_what_a_run_without_one_makes(tmp_path, workspace):
    """The bytes are the same too: where a job runs is part of no key."""
    more = ("runner=dask", "slots=2")
    asked = ["run", str(SMOKE), *settings(*more), "--store", f"file://{tmp_path}/shared"]
    ran = karma(*asked, workspace=tmp_path / "workspace")
    assert ran.returncode == 0, ran.stderr[-3000:]
    here = {record["key"]: record for record in Store(workspace).records()}
    there = {record["key"]: record for record in Store(tmp_path / "workspace").records()}
    assert there.keys() == here.keys()
    trained = [r for r in there.values() if STAGES[r["stage"]].trained or r["stage"] == "threads"]
    assert {record.get("pool") for record in trained} == {"dask"}
    unlike = [r["stage"] for key, r in there.items() if r["digest"] != here[key]["digest"]]
    assert not unlike
