"""``karma run`` with ``--only``, ``--force`` and ``--no-wait``, on a workspace that was run."""

import pytest

from karma.plan import plan
from karma.recipe import load
from karma.store import Store
from tests.filled import SMOKE
from tests.small import SMALL, karma, settings, states

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    # MLflow's database layer warns of its own library's next version.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def ran(stderr: str) -> set[str]:
    return {line.split("  ")[0] for line in stderr.splitlines() if line.endswith(" s")}


def test_only_runs_what_it_names_and_leaves_the_rest_as_it_was(copy):
    more = ("policy.kl_coef=0.3", "evals.items=20")
    done = karma("run", str(SMOKE), *settings(*more), "--only", "evals/base", workspace=copy)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = {name for name in states(copy, *more) if name.startswith("evals/base/")}
    assert ran(done.stderr) == cells
    found = states(copy, *more)
    assert {found[name] for name in cells} == {"FRESH"}
    assert found["policy/reddit/context/0"] == "STALE"


def test_a_forced_stage_runs_and_what_follows_it_only_if_its_bytes_differ(copy):
    store = Store(copy)
    before = store.record("labels", store.ref("smoke", "labels")["key"])
    done = karma("run", str(SMOKE), *settings(), "--force", "labels", workspace=copy)
    assert done.returncode == 0, done.stderr[-3000:]
    assert ran(done.stderr) == {"labels", "labels/card"}
    after = store.record("labels", before["key"])
    assert after["digest"] == before["digest"]
    assert after["run"] != before["run"]


def test_no_wait_leaves_out_what_another_run_is_at_and_says_who(copy):
    store = Store(copy)
    recipe = load(SMOKE, [*SMALL, "evals.items=20"])
    held = plan("smoke", recipe, store).entries["evals/base/mmlu"]
    options = (*settings("evals.items=20"), "--only", "evals/base", "--no-wait")
    with store.lock(held.key, lambda _: None):
        done = karma("run", str(SMOKE), *options, workspace=copy)
    assert done.returncode == 1
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert told.startswith("error: evals/base/mmlu: pid ")
    assert "does not wait" in told
    found = states(copy, "evals.items=20")
    assert found["evals/base/mmlu"] == "STALE"
    assert found["evals/base/humor"] == "FRESH"
