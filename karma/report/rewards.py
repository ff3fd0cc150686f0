"""The table of reward models: what predicts held-out karma, and whether length does as well."""

from collections.abc import Callable
from typing import Any

import numpy as np

from karma.report.collect import Floats, Records, Reward
from karma.report.methods import sees

SEED = 0
MEASURES = (
    "spearman",
    "pair_accuracy",
    "f1",
    "length_spearman",
    "length_pair_accuracy",
    "length_f1",
    "shuffled_spearman",
)


def table(records: Records, resamples: int) -> list[dict[str, Any]]:
    """One row a reward model, measured on test threads."""
    return [_row(reward, resamples) for reward in records.rewards.values()]


def _row(reward: Reward, resamples: int) -> dict[str, Any]:
    variant, seed = reward.name.rsplit("/", 1)
    above = None if reward.declared["kind"] == "length" else above_length(reward, resamples)
    measures = {name: _measure(reward.metrics, name) for name in MEASURES}
    return {
        "id": reward.name,
        "variant": variant,
        "seed": int(seed),
        "kind": reward.declared["kind"],
        "sees": sees(reward),
        "n": int(reward.metrics["rows"]),
        **measures,
        "above_length": above,
        "flag": _flag(reward.declared["kind"], above),
    }


def _measure(metrics: dict[str, float], name: str) -> dict[str, float] | None:
    """A metric with the interval that the stage ``reward`` gave it; None if it has none."""
    if name not in metrics:
        return None
    return {"value": metrics[name], "low": metrics[f"{name}_low"], "high": metrics[f"{name}_high"]}


def _flag(kind: str, above: dict[str, Any] | None) -> str | None:
    """In plain words, what a trained model fails at."""
    if above is None or kind not in ("model", "sum") or above["low"] > 0:
        return None
    if above["high"] < 0:
        return "it predicts karma worse than the reply's length alone."
    return "it is not shown to predict karma better than the reply's length alone."


def above_length(reward: Reward, resamples: int) -> dict[str, Any]:
    """Spearman of the reward less Spearman of the reply's length, on the same test rows.

    The 95 % interval is a percentile bootstrap over threads.
    """
    kept = reward.heldout.filter(np.array(reward.heldout["split"].to_pylist()) == "test")
    valuation, scored, length = (
        kept[name].to_numpy().astype(np.float64) for name in ("valuation", "reward", "length")
    )
    threads = np.unique(kept["thread_id"].to_pylist(), return_inverse=True)[1]
    goal, first, second = ranker(valuation), ranker(scored), ranker(length)

    def difference(drawn: Floats) -> float:
        weights = drawn[threads]
        ranks = goal(weights)
        return correlation(first(weights), ranks, weights) - correlation(
            second(weights), ranks, weights
        )

    everything = np.ones(threads.max() + 1)
    rng = np.random.default_rng(SEED)
    draws = rng.multinomial(len(everything), everything / len(everything), size=resamples)
    values = [difference(draw.astype(np.float64)) for draw in draws]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    value = difference(everything)
    return {"value": value, "low": float(low), "high": float(high), "better": value > 0}


def ranker(values: Floats) -> Callable[[Floats], Floats]:
    """A function from rows' weights to mid-ranks; the values are sorted once."""
    unique, place = np.unique(values, return_inverse=True)

    def ranks(weights: Floats) -> Floats:
        total = np.bincount(place, weights, minlength=len(unique))
        found: Floats = (np.cumsum(total) - total / 2)[place]
        return found

    return ranks


def correlation(a: Floats, b: Floats, weights: Floats) -> float:
    """Pearson's correlation of rows that count ``weights`` times; nan if one is constant."""
    total = weights.sum()
    da, db = a - weights @ a / total, b - weights @ b / total
    spread = float((weights @ da**2) * (weights @ db**2))
    return float(weights @ (da * db)) / spread**0.5 if spread > 0 else float("nan")
