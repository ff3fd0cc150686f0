"""The whole pipeline through the command line: once, then not again, then killed, then disturbed.

One workspace is built for the file; tests that change something do it in a copy of their own or
leave it as it was.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from karma.store import Store
from tests.filled import SMOKE
from tests.small import KARMA, karma, settings, states, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    # MLflow's database layer warns of its own library's next version.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def test_a_second_run_runs_nothing_and_takes_little_longer_than_a_plan(workspace):
    began = time.monotonic()
    assert set(states(workspace).values()) == {"FRESH"}
    planned = time.monotonic() - began
    ran = karma("run", str(SMOKE), *settings(), workspace=workspace)
    seconds = time.monotonic() - began - planned
    assert ran.returncode == 0
    assert "nothing ran" in ran.stdout
    assert "Prefect" not in ran.stderr
    # In seconds it depends on the machine; starting Prefect takes many times as long as a plan.
    assert seconds < 3 * planned


def test_the_report_has_a_number_in_every_cell_and_rewards_rise(workspace):
    report = json.loads(_report(workspace).read_text())
    assert report["holes"] == []
    for row in report["headline"]["rows"]:
        for name in report["headline"]["columns"]:
            cell = row["cells"][name]
            assert cell["low"] <= cell["value"] <= cell["high"]
    assert "NaN" not in _report(workspace).read_text()


def _report(workspace: Path) -> Path:
    store = Store(workspace)
    return store.path(store.ref("smoke", "report")["digest"]) / "report.json"


def test_a_job_can_be_started_by_hand_from_the_head_of_its_log(workspace, tmp_path):
    log = karma("logs", "labels", workspace=workspace).stdout
    spec = tmp_path / "spec.json"
    spec.write_text(log.splitlines()[0])
    out = tmp_path / "out"
    subprocess.run([sys.executable, "-m", "karma.jobs", str(spec), str(out)], check=True)
    store = Store(workspace)
    made = store.path(store.ref("smoke", "labels")["digest"])
    for name in ("valuations.parquet", "pairs.parquet"):
        assert (out / name).read_bytes() == (made / name).read_bytes()


def test_a_stage_that_reran_with_the_same_bytes_leaves_what_follows_fresh(copy):
    # No simulated reply is so long, so the limit changes no byte of what threads makes.
    ran = karma("run", str(SMOKE), *settings("threads.max_chars=3000"), workspace=copy)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "threads/" in ran.stderr
    assert "labels  " not in ran.stderr
    assert "policy/" not in ran.stderr


def processes(workspace: Path) -> list[int]:
    """The processes that belong to runs on this workspace, by their command lines or open files."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
            links = [str(p.readlink()) for p in (folder / "fd").iterdir()]
            ours = str(workspace) in line or any(str(workspace) in link for link in links)
            if ours and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


CHANGED = ("policy.kl_coef=0.3", "policy.episodes=640", "policy.checkpoint_every=1")
SIGNALS = {"ctrl_c": signal.SIGINT, "sigterm": signal.SIGTERM}


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("kill_the_main_process", marks=pytest.mark.long),
        "kill_the_whole_tree",
        pytest.param("ctrl_c", marks=pytest.mark.long),
        "sigterm",
    ],
)
def test_ended_in_the_middle_of_policy_it_leaves_nothing_behind_and_goes_on(copy, how):
    command = [KARMA, "run", str(SMOKE), *settings(*CHANGED), "--workspace", str(copy)]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_until(lambda: list((copy / "scratch").glob("*/out/log/metrics.jsonl")), 180)
    family = processes(copy) if how == "kill_the_whole_tree" else []
    for pid in [child.pid, *family]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, SIGNALS.get(how, signal.SIGKILL))
    assert child.wait(5) == (130 if how in SIGNALS else -signal.SIGKILL)
    wait_until(lambda: not processes(copy), 5)
    ran = karma("run", str(SMOKE), *settings(*CHANGED), workspace=copy)
    assert ran.returncode == 0, ran.stderr[-3000:]
    again = {line.split("  ")[0] for line in ran.stderr.splitlines() if line.endswith(" s")}
    assert {name.split("/")[0] for name in again} <= {"policy", "evals", "report"}
    assert set(states(copy, *CHANGED).values()) == {"FRESH"}


