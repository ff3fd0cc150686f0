"""All that is measured of one reward model on held-out threads: numbers, and tables."""

from typing import Any

import numpy as np

from karma.reward.baselines import baselines
from karma.reward.breakdown import Calibration, breakdown
from karma.reward.data import Split
from karma.reward.metrics import (
    Floats,
    Heldout,
    Measure,
    evaluate,
    intervals,
    levels_at,
    shuffled,
    spearman,
)
from karma.reward.score import RewardModel
from karma.reward.shortcuts import shortcuts


def measured(
    model: RewardModel,
    document: dict[str, Any],
    splits: dict[str, Split],
    rewards: dict[str, Floats],
    terms: dict[str, list[float]],
    resamples: int,
) -> tuple[dict[str, float], dict[str, Any]]:
    """``metrics.json`` and ``tables.json`` of a model.

    ``rewards`` are its own on both splits, ``terms`` what each term of a sum adds on test rows.
    """
    seed, truth = document["seed"], Heldout.of(splits["test"])
    found = evaluate(rewards["test"], truth, document["levels"], resamples, seed)
    found |= _against_baselines(rewards, splits, document, resamples)
    tables: dict[str, Any] = {
        "breakdown": breakdown(rewards["test"], splits["test"], truth, resamples, seed),
        "calibration": [],
    }
    if document["scale"] is not None and len(truth.pairs):
        calibration = Calibration(rewards["test"], truth, document["scale"])
        found |= intervals({"calibration_error": calibration.error}, truth.threads, resamples, seed)
        tables["calibration"] = calibration.rows(resamples, seed)
    found |= shortcuts(model, splits, rewards, resamples, seed)
    found |= _shares(terms)
    return {**found, "rows": len(truth.valuations), "pairs": len(truth.pairs)}, tables


def _against_baselines(
    rewards: dict[str, Floats], splits: dict[str, Split], document: dict[str, Any], resamples: int
) -> dict[str, float]:
    """The metrics of each baseline, and by how much the reward's Spearman is above its own."""
    seed, truth = document["seed"], Heldout.of(splits["test"])
    levels = Heldout.of(splits["validation"]).levels
    others = baselines(splits, seed)
    others["shuffled"] = {part: shuffled(values, seed) for part, values in rewards.items()}
    found: dict[str, float] = {}
    above: dict[str, Measure] = {}
    own = spearman(rewards["test"], truth)
    for name, values in others.items():
        cuts = levels_at(values["validation"], levels)
        measures = evaluate(values["test"], truth, cuts, resamples, seed)
        found |= {f"{name}_{key}": value for key, value in measures.items()}
        above[f"above_{name}"] = _difference(own, spearman(values["test"], truth))
    return found | intervals(above, truth.threads, resamples, seed)


def _difference(first: Measure, second: Measure) -> Measure:
    return lambda weights: first(weights) - second(weights)


def _shares(terms: dict[str, list[float]]) -> dict[str, float]:
    """Of a sum's variance, each term's share: its covariance with the sum; they add up to 1."""
    total = np.sum([np.array(values) for values in terms.values()], axis=0)
    if not terms or np.ptp(total) == 0:
        return {}
    return {
        f"term_{name}_share": float(np.cov(values, total)[0, 1] / np.var(total, ddof=1))
        for name, values in terms.items()
    }
