"""Humour: which ending makes the joke funny? (Hu et al. 2023.)"""

from pathlib import Path

from karma.evals import lm_pragmatics
from karma.evals.benchmark import Benchmark, Read
from karma.evals.choices import classify


def read(folder: Path) -> Read:
    """Items from ``pragmatics/Humour``, each with 5 options."""
    return lm_pragmatics.read(folder, "Humour", options=5)


BENCHMARK = Benchmark("pragmatics", "accuracy", True, read, classify)
