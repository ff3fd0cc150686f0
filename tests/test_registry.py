"""MLflow's registry: every model of a recipe, the best by the recipe's criterion, told once."""

import json
import shutil
from pathlib import Path

import pytest

from karma import registry
from karma.dag import build
from karma.outbox import Outbox
from karma.plan import FRESH, Plan, plan
from karma.recipe import load
from karma.record import flush
from karma.store import Store
from tests.filled import EMPTY, SMOKE, fill
from tests.small import karma
from tests.told import client, put, stage

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
TWO = "seeds=[0, 1]"
REWARD, POLICY = "smoke-reward-context", "smoke-policy-reddit-context"


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> str:
    """A tracking database; making one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def report() -> dict:
    """Seed 1 has the better Spearman, gold reward and bias, seed 0 the better calibration and
    humor; of F1 nothing is known."""
    nodes = list(build("smoke", load(SMOKE, [TWO])).nodes.values())
    humor, bias = ({"value": 0.9}, {"value": 0.6}), ({"value": 0.9}, {"value": 0.5})
    about = {"higher_is_better": True, "ideal": None}
    found: dict = {**EMPTY, "family": {"benchmarks": ["humor"]}, "rewards": [], "policies": []}
    rows: list = []
    for node in nodes:
        seed = int(node.id[-1]) if node.stage in ("reward", "policy") else 0
        numbers = {"spearman": {"value": seed}, "calibration_error": {"value": seed}, "f1": None}
        if node.stage == "reward":
            about_it = {"id": node.id.removeprefix("reward/"), "kind": "random", "flag": None}
            found["rewards"].append({**about_it, **numbers})
        if node.stage == "policy":
            found["policies"].append({"id": node.id, "gold_last": seed})
            rows.append({"model": node.id, "cells": {"humor": humor[seed], "bbq": bias[seed]}})
    kinds = {"humor": about, "bbq": {**about, "ideal": 0.5}}
    return {**found, "headline": {"columns": list(kinds), "about": kinds, "rows": rows}}


@pytest.fixture(scope="module")
def reported(tmp_path_factory) -> Path:
    """A workspace in which two seeds of each model were built and reported."""
    store = Store(tmp_path_factory.mktemp("seeded") / "workspace")
    store.create()
    fill(store, "smoke", load(SMOKE, [TWO]), report())
    return store.root


@pytest.fixture
def seeded(reported: Path, tmp_path: Path) -> Store:
    """A copy of that workspace."""
    shutil.copytree(reported, tmp_path / "workspace")
    return Store(tmp_path / "workspace")


def planned(store: Store, *settings: str) -> Plan:
    return plan("smoke", load(SMOKE, [TWO, *settings]), store)


def told(store: Store) -> dict[str, dict]:
    """The registered models of the last entry that waits, by name, each with its best instance."""
    entry = json.loads(Outbox(store.root).waiting()[-1].read_bytes())
    names = {row["key"]: row["instance"] for m in entry["models"] for row in m["versions"]}
    return {m["name"]: {**m, "best": names.get(m["best"])} for m in entry["models"]}


@pytest.mark.parametrize(
    ("settings", "reward", "policy"),
    [
        ([], 1, 0),
        (["registry.reward=calibration_error", "registry.policy=gold"], 0, 1),
        (["registry.policy=bbq"], 1, 1),  # its ideal is not its highest value
        (["registry.reward=f1", "registry.policy=mmlu"], None, None),
    ],
)
def test_the_best_is_chosen_by_the_recipes_criterion(seeded, settings, reward, policy):
    made = planned(seeded, *settings)
    # A criterion is no part of any key.
    assert {entry.state for entry in made.entries.values()} == {FRESH}
    missing = registry.tell(made, seeded)
    models = told(seeded)
    assert len(models) == 5 + 2 * 4
    for name, line, seed in (
        (REWARD, "reward/context", reward),
        (POLICY, "policy/reddit/context", policy),
    ):
        assert models[name]["best"] == (None if seed is None else f"{line}/{seed}")
        assert (name in missing) == (seed is None)
        assert [row["seed"] for row in models[name]["versions"]] == ["0", "1"]


def test_what_the_registry_holds_is_told_again_only_if_it_changed(seeded):
    for settings, waiting in (([], 1), ([], 1), (["registry.policy=gold"], 2)):
        registry.tell(planned(seeded, *settings), seeded)
        assert len(Outbox(seeded.root).waiting()) == waiting


def test_a_run_with_nothing_to_do_tells_a_new_criterion_but_is_not_the_first_to_tell(seeded):
    path = seeded.root / "registry" / "smoke.json"
    words = ["--set", TWO, "--set", "registry.policy=gold"]
    assert karma("run", str(SMOKE), *words, workspace=seeded.root).returncode == 0
    assert not path.exists()
    registry.tell(planned(seeded), seeded)
    ran = karma("run", str(SMOKE), *words, workspace=seeded.root)
    assert "MLflow: sent 2 entries" in ran.stderr
    by = {model["name"]: model["by"] for model in json.loads(path.read_bytes())["models"]}
    assert (by[REWARD], by[POLICY]) == ("spearman", "gold")


def test_models_that_this_server_does_not_know_are_left_out(seeded, database):
    registry.tell(planned(seeded), seeded)
    words: list[str] = []
    assert flush(seeded, database, words.append, seconds=120) == 0
    assert not any("refuses" in line for line in words)
    assert client(database).search_registered_models() == []


def test_the_registry_has_a_version_a_model_and_best_follows_the_criterion(seeded, database):
    entries = planned(seeded).entries
    for line in ("reward/context", "policy/reddit/context"):
        for seed in (0, 1):
            put(seeded, stage(f"{line}/{seed}", entries[f"{line}/{seed}"].key))
    assert flush(seeded, database, lambda _: None, seconds=120) == 0
    mlflow = client(database)
    for settings, best in (([], "0"), ([], "0"), (["registry.policy=gold"], "1")):
        (seeded.root / "registry" / "smoke.json").unlink(missing_ok=True)  # so that it is told
        registry.tell(planned(seeded, *settings), seeded)
        assert flush(seeded, database, lambda _: None, seconds=120) == 0
        versions = mlflow.search_model_versions(f"name = '{POLICY}'")
        assert sorted(v.tags["instance"][-1] for v in versions) == ["0", "1"]
        found = mlflow.get_model_version_by_alias(POLICY, "best")
        assert found.tags["seed"] == best
        assert mlflow.get_run(found.run_id).info.run_name == f"policy/reddit/context/{best}"
        assert int(mlflow.get_model_version_by_alias(POLICY, "latest").version) == 2
    assert {v.tags["primary"] for v in versions} == {"0.9", "0.6"}
    assert "by gold" in mlflow.get_registered_model(POLICY).description
    assert {m.name for m in mlflow.search_registered_models()} == {REWARD, POLICY}
