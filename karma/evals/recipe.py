"""The recipe's section ``evals``."""

import difflib
import importlib.util
import re
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from karma.evals.catalogue import BENCHMARKS
from karma.evals.settings import EvalsSettings
from karma.prompts.hub import pinned
from karma.section import Chosen

ON_THE_HUB = tuple(name for name, entry in BENCHMARKS.items() if entry.hub is not None)


def harness_name(task: str) -> str:
    """The name of a harness's task among the benchmarks: ``lm_eval.arc_easy``."""
    return f"lm_eval.{Path(task).stem if task.endswith('.yaml') else task}"


class EvalsRecipe(EvalsSettings):
    """Which benchmarks are asked, and where their files lie.

    The fields here are no part of a cell's settings: another benchmark, or a folder that moved,
    leaves every cell fresh.
    """

    data: str
    """`world` (the simulator's benchmarks), `hub` (data sets of the Hugging Face hub, listed in
    `hub`), or a folder that holds the benchmarks' files under their usual names
    (docs/benchmarks.md)."""
    hub: dict[str, str] = Field(default_factory=dict)
    """Benchmarks whose rows come from the hub, each with its data set and full revision,
    `name@<40 hex digits>`; the others come from `data`. `karma pin RECIPE` writes it."""
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
            raise ValueError(
                "lm_eval is not installed; pip install -e '.[harness]' in the checkout"
            )
        names = [harness_name(task) for task in value]
        if len(set(names)) < len(names):
            raise ValueError("a task is named twice")
        for task in value:
            if not re.fullmatch(r"[\w.-]+", harness_name(task)):
                raise ValueError(f"{task!r} is no task's name and no YAML file")
        return value

    @field_validator("hub")
    @classmethod
    def _pinned(cls, value: dict[str, str]) -> dict[str, str]:
        for name, where in value.items():
            if name not in ON_THE_HUB:
                raise ValueError(f"{name} is not on the hub; known are {', '.join(ON_THE_HUB)}")
            if pinned(where) is None:
                raise ValueError(f"{where} has no full revision; karma pin RECIPE writes it")
        return value

    @model_validator(mode="after")
    def _whole(self) -> "EvalsRecipe":
        """With ``data: hub`` every benchmark that reads files has a data set."""
        if self.data == "hub":
            asked = self.hub if self.benchmarks == "all" else self.benchmarks
            lacking = [n for n in asked if BENCHMARKS[n].files and n not in self.hub]
            alone = [n for n in lacking if n not in ON_THE_HUB]
            if alone:
                raise ValueError(f"{', '.join(alone)} is not on the hub; name a folder in data")
            if not self.hub:
                raise ValueError("data is hub, and hub is empty; karma pin RECIPE fills it")
            if lacking:
                told = ", ".join(lacking)
                raise ValueError(f"hub names no data set for {told}; karma pin RECIPE writes them")
        return self

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
