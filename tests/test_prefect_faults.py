"""Prefect's server gone, a run killed, a run cancelled: no process stays, the next run is clean."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.filled import SMOKE
from tests.small import KARMA, karma, wait_until
from tests.test_smoke import processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
# A job of some seconds, and one that is only there to be ended.
SOME, LONG = "world.threads=2000", "world.threads=60000"
SHORT = "world.threads=40"


def at_work(root: Path) -> bool:
    """Whether a worker runs a job."""
    return bool(list((root / "scratch").glob("*/log.txt")))


def workers(root: Path) -> list[int]:
    """The processes that hold a file of a job in work open: they have a slot."""
    return processes(root / "scratch")


def states(root: Path) -> Counter[str]:
    """How many flow runs Prefect shows in each state."""
    with closing(sqlite3.connect(root / "prefect" / "prefect.db")) as database:
        return Counter(state for (state,) in database.execute("select state_type from flow_run"))


def require_clean_run(root: Path) -> None:
    """The next run does its work and nobody else's; Prefect shows no other as running."""
    ran = karma("run", str(SMOKE), "--only", "world", "--set", SHORT, workspace=root)
    assert ran.returncode == 0, ran.stderr
    assert "waits for" not in ran.stderr
    wait_until(lambda: not processes(root), 5)
    assert karma("verify", workspace=root).returncode == 0


def begin(root: Path, *words: str) -> subprocess.Popen[str]:
    """A command whose job is at work when this returns."""
    command = [KARMA, *words, "--workspace", str(root)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: at_work(root) or child.poll() is not None, 180)
    assert child.poll() is None
    return child


WORDS = {0: "what was made stands", 1: "run the same command again to go on"}


@pytest.mark.parametrize(
    ("stages", "codes"),
    [
        (["world"], {0}),
        # Which threads there are is known once the dumps are read. Prefect asks its server then, or
        # does without, by what it has found out about it until then.
        (["world", "dumps", "threads"], {0, 1}),
    ],
)
def test_with_prefects_server_gone_what_was_submitted_is_made_and_the_run_ends(
    tmp_path, stages, codes
):
    chosen = [word for stage in stages for word in ("--only", stage)]
    child = begin(tmp_path, "run", str(SMOKE), *chosen, "--set", SOME)
    os.kill(json.loads((tmp_path / "prefect" / "server.json").read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: list((tmp_path / "records" / "world").glob("*.json")), 120)
    began = time.monotonic()
    _, told = child.communicate(timeout=120)
    code = child.returncode
    print(f"it ended {time.monotonic() - began:.0f} s after its first job, with {code}")
    assert code in codes, told
    assert "Prefect's server does not answer any more" in told
    assert WORDS[code] in told
    made = [stage for stage in stages if list((tmp_path / "records" / stage).glob("*.json"))]
    assert made == stages or code == 1
    assert "Traceback" not in told
    assert time.monotonic() - began < 60
    wait_until(lambda: not processes(tmp_path), 5)
    require_clean_run(tmp_path)
    assert states(tmp_path) == {"CRASHED": 1, "COMPLETED": 1}


def test_a_killed_run_is_no_longer_running_in_prefect_once_the_next_one_began(tmp_path):
    child = begin(tmp_path, "run", str(SMOKE), "--only", "world", "--set", LONG)
    assert workers(tmp_path)
    began = time.monotonic()
    child.kill()
    child.communicate()
    wait_until(lambda: not processes(tmp_path), 5)
    print(f"its processes were gone, and its slot free, after {time.monotonic() - began:.1f} s")
    assert states(tmp_path) == {"RUNNING": 1}
    require_clean_run(tmp_path)
    assert states(tmp_path) == {"CRASHED": 1, "COMPLETED": 1}


def prefect(root: Path, *words: str) -> str:
    """What Prefect's own command line says of a workspace's server."""
    url = json.loads((root / "prefect" / "server.json").read_text())["url"]
    env = {**os.environ, "PREFECT_API_URL": url, "PREFECT_HOME": str(root / "prefect")}
    command = [sys.executable, "-m", "prefect", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


def test_a_run_that_is_cancelled_on_prefects_page_leaves_no_process(tmp_path):
    words = ["deploy", str(SMOKE), "--set", LONG, "--workspace", str(tmp_path)]
    served = subprocess.Popen([KARMA, *words], stdout=subprocess.PIPE, text=True)
    try:
        assert served.stdout is not None
        name = served.stdout.readline().split()[0]
        wait_until(lambda: (tmp_path / "prefect" / "prefect.db").exists(), 60)
        wait_until(lambda: name.split("/")[1] in prefect(tmp_path, "deployment", "ls"), 60)
        prefect(tmp_path, "deployment", "run", name)
        wait_until(lambda: at_work(tmp_path) and workers(tmp_path), 120)
        with closing(sqlite3.connect(tmp_path / "prefect" / "prefect.db")) as database:
            (run,) = database.execute(
                "select id from flow_run where state_type = 'RUNNING' and deployment_id is not null"
            ).fetchone()
        prefect(tmp_path, "flow-run", "cancel", str(run))
        began = time.monotonic()
        wait_until(lambda: not workers(tmp_path), 90)
        print(f"its slot was free {time.monotonic() - began:.0f} s after it was cancelled")
        wait_until(lambda: states(tmp_path)["CANCELLED"], 60)
    finally:
        served.send_signal(signal.SIGINT)
        served.communicate(timeout=60)
    wait_until(lambda: not processes(tmp_path), 10)
    require_clean_run(tmp_path)
    assert states(tmp_path)["RUNNING"] == 0


def test_tasks_carry_no_tag_for_which_each_would_ask_the_server_for_a_slot(tmp_path):
    ran = karma("run", str(SMOKE), "--only", "world", "--set", SHORT, workspace=tmp_path)
    assert ran.returncode == 0, ran.stderr
    with closing(sqlite3.connect(tmp_path / "prefect" / "prefect.db")) as database:
        tasks = [tags for (tags,) in database.execute("select tags from task_run")]
        (flow,) = [tags for (tags,) in database.execute("select tags from flow_run")]
    assert set(tasks) == {"[]"}
    assert "pid " in flow  # by which the next run knows whether it is dead
