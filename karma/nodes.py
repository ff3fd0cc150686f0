"""What the DAG is made of: stages, their instances, and the inputs that they read."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from karma.fingerprint import PROJECT

TORCH = ("torch", "transformers", "tokenizers", "numpy")
TRAINER = (*TORCH, "trl", "accelerate", "datasets", "pyarrow")
REWARD = ("duckdb", "peft", "scikit-learn", "scipy")
EVALS = (*TORCH, "datasets", "huggingface_hub", "pyarrow", "scikit-learn")
REPORT = ("numpy", "scipy", "matplotlib", "jinja2", "pyarrow", "pyyaml")


@dataclass(frozen=True)
class Stage:
    """What all instances of a stage have in common."""

    job: str
    """The function that runs, ``module:name``."""
    libraries: tuple[str, ...]
    """The libraries whose version can change the result."""
    makes: Literal["data", "model", "scores", "report"]
    """What the artefact is, for MLflow and the lineage."""
    trained: bool = False
    """Whether it runs on the accelerator that the recipe names."""


STAGES = {
    "world": Stage("karma.world.job:run", ("numpy", "zstandard"), "data"),
    "dumps": Stage("karma.dumps.job:run", ("duckdb", "numpy", "pyarrow", "zstandard"), "data"),
    "threads": Stage("karma.threads.job:run", ("duckdb", "py3langid"), "data"),
    "labels": Stage("karma.labels.job:run", ("duckdb", "matplotlib"), "data"),
    "prompts": Stage("karma.prompts.job:reddit", ("datasets", "duckdb", "pyarrow"), "data"),
    "base": Stage("karma.base.job:run", (*TORCH, "datasets"), "model", trained=True),
    "sft": Stage("karma.sft.job:run", TRAINER, "model", trained=True),
    "reward": Stage("karma.reward.job:run", (*TRAINER, *REWARD), "model", trained=True),
    "policy": Stage(
        "karma.policy.job:run", (*TORCH, "accelerate", "peft", "pyarrow"), "model", trained=True
    ),
    "evals": Stage("karma.evals.job:run", EVALS, "scores", trained=True),
    "report": Stage("karma.report.job:run", REPORT, "report"),
}

# Nodes that are inputs: they have a digest and stand in the plan, but no job.
SOURCES = ("source", "benchmark", "instructions")


@dataclass(frozen=True)
class Source:
    """Where an input lies: on disk, in the simulator's artefact, or on a hub by full revision."""

    path: Path | None = None
    """The file, or the folder that a job is given."""
    files: tuple[Path, ...] = ()
    """The files that make its digest; none if they are missing."""
    member: str = ""
    """Its path below the artefact of ``world``."""
    patterns: tuple[str, ...] = ()
    """Which files below ``member`` count (globs)."""
    revision: str = ""
    """``name@revision`` on a hub."""


@dataclass(frozen=True)
class Extent:
    """What the DAG has to know of a dump that was read."""

    ranges: tuple[str, ...]
    """The ranges of thread ids that it touches."""
    first: str
    """The month of its first rows, as ``2006-01``; months apart with next to no rows
    do not count."""
    last: str
    """The month of its last rows."""


@dataclass(frozen=True)
class Node:
    """One instance of a stage, or one input."""

    id: str
    inputs: dict[str, str] = field(default_factory=dict)
    """Role to the id of the node that fills it."""
    config: dict[str, Any] = field(default_factory=dict)
    """The slice of the recipe that it reads; in its fingerprint."""
    manner: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By section, the settings of how its job runs; in no fingerprint."""
    source: Source | None = None
    job: str = ""
    modules: tuple[str, ...] = ()
    """Modules that its job loads by name, beyond those that the job imports."""
    files: tuple[str, ...] = ()
    """Other files of the project that it opens, relative to the project."""
    more_libraries: tuple[str, ...] = ()
    """Those that can change its result, beyond those of all of its stage."""

    @property
    def stage(self) -> str:
        """The stage's word."""
        return self.id.split("/")[0]

    @property
    def libraries(self) -> tuple[str, ...]:
        """The libraries whose version can change its result."""
        return (*STAGES[self.stage].libraries, *self.more_libraries)

    @property
    def job_config(self) -> dict[str, Any]:
        """What its job is given: ``config`` and ``manner`` together."""
        whole = {name: {**self.config[name], **fields} for name, fields in self.manner.items()}
        return {**self.config, **whole}


def relative(path: Path) -> str:
    """A file of the project by its path within it."""
    return path.relative_to(PROJECT).as_posix()


@cache
def beside(folder: str) -> tuple[str, ...]:
    """The files of a folder of the project that are no code: templates, lists."""
    found = (p for p in (PROJECT / folder).glob("*") if p.is_file() and p.suffix != ".py")
    return tuple(sorted(relative(p) for p in found))


def reached(start: str, links: Callable[[str], Iterable[str]]) -> set[str]:
    """What can be reached from a node, itself included; ``links`` are the ends next to one."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(links(name))
    return found
