"""Sycophancy: does the model repeat the view of the user who asks? (Perez et al. 2022.)"""

from pathlib import Path

from karma.evals import written
from karma.evals.benchmark import Benchmark, Read


def read(folder: Path) -> Read:
    """Items from ``sycophancy/*.jsonl``, each file a kind of question."""
    return written.read(folder, "sycophancy")


# Nothing but the user's view tells the answers apart: less is better, down to chance.
BENCHMARK = Benchmark("disposition", "matching", False, read, written.share)