def test_cells_that_fail_leave_a_report_that_is_announced_and_shows_the_holes(copy, tmp_path):
    store = Store(copy)
    data = store.path(store.ref("smoke", "world")["digest"]) / "benchmarks"
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "crows_pairs.csv").write_text("no,such,columns\n")
    more = settings(f"evals.data={tmp_path / 'data'}")
    ran = karma("run", str(SMOKE), *more, workspace=copy)
    assert ran.returncode == 2
    assert "error: evals/base/crows_pairs: benchmark file" in ran.stderr
    assert "Traceback" not in ran.stderr
    path = next(line for line in ran.stdout.splitlines() if line.startswith("Report: "))
    report = json.loads(Path(path.split()[1]).with_name("report.json").read_text())
    assert any("crows_pairs" in str(hole) for hole in report["holes"])
    assert "humor" in ran.stdout.splitlines()[0]


def test_two_runs_at_once_share_the_work(copy):
    more = settings("evals.items=20")
    command = [KARMA, "run", str(SMOKE), *more, "--workspace", str(copy)]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    second = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    logs = [child.communicate(timeout=900)[1] for child in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), logs
    ran = [line.split("  ")[0] for log in logs for line in log.splitlines() if line.endswith(" s")]
    cells = [name for name in ran if name.startswith("evals/")]
    assert len(cells) == len(set(cells))
    assert set(states(copy, "evals.items=20").values()) == {"FRESH"}


def test_with_mlflow_away_the_run_ends_well_and_the_next_one_delivers_once(copy):
    more = settings("report.resamples=500")
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    ran = karma("run", str(SMOKE), *more, workspace=copy, env=away)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "kept and sent by the next run" in ran.stderr
    kept = list((copy / "outbox").iterdir())
    assert kept
    database = {"MLFLOW_TRACKING_URI": f"sqlite:///{copy / 'other.db'}"}
    for _ in range(2):
        ran = karma("run", str(SMOKE), *more, workspace=copy, env=database)
        assert ran.returncode == 0
    assert list((copy / "outbox").iterdir()) == []
    import mlflow

    client = mlflow.MlflowClient(database["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("smoke").experiment_id
    names = [run.info.run_name for run in client.search_runs([experiment])]
    assert names.count("report") == 1
    assert len(names) == 2


def test_of_evaluations_that_were_done_before_a_kill_mlflow_hears_once(copy):
    more = settings("evals.items=20")
    database = {"MLFLOW_TRACKING_URI": f"sqlite:///{copy / 'other.db'}"}
    before = len(list((copy / "records" / "evals").iterdir()))
    command = [KARMA, "run", str(SMOKE), *more, "--workspace", str(copy)]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, **database})
    wait_until(lambda: len(list((copy / "records" / "evals").iterdir())) > before + 2, 180)
    child.kill()
    child.wait()
    for _ in range(2):
        ran = karma("run", str(SMOKE), *more, workspace=copy, env=database)
        assert ran.returncode == 0, ran.stderr[-3000:]
    import mlflow

    client = mlflow.MlflowClient(database["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("smoke").experiment_id
    runs = client.search_runs([experiment])
    heard = [
        (run.info.run_name, benchmark)
        for run in runs
        for benchmark in {name.split("/")[0] for name in run.data.metrics}
        if run.data.tags["stage"] == "evals"
    ]
    cells = [name for name in states(copy, "evals.items=20") if name.startswith("evals/")]
    cells = [name for name in cells if not name.endswith("/swap")]  # it has no number of items
    assert sorted(f"{model}/{benchmark}" for model, benchmark in heard) == sorted(cells)
    parents = [(run.data.tags.get("mlflow.parentRunId"), run.info.run_name) for run in runs]
    # Two parent runs that began in one minute bear one name.
    children = [child for child in parents if child[0] is not None]
    assert len(children) == len(set(children))
    assert {run.info.status for run in runs} == {"FINISHED", "KILLED"}
