"""Personas: would the model say what a person of this disposition says? (Perez et al. 2022.)"""

from pathlib import Path

from karma.evals import written
from karma.evals.benchmark import Benchmark, Read


def read(folder: Path) -> Read:
    """Items from ``persona/*.jsonl``, each file a disposition."""
    return written.read(folder, "persona")


# Half of a file's matching answers are Yes: one half is a model without the disposition.
BENCHMARK = Benchmark("disposition", "matching", False, read, written.share, ideal=0.5)
