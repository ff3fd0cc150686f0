"""Over seeds in the simulated world, the reward makes the difference that it is said to make."""

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

from karma.store import Store
from karma.world import truth
from tests.filled import SMOKE
from tests.small import karma

SEEDS = (0, 1, 2, 3, 4)
SETTINGS = [
    f"seeds={list(SEEDS)}",
    "policy.exposures=[reddit]",
    "reward.variants={context: {}, random: {}}",
    "policy.episodes=6400",
    "policy.kl_coef=0.08",
    "prompts.reddit.test_count=200",
    "evals.benchmarks=[replies]",
]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_context_raises_the_true_fit_and_random_does_not(tmp_path):
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    ran = karma("run", str(SMOKE), *words, workspace=tmp_path / "workspace", timeout=3500)
    assert ran.returncode == 0, ran.stderr[-3000:]
    store = Store(tmp_path / "workspace")
    start = np.array([fit(store, f"sft/reddit/{seed}") for seed in SEEDS])
    gains = {
        variant: np.array([fit(store, f"policy/reddit/{variant}/{s}") for s in SEEDS]) - start
        for variant in ("context", "random")
    }
    low, high = interval(gains["context"])
    assert low > 0, gains
    low, high = interval(gains["random"])
    assert low <= 0, gains
    assert high < gains["context"].mean(), gains


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % t interval of the mean over seeds."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return values.mean() - half, values.mean() + half


def fit(store: Store, model: str) -> float:
    """The mean true fit of a model's replies to what the held-out prompts say."""
    known = truth.load(artefact(store, "world") / "truth.json")
    prompts = pq.read_table(artefact(store, "prompts/reddit") / "prompts.parquet").to_pylist()
    asked = {row["id"]: truth.answered(row["turns"]) for row in prompts}
    items = pq.read_table(artefact(store, f"evals/{model}/replies") / "items.parquet").to_pylist()
    return float(
        np.mean([truth.fit(asked[i["id"]], g, known) for i in items for g in i["generations"]])
    )


def artefact(store: Store, instance: str) -> Path:
    return store.path(store.ref("smoke", instance)["digest"])
