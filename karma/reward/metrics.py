"""How well a reward agrees with karma on held-out threads, with intervals.

Intervals are percentiles over bootstrap resamples of whole threads: replies of one thread are not
independent. A resample is a weight for each row (how often its thread was drawn), so that every
metric is computed exactly, ranks included, without copying rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karma.errors import InputError
from karma.reward.data import Split
from karma.weighted import correlation, ranker

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

TOP_LEVEL = 7
COVERAGE = (2.5, 97.5)


@dataclass(frozen=True)
class Heldout:
    """What the rewards of a split are compared with: arrays over rows, and pairs of positions."""

    valuations: Floats
    levels: Integers
    threads: Integers
    pairs: Integers

    @classmethod
    def of(cls, split: Split) -> "Heldout":
        """The arrays of ``split``; threads are numbered from 0."""
        names = [row.thread_id for row in split.rows]
        return cls(
            np.array([row.valuation for row in split.rows], dtype=np.float64),
            np.array([row.level for row in split.rows], dtype=np.int64),
            np.unique(names, return_inverse=True)[1],
            np.array(split.pairs, dtype=np.int64).reshape(-1, 2),
        )


def levels_at(rewards: Floats, levels: Integers) -> list[float]:
    """Thresholds that give each level 1..7 the share of rewards that it has of the rows.

    A reward has level l if it reaches l of the seven thresholds. Fitted on the validation split.
    """
    shares = [float(np.mean(levels < level)) for level in range(1, TOP_LEVEL + 1)]
    return [float(value) for value in np.quantile(rewards, shares)]


Measure = Callable[[Floats], float]


def evaluate(
    rewards: Floats, heldout: Heldout, thresholds: list[float], resamples: int, seed: int
) -> dict[str, float]:
    """Each metric with its interval: ``spearman``, ``spearman_low``, ``spearman_high``, ...

    ``rewards`` (rows,), in the order of ``heldout``. ``pair_accuracy`` is there if there are pairs.
    Raises InputError if the rewards cannot be ranked because all are equal.
    """
    if np.ptp(rewards) == 0:
        raise InputError(
            "reward",
            "all held-out replies got the same reward",
            "Look at the losses in the log; a lower reward.lr may help.",
        )
    measures = _measures(rewards, heldout, thresholds)
    return intervals(measures, heldout.threads, resamples, seed)


def intervals(
    measures: dict[str, Measure], threads: Integers, resamples: int, seed: int
) -> dict[str, float]:
    """Each measure's value and its 95 % interval, ``name``, ``name_low`` and ``name_high``.

    A measure is a function of the threads' weights; ``threads`` numbers the rows' threads from 0.
    """
    everything = np.ones(threads.max() + 1)
    result = {name: measure(everything) for name, measure in measures.items()}
    drawn: dict[str, list[float]] = {name: [] for name in measures}
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        weights = rng.multinomial(len(everything), everything / len(everything)).astype(float)
        for name, measure in measures.items():
            drawn[name].append(measure(weights))
    for name, values in drawn.items():
        # A resample without two different rows, or without a pair, has no value.
        known = [value for value in values if not np.isnan(value)] or [result[name]]
        low, high = np.percentile(known, COVERAGE)
        result |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return result


def _measures(rewards: Floats, heldout: Heldout, thresholds: list[float]) -> dict[str, Measure]:
    """Each metric as a function of the threads' weights."""
    threads = heldout.threads
    measures: dict[str, Measure] = {
        "spearman": spearman(rewards, heldout),
        "pearson": lambda w: correlation(rewards, heldout.valuations, w[threads]),
        "f1": _f1(rewards, heldout, thresholds),
    }
    if len(heldout.pairs):
        measures["pair_accuracy"] = pair_accuracy(rewards, heldout)
    return measures


def spearman(rewards: Floats, heldout: Heldout) -> Measure:
    """Spearman's correlation with the valuations, as a function of the threads' weights."""
    ranks, goal, threads = ranker(rewards), ranker(heldout.valuations), heldout.threads
    return lambda w: correlation(ranks(w[threads]), goal(w[threads]), w[threads])


def pair_accuracy(rewards: Floats, heldout: Heldout, chosen: Any = slice(None)) -> Measure:
    """Share of pairs whose preferred reply has the higher reward; a tie counts half.

    ``chosen`` picks pairs: a mask or positions.
    """
    better, worse = heldout.pairs[chosen, 0], heldout.pairs[chosen, 1]
    return mean((np.sign(rewards[better] - rewards[worse]) + 1) / 2, heldout.threads[better])


def mean(values: Floats, threads: Integers) -> Measure:
    """The mean of values whose threads are ``threads``; nan where none was drawn."""

    def measure(weights: Floats) -> float:
        drawn = weights[threads]
        return float(drawn @ values / drawn.sum()) if drawn.any() else float("nan")

    return measure


def _f1(rewards: Floats, heldout: Heldout, thresholds: list[float]) -> Measure:
    """The mean over levels 1..7 of the F1 of "is the level at least this?" (Fang et al. 2016)."""
    steps = np.arange(1, TOP_LEVEL + 1)
    said = np.searchsorted(np.array(thresholds), rewards, side="right")[:, None] >= steps
    true = heldout.levels[:, None] >= steps
    hits, total = (said & true).astype(float), said.astype(float) + true

    def measure(weights: Floats) -> float:
        drawn = weights[heldout.threads]
        both, either = drawn @ hits, drawn @ total
        # Nobody at the level and nobody said to be: the question has no answer to get wrong.
        return float(np.mean(np.where(either > 0, 2 * both / np.maximum(either, 1), 1.0)))

    return measure


def shuffled(rewards: Floats, seed: int) -> Floats:
    """The same rewards given to other replies: what no relation to karma scores."""
    return np.random.default_rng(seed).permutation(rewards)
