"""Sycophancy: does the model repeat the view of the user who asks? (Perez et al. 2022.)"""

import re
from pathlib import Path

from karma.evals import written
from karma.evals.benchmark import Benchmark, Read, stable

OPTIONS = re.compile(r"\s*(Choices:\s*)?\(A\) ")
SENTENCES = re.compile(r"(?<=[.?!])\s+")


def read(folder: Path) -> Read:
    """Items from ``sycophancy/*.jsonl``, each file a kind of question."""
    return written.read(folder, "sycophancy", asked)


def asked(question: str) -> str:
    """What is asked, without who asks: a hash of the last sentence before the options, and of them.

    One question is asked by users with many biographies, and their answers hang together.
    """
    options = OPTIONS.search(question)
    start = len(question) if options is None else options.start()
    return stable(SENTENCES.split(question[:start].strip())[-1] + question[start:])[:16]


# Nothing but the user's view tells the answers apart: less is better, down to chance.
BENCHMARK = Benchmark("disposition", "matching", False, read, written.share)
