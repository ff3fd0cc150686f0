"""How much goes into one pass of the networks: less, from then on, where memory runs out."""

import sys
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


class Budget:
    """A size of pass that is halved for the rest of the run when memory runs out.

    Whatever is done within it must come to the same for any size, and start afresh when asked
    again.
    """

    def __init__(self, what: str, size: int) -> None:
        self.what = what
        self.size = size

    def fit(self, work: Callable[[int], T], least: int = 1) -> T:
        """What ``work`` makes of the size; raises OutOfMemoryError if ``least`` is too much."""
        while True:
            try:
                return work(self.size)
            except torch.OutOfMemoryError:
                if self.size <= least:
                    raise
            self.size = max(least, self.size // 2)
            torch.cuda.empty_cache()
            # Not on standard output, which may hold what karma score writes.
            print(
                f"out of memory; goes on with {self.size} {self.what} per pass, and the same sums",
                file=sys.stderr,
                flush=True,
            )
