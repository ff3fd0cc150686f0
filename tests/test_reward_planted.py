"""What reward models say of a world whose truth is known: five seeds, tiny models.

Over seeds means: the difference of two variants of one seed, its t interval over five seeds. What
was found is printed (``pytest -rP``).
"""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from karma.recipe import load
from tests.filled import SMOKE
from tests.stages import make

SEEDS = 5
SETTINGS = [
    f"seeds={list(range(SEEDS))}",
    "world.threads=3000",
    # In short contexts, and from a base that knows the words, so few rows teach what fits.
    "world.depth=1",
    "threads.split={validation: 0.1, test: 0.2}",
    "threads.uses={sft: 0, reward: 1, gold: 0, ppo: 0}",
    "base.tiny.sequences=27000",
    "reward.resamples=20",
    "reward.variants={context: {}, metadata: {}, reply: {}, random: {}}",
]


def spearman(root: Path, variants: tuple[str, ...], *settings: str) -> dict[str, np.ndarray]:
    """The held-out Spearman correlation of each variant, one a seed."""
    recipe = load(SMOKE, [*SETTINGS, *settings])
    wanted = [f"reward/{name}/{seed}" for name in variants for seed in range(SEEDS)]
    folders = make(recipe, root, lambda name: name in wanted)
    metrics = {name: json.loads((folders[name] / "metrics.json").read_text()) for name in wanted}
    found = {
        name: np.array([metrics[f"reward/{name}/{seed}"]["spearman"] for seed in range(SEEDS)])
        for name in variants
    }
    for name, values in found.items():
        print(f"{name}: {values.mean():.3f}")
    for better, worse in pairwise(variants):
        low, high = interval(found[better] - found[worse])
        print(f"{better} - {worse}: [{low:.3f}, {high:.3f}]")
    return found


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % t interval of the mean over seeds."""
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return values.mean() - half, values.mean() + half


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_what_sees_more_of_what_matters_predicts_better_in_every_step(tmp_path):
    found = spearman(tmp_path, ("metadata", "context", "reply", "random"))
    for better, worse in pairwise(found):
        low, _ = interval(found[better] - found[worse])
        assert low > 0, (better, worse, found)
    low, high = interval(found["random"])
    assert low < 0.02, found
    assert high > -0.02, found


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_without_an_effect_of_context_seeing_it_does_not_help(tmp_path):
    # The number of turns shows a reply's depth, so what depth is worth is switched off as well.
    found = spearman(tmp_path, ("context", "reply"), "world.fit=0", "world.metadata=0")
    low, high = interval(found["context"] - found["reply"])
    assert found["reply"].mean() > 0.1, found
    assert low > -0.03, found
    assert high < 0.03, found
