"""Irony: what does a speaker mean who says the opposite? (Hu et al. 2023.)"""

from pathlib import Path

from karma.evals import lm_pragmatics
from karma.evals.benchmark import Benchmark, Read
from karma.evals.choices import classify


def read(folder: Path) -> Read:
    """Items from ``pragmatics/Irony``, each with 4 options."""
    return lm_pragmatics.read(folder, "Irony", options=4)


BENCHMARK = Benchmark("pragmatics", "accuracy", True, read, classify)
