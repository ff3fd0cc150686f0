"""Correlation of rows that count as often as their weights say, for bootstraps by weights."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


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
