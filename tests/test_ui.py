"""``karma ui`` when MLflow does not start, whom its pages answer, and how its processes end."""

import re
import signal
import subprocess
import sys
import time

import httpx
import pytest

from flows.pages import _stop
from tests.small import KARMA, karma, wait_until


def test_an_mlflow_that_cannot_start_ends_the_command_with_the_place_of_its_output(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"this is no database " * 50)
    # With a Prefect of the user's own, none is started.
    env = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    ran = karma("ui", "--port", "5078", workspace=tmp_path, env=env)
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert f"MLflow's server ended; its output is in {tmp_path / 'mlflow.log'}" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "not a database" in (tmp_path / "mlflow.log").read_text()


def test_a_server_that_will_not_end_is_killed():
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True)"
    )
    stubborn = subprocess.Popen(
        [sys.executable, "-c", f"{program}; time.sleep(60)"], stdout=subprocess.PIPE
    )
    assert stubborn.stdout is not None
    stubborn.stdout.readline()
    began = time.monotonic()
    _stop(stubborn, patience=0.3)
    assert stubborn.returncode == -9
    assert time.monotonic() - began < 5
    stubborn.stdout.close()


@pytest.mark.slow
@pytest.mark.timeout(600)  # both servers start, which takes most of a minute
def test_the_pages_of_a_workspace_do_not_answer_to_a_foreign_name(tmp_path):
    log = tmp_path / "ui.log"
    with log.open("w") as output:
        words = [KARMA, "ui", "--workspace", tmp_path / "workspace", "--port", "5079"]
        served = subprocess.Popen(words, stdout=output)
    try:
        wait_until(lambda: "Ctrl-C" in log.read_text(), 300)
        mlflow, prefect = re.findall(r"http://\S+", log.read_text())
        asked = {mlflow: "/api/2.0/mlflow/experiments/search?max_results=1", prefect: "/api/health"}
        for address, path in asked.items():
            assert httpx.get(address + path).status_code == 200
            for name in ("evil.example", "10.evil.example"):  # MLflow takes 10.* for its own
                told = httpx.get(address + path, headers={"Host": name})
                assert told.status_code in (400, 403)
    finally:
        served.send_signal(signal.SIGINT)
        served.wait(60)
