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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

KARMA = Path(sys.executable).parent / "karma"
# Half the size of the recipe: what is tested here is that the parts hold together.
SMALL = [
    "world.threads=300",
    "world.texts=3000",
    "base.tiny.sequences=3000",
    "sft.count=600",
    "policy.episodes=320",
    "policy.variants=[context, random]",
    "evals.items=24",
]


def karma(*arguments: str, workspace: Path, env: dict | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [KARMA, *arguments, "--workspace", str(workspace)],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        timeout=1200,
    )


def settings(*more: str) -> list[str]:
    return [word for setting in (*SMALL, *more) for word in ("--set", setting)]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A workspace in which the small recipe ran to its end."""
    root = tmp_path_factory.mktemp("smoke") / "workspace"
    ran = karma("run", str(SMOKE), *settings(), workspace=root)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "report.html" in ran.stdout
    return root


@pytest.fixture
def copy(workspace, tmp_path) -> Path:
    shutil.copytree(workspace, tmp_path / "workspace")
    return tmp_path / "workspace"


def states(workspace: Path, *more: str) -> dict[str, str]:
    ran = karma("plan", str(SMOKE), *settings(*more), "--json", workspace=workspace)
    return {s["id"]: s["state"] for s in json.loads(ran.stdout)["stages"]}


def test_a_second_run_runs_nothing_and_takes_less_than_two_seconds(workspace):
    assert set(states(workspace).values()) == {"FRESH"}
    began = time.monotonic()
    ran = karma("run", str(SMOKE), *settings(), workspace=workspace)
    seconds = time.monotonic() - began
    assert ran.returncode == 0
    assert "nothing ran" in ran.stdout
    assert seconds < 2


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
    # The memory limit is a setting of threads, and changes no byte of what it makes.
    ran = karma("run", str(SMOKE), *settings("threads.memory_mb=2000"), workspace=copy)
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


@pytest.mark.parametrize("whole_tree", [False, True], ids=["the_main_process", "the_whole_tree"])
def test_killed_in_the_middle_of_policy_it_leaves_nothing_behind_and_goes_on(copy, whole_tree):
    more = settings("policy.kl_coef=0.3", "policy.episodes=640", "policy.checkpoint_every=1")
    child = subprocess.Popen(
        [KARMA, "run", str(SMOKE), *more, "--workspace", str(copy)], stderr=subprocess.DEVNULL
    )
    wait_until(lambda: list((copy / "scratch").glob("*/out/log/metrics.jsonl")), 180)
    family = processes(copy) if whole_tree else []
    for pid in [child.pid, *family]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    child.wait()
    wait_until(lambda: not processes(copy), 5)
    ran = karma("run", str(SMOKE), *more, workspace=copy)
    assert ran.returncode == 0, ran.stderr[-3000:]
    again = {line.split("  ")[0] for line in ran.stderr.splitlines() if line.endswith(" s")}
    assert {name.split("/")[0] for name in again} <= {"policy", "evals", "report"}
    assert set(
        states(
            copy, "policy.kl_coef=0.3", "policy.episodes=640", "policy.checkpoint_every=1"
        ).values()
    ) == {"FRESH"}


def wait_until(condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


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
