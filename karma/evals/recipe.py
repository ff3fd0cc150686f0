"""The recipe's section ``evals``."""

import difflib
import importlib.util
import re
from pathlib import Path

from pydantic import field_validator

from karma.evals.catalogue import BENCHMARKS
from karma.evals.settings import EvalsSettings
from karma.section import Chosen


def harness_name(task: str) -> str:
    """The name of a harness's task among the benchmarks: ``lm_eval.arc_easy``."""
    return f"lm_eval.{Path(task).stem if task.endswith('.yaml') else task}"


class EvalsRecipe(EvalsSettings):
    """Which benchmarks are asked, and where their files lie.

    The three fields here are no part of a cell's settings: another benchmark, or a folder that
    moved, leaves every cell fresh.
    """

    data: str
    """`world` (the simulator's benchmarks), or a folder that holds the benchmarks' files under
    their usual names (docs/benchmarks.md)."""
    benchmarks: Chosen = "all"
    """Names of benchmarks, or `all` whose files the data hold."""

    lm_eval: tuple[str, ...] = ()
    """Tasks of an installed lm-evaluation-harness, which asks them: its own by name (they load
    their data from the hub, at whatever revision the harness says), or YAML files, each a whole
    task with its data files beside it."""

    @field_validator("lm_eval")
    @classmethod
    def _installed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value and importlib.util.find_spec("lm_eval") is None:
            raise ValueError("lm_eval is not installed; pip install lm_eval")
        names = [harness_name(task) for task in value]
        if len(set(names)) < len(names):
            raise ValueError("a task is named twice")
        for task in value:
            if not re.fullmatch(r"[\w.-]+", harness_name(task)):
                raise ValueError(f"{task!r} is no task's name and no YAML file")
        return value

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
