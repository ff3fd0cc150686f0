"""A recipe on a schedule: what is deployed, and that a scheduled run really comes."""

import signal
import subprocess
import sys

import pytest
import yaml

from karma import history
from karma.recipe import Recipe, check, load
from karma.store import Store
from tests.filled import SMOKE
from tests.small import KARMA, command, settings, wait_until


def test_what_is_no_schedule_is_refused_in_words(tmp_path):
    told = command("deploy", SMOKE, "--cron", "now and then", "--workspace", tmp_path / "w")
    assert told.returncode == 2
    assert "'now and then'" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_recipe_comes_back_from_a_deployments_parameters_as_it_was():
    for name in ("smoke", "llama-3.2-1b", "planted"):
        recipe = load(SMOKE.with_name(f"{name}.yaml"), [])
        sent = recipe.model_dump(mode="json", exclude_unset=True)
        assert check(Recipe, sent, "it", "") == recipe


def test_the_deployment_that_is_written_out_is_of_the_default_recipe():
    document = yaml.safe_load(SMOKE.parents[2].joinpath("prefect.yaml").read_text())
    (deployment,) = document["deployments"]
    assert check(Recipe, deployment["parameters"]["recipe"], "it", "") == load(SMOKE, [])
    module, name = deployment["entrypoint"].split(":")
    assert f"def {name}(" in SMOKE.parents[2].joinpath(module).read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_scheduled_run_comes_by_itself_and_finds_nothing_stale(copy):
    store = Store(copy)
    before = len(history.last(store, 100))
    words = [KARMA, "deploy", str(SMOKE), "--cron", "* * * * *", *settings()]
    served = subprocess.Popen(
        [*words, "--workspace", str(copy)], stdout=subprocess.PIPE, stderr=sys.stderr, text=True
    )
    try:
        wait_until(lambda: len(history.last(store, 100)) > before, 300)
        run = history.last(store, 100)[0]
        assert (run.recipe, run.status, run.ran) == ("smoke", "FINISHED", 0)
        told = command("status", "--workspace", copy)
        assert "FINISHED" in told.stdout
        assert "Scheduled" in told.stdout
    finally:
        served.send_signal(signal.SIGINT)
        out, _ = served.communicate(timeout=60)
    assert "is served; Prefect's page: http://127.0.0.1:" in out
    assert served.returncode == 0
