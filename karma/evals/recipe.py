"""The recipe's section ``evals``."""

import difflib

from pydantic import field_validator

from karma.evals.catalogue import BENCHMARKS
from karma.evals.settings import EvalsSettings
from karma.section import Chosen


class EvalsRecipe(EvalsSettings):
    """Which benchmarks are asked, and where their files lie.

    The two fields here are no part of a cell's settings: another benchmark, or a folder that moved,
    leaves every cell fresh.
    """

    data: str
    """`world` (the simulator's benchmarks), or a folder that holds the benchmarks' files under
    their usual names (docs/benchmarks.md)."""
    benchmarks: Chosen = "all"
    """Names of benchmarks, or `all` whose files the data hold."""

    @field_validator("benchmarks")
    @classmethod
    def _known(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for name in () if isinstance(value, str) else value:
            if name not in BENCHMARKS:
                close = difflib.get_close_matches(name, BENCHMARKS, n=1)
                known = f"known are {', '.join(BENCHMARKS)}"
                hint = f"did you mean {close[0]}?" if close else known
                raise ValueError(f"there is no benchmark {name!r}; {hint}")
        return value
