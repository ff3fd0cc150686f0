"""Metaphor: what does a speaker mean by a figure of speech? (Hu et al. 2023.)"""

from pathlib import Path

from karma.evals import lm_pragmatics
from karma.evals.benchmark import Benchmark, Read
from karma.evals.choices import classify


def read(folder: Path) -> Read:
    """Items from ``pragmatics/Metaphor``, each with 5 options."""
    return lm_pragmatics.read(folder, "Metaphor", options=5)


BENCHMARK = Benchmark("pragmatics", "accuracy", True, read, classify)
