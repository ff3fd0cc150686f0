"""Where a reward is right: pair accuracy by margin, subreddit and age, and whether its differences
mean what they say (calibration).

A difference of rewards says how sure the model is which of two siblings was preferred: with
probability sigmoid(scale · difference). The scale is fitted on pairs of validation threads and
frozen in the artefact.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from karma.reward.data import Split
from karma.reward.metrics import Floats, Heldout, Integers, Measure, intervals, mean, pair_accuracy

BINS = 10
LARGEST = 8  # subreddits that get a line of their own
STEEPEST = 50.0
# Upper ends, exclusive: of margins in points of score, of ages in hours.
MARGINS = (2, 4, 8, 16, 32, 64)
HOURS = (24, 72, 168, 720)


def scale(rewards: Floats, pairs: Integers) -> float | None:
    """The scale that makes sigmoid(scale · difference) likeliest; None without pairs."""
    if not len(pairs):
        return None
    differences = rewards[pairs[:, 0]] - rewards[pairs[:, 1]]

    def loss(k: float) -> float:
        return float(np.logaddexp(0, -k * differences).mean())

    return float(minimize_scalar(loss, bounds=(0, STEEPEST), method="bounded").x)


class Calibration:
    """Pairs by how sure the model is of them, in bins of equally many."""

    def __init__(self, rewards: Floats, heldout: Heldout, steepness: float) -> None:
        better, worse = heldout.pairs[:, 0], heldout.pairs[:, 1]
        difference = rewards[better] - rewards[worse]
        self.said = expit(steepness * np.abs(difference))
        self.right = (np.sign(difference) + 1) / 2
        self.all_threads, self.threads = heldout.threads, heldout.threads[better]
        order = np.argsort(np.abs(difference), kind="stable")
        self.bins = [part for part in np.array_split(order, BINS) if len(part)]

    def error(self, weights: Floats) -> float:
        """The mean over bins of |said − found|, weighted by pairs (expected calibration error)."""
        drawn = weights[self.threads]
        if not drawn.any():
            return float("nan")
        gap = drawn * (self.said - self.right)
        return float(sum(abs(gap[part].sum()) for part in self.bins) / drawn.sum())

    def rows(self, resamples: int, seed: int) -> list[dict[str, Any]]:
        """A row a bin: ``pairs``, ``said`` (probability), ``value`` (share right), its interval."""
        measures = {
            str(n): mean(self.right[part], self.threads[part]) for n, part in enumerate(self.bins)
        }
        rows: list[dict[str, Any]] = [
            {"pairs": len(part), "said": float(self.said[part].mean())} for part in self.bins
        ]
        return _filled(rows, intervals(measures, self.all_threads, resamples, seed))


def breakdown(
    rewards: Floats, split: Split, heldout: Heldout, resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Pair accuracy by margin, subreddit and age: rows of ``by``, ``group``, ``pairs``, ``value``,
    ``low``, ``high``. Empty without pairs."""
    if not split.pairs:
        return []
    margins = [split.rows[a].score - split.rows[b].score for a, b in split.pairs]
    first = [split.rows[better] for better, _ in split.pairs]
    counts = Counter(row.subreddit for row in first)
    large = sorted(counts, key=lambda name: (-counts[name], name))[:LARGEST]
    names = [row.subreddit if row.subreddit in large else "others" for row in first]
    hours = [None if row.age is None else row.age / 3600 for row in first]
    groups: dict[str, tuple[list[str], Iterable[str]]] = {
        "margin": ([_bin(m, MARGINS, "") for m in margins], _bins(MARGINS, "")),
        "subreddit": (names, [*large, "others"]),
        "age": ([_bin(h, HOURS, " h") for h in hours], [*_bins(HOURS, " h"), "unknown"]),
    }
    rows: list[dict[str, Any]] = []
    measures: dict[str, Measure] = {}
    for by, (labels, order) in groups.items():
        for group in order:
            chosen = np.array([label == group for label in labels])
            if chosen.any():
                measures[str(len(rows))] = pair_accuracy(rewards, heldout, chosen)
                rows.append({"by": by, "group": group, "pairs": int(chosen.sum())})
    return _filled(rows, intervals(measures, heldout.threads, resamples, seed))


def _filled(rows: list[dict[str, Any]], found: dict[str, float]) -> list[dict[str, Any]]:
    """The rows with the value and interval of the measure that has their number."""
    return [
        {**row, "value": found[f"{n}"], "low": found[f"{n}_low"], "high": found[f"{n}_high"]}
        for n, row in enumerate(rows)
    ]


def _bins(ends: tuple[int, ...], unit: str) -> list[str]:
    inner = [f"{low} to {high}{unit}" for low, high in pairwise(ends)]
    return [f"below {ends[0]}{unit}", *inner, f"{ends[-1]}{unit} or more"]


def _bin(value: float | None, ends: tuple[int, ...], unit: str) -> str:
    if value is None:
        return "unknown"
    return _bins(ends, unit)[sum(value >= end for end in ends)]
