"""``karma ui`` when MLflow does not start, and how its processes end."""

import subprocess
import sys
import time

from flows.pages import _stop
from tests.small import karma


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
