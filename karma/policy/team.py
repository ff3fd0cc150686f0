"""The processes that share a run's work, one a card.

Each samples, scores and learns from its share of a step's replies. Rollouts are gathered, so that
every process knows the whole step, and gradients are added up, so that every process takes the
same update: sums over all tokens are what they are in one process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import distributed, nn

from karma.errors import StageError
from karma.policy.faults import NotFiniteError

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """This process's place among ``size`` ones; the default is alone."""

    rank: int = 0
    size: int = 1

    def share(self, rows: Sequence[T]) -> list[T]:
        """This process's part of ``rows``: neighbours stay together, parts are in order."""
        start, end = (len(rows) * part // self.size for part in (self.rank, self.rank + 1))
        return list(rows[start:end])

    def gather(self, mine: T) -> list[T]:
        """What every process gives, in the order of their ranks."""
        if self.size == 1:
            return [mine]
        found: list[T] = [mine] * self.size
        distributed.all_gather_object(found, mine)
        return found

    def together(self, work: Callable[[], T]) -> list[T]:
        """What ``work`` makes in every process, in the order of their ranks.

        Raises in all of them what the first raised: a process alone would be waited for forever.
        """
        found: T | None = None
        failed: Exception | None = None
        try:
            found = work()
        except (NotFiniteError, StageError) as error:
            failed = error
        outcomes = self.gather((found, failed))
        for _, failure in outcomes:
            if failure is not None:
                raise failure
        return [cast("T", outcome) for outcome, _ in outcomes]

    def add(self, parameters: Sequence[nn.Parameter]) -> None:
        """Put the sum over all processes into the gradients."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)


ALONE = Team()
