"""What PPO does to policies in a world whose truth is known: five seeds, tiny models.

The recipe is the planted one, of which only two rewards and one exposure are made. Over seeds
means: the true fit of a policy's replies less that of its starting policy, its t interval.
"""

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from karma.recipe import Recipe, load
from tests.stages import make
from tests.test_reward_planted import interval

PLANTED = Path(__file__).parents[1] / "flows" / "recipes" / "planted.yaml"
SETTINGS = [
    "reward.variants={context: {}, random: {}}",
    "policy.exposures=[reddit]",
    "evals.benchmarks=[fit]",
]
VARIANTS = ("context", "random")


def recipe() -> Recipe:
    return load(PLANTED, SETTINGS)


def gains(root: Path, seed: int) -> dict[str, float]:
    """How much more a policy's replies fit than those it started from, by reward."""
    start = f"evals/sft/reddit/{seed}/fit"
    ends = {name: f"evals/policy/reddit/{name}/{seed}/fit" for name in VARIANTS}
    folders = make(recipe(), root, lambda name: name in {start, *ends.values()})

    def fit(instance: str) -> float:
        found: float = json.loads((folders[instance] / "metrics.json").read_text())["centred_fit"]
        return found

    return {name: fit(end) - fit(start) for name, end in ends.items()}


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(7200)
def test_context_raises_the_true_fit_of_replies_and_random_does_not(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # What all seeds share is made before they part.
    make(recipe(), tmp_path, lambda name: name in ("base", "labels", "prompts/reddit"))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        seeds = list(pool.map(gains, [tmp_path] * 5, range(5)))
    found = {name: np.array([gain[name] for gain in seeds]) for name in VARIANTS}
    low, _ = interval(found["context"])
    assert low > 0, found
    low, high = interval(found["random"])
    assert low < 0, found
    assert high < 0.1, found
    low, _ = interval(found["context"] - found["random"])
    assert low > 0, found
