"""A recipe: one YAML file per experiment, its sections named by stage.

Reading one checks everything that can be checked without the inputs: an unknown key is an error
with the nearest known one, and each mistake is told by its place in the file.
"""

import difflib
import os
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from karma.base.recipe import BaseRecipe
from karma.document import put, read
from karma.dumps.recipe import DumpsRecipe
from karma.errors import RecipeError
from karma.evals.catalogue import BENCHMARKS
from karma.evals.recipe import EvalsRecipe
from karma.labels.recipe import LabelsRecipe
from karma.nodes import STAGES
from karma.policy.algorithms import TuningRecipe
from karma.prompts.recipe import PromptsRecipe
from karma.report.recipe import ReportRecipe
from karma.reward.recipe import RewardRecipe
from karma.section import Section, distinct
from karma.sft.recipe import SftRecipe
from karma.threads.recipe import ThreadsRecipe
from karma.world.recipe import WorldRecipe

EXPOSURES = ("reddit", "unexposed")

# What every library that draws random numbers takes.
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]
# Bytes of a path and of one name in it, on Linux.
LONGEST_PATH, LONGEST_NAME = 4096, 255
Checked = TypeVar("Checked", bound=BaseModel)


class Gates(Section):
    """What a run's results must meet; part of no stage's key."""

    reward_beats_length: Literal["off", "warn", "fail"] = "warn"
    """Every trained reward predicts karma better than the reply's length alone and than its own
    rewards shuffled; ``fail`` ends the run with exit code 3."""

    @field_validator("reward_beats_length", mode="before")
    @classmethod
    def _off_without_quotes(cls, value: Any) -> Any:
        """YAML reads a bare ``off`` as false."""
        return "off" if value is False else value


class Registry(Section):
    """Which of a variant's models MLflow's registry calls ``best``; part of no stage's key."""

    reward: Literal["spearman", "pair_accuracy", "f1", "calibration_error"] = "spearman"
    """The metric on test threads by which reward models are compared."""
    policy: str = "primary"
    """What policies are compared by: ``primary``, the mean score on the report's primary
    benchmarks; ``gold``, the gold reward at the end of training; or a benchmark's name."""


class Recipe(Section):
    """The whole experiment."""

    seeds: Annotated[tuple[Seed, ...], AfterValidator(distinct)] = (0,)
    """One policy, one starting policy and one reward model of each kind is trained per seed."""
    compute: Literal["cpu", "cuda"] = "cpu"
    """Where models are trained and evaluated; ``cuda`` without a GPU is an error, never a CPU."""
    slots: int | None = Field(default=None, ge=1)
    """How many jobs run at once; by default as many as there are cores, each with 3 GiB of memory
    (part of no key)."""
    time_limits: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Seconds, by stage, after which a job of the stage is ended; its instance has failed then, and
    the next run goes on where it stopped (part of no key)."""
    pools: dict[str, Annotated[str, Field(pattern=r"^[\w.-]+$")]] = Field(default_factory=dict)
    """By stage, the Prefect work pool whose workers run its jobs, of the stages that are trained
    (part of no key)."""
    runner: Literal["threads", "dask"] = "threads"
    """Where jobs run that are on no pool: here, or on a Dask cluster, which is for fan-outs wider
    than one machine (part of no key)."""
    world: WorldRecipe = WorldRecipe()
    dumps: DumpsRecipe
    threads: ThreadsRecipe = ThreadsRecipe()
    labels: LabelsRecipe = LabelsRecipe()
    prompts: PromptsRecipe
    base: BaseRecipe
    sft: SftRecipe = SftRecipe()
    reward: RewardRecipe = RewardRecipe()
    policy: TuningRecipe = TuningRecipe()
    evals: EvalsRecipe
    report: ReportRecipe = ReportRecipe()
    gates: Gates = Gates()
    registry: Registry = Registry()

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        """There are dumps, none named twice, and what is named elsewhere is declared."""
        if not self.dumps.comments and not self.dumps.corpora:
            raise ValueError(
                "dumps.comments is missing: name files, world for the simulator's, or dumps.corpora"
            )
        _distinct("dumps.comments", self.dumps.comments)
        _distinct("dumps.submissions", self.dumps.submissions)
        _distinct("dumps.corpora", self.dumps.corpora)
        _known("time_limits", tuple(self.time_limits), tuple(STAGES))
        _known("pools", tuple(self.pools), tuple(s for s in STAGES if STAGES[s].trained))
        if self.policy.exposures != "all":
            _known("policy.exposures", self.policy.exposures, EXPOSURES)
        if self.policy.variants != "all":
            _known("policy.variants", self.policy.variants, tuple(self.reward.variants))
        asked = self.evals.benchmarks
        benchmarks = tuple(BENCHMARKS) if asked == "all" else tuple(asked)
        if self.report.primary != "pragmatics":
            _known("report.primary", self.report.primary, benchmarks)
        _known("registry.policy", (self.registry.policy,), ("primary", "gold", *benchmarks))
        return self

    @model_validator(mode="after")
    def _paths_are_possible(self) -> Self:
        """No path is one that no disk can hold; whether there is something is asked by a plan."""
        dumps, backbone = self.dumps, self.reward.backbone
        classifier = self.evals.toxicity.classifier
        for field, value in {
            "dumps.comments": dumps.comments,
            "dumps.submissions": dumps.submissions,
            "dumps.corpora": dumps.corpora,
            "dumps.removed": dumps.removed,
            "prompts.unexposed.instructions": self.prompts.unexposed.instructions,
            "base.folder": self.base.folder,
            "reward.backbone.folder": backbone.folder if backbone else None,
            "evals.data": self.evals.data,
            "evals.toxicity.classifier.folder": classifier.folder if classifier else None,
            "evals.toxicity.rows": self.evals.toxicity.rows,
            "evals.lm_eval": self.evals.lm_eval,
        }.items():
            for path in value if isinstance(value, tuple) else (value,):
                if path is not None:
                    _possible(field, path)
        return self

    @model_validator(mode="after")
    def _a_tiny_base_has_room(self) -> Self:
        """What a tiny base cannot hold is told here, not by the stage that asks it in an hour."""
        if self.base.tiny is None:
            return self
        context = self.base.tiny.context
        if self.reward.backbone is None and self.reward.max_tokens > context:
            raise ValueError(
                f"reward.max_tokens ({self.reward.max_tokens}) exceeds base.tiny.context "
                f"({context})"
            )
        for field, tokens in {
            "policy.max_new_tokens": self.policy.max_new_tokens,
            "evals.max_new_tokens": self.evals.max_new_tokens,
        }.items():
            if tokens >= context:
                raise ValueError(
                    f"{field} ({tokens}) leaves no room for a prompt in base.tiny.context "
                    f"({context})"
                )
        return self

    @property
    def exposures(self) -> tuple[str, ...]:
        """The exposures that policies are trained in."""
        return EXPOSURES if self.policy.exposures == "all" else tuple(self.policy.exposures)

    @property
    def policy_variants(self) -> tuple[str, ...]:
        """The reward variants that policies are trained on."""
        declared = tuple(self.reward.variants)
        return declared if self.policy.variants == "all" else tuple(self.policy.variants)

    def cards_here(self, stages: Iterable[str]) -> int:
        """How many cards of this machine a job of these stages wants at most; 0 if none."""
        here = {s for s in stages if STAGES[s].trained and s not in self.pools}
        if self.compute == "cpu" or not here:
            return 0
        return self.policy.processes if "policy" in here else 1


def _known(field: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{field} names {name!r}; {_nearest(name, known)}")


def _distinct(field: str, names: str | tuple[str, ...] | None) -> None:
    try:
        distinct(names or "none")
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None


def _possible(field: str, path: str) -> None:
    if not path:
        raise ValueError(f"{field}: it is empty; name a path, or leave the key out")
    raw = os.fsencode(path)
    longest = max(len(name) for name in raw.split(b"/"))
    if b"\0" in raw or len(raw) >= LONGEST_PATH or longest > LONGEST_NAME:
        raise ValueError(f"{field}: it is no path (it is too long, or holds a null byte)")


def load(path: Path, settings: list[str]) -> Recipe:
    """Read the recipe at ``path`` with each ``KEY=VALUE`` of ``settings`` put over it.

    Raises RecipeError naming the file, the key and what to do.
    """
    _, document = read(path)
    for setting in settings:
        put(document, setting)
    thing = " ".join([f"recipe {path}", *(f"--set {setting}" for setting in settings)])
    return check(Recipe, document, thing, "Correct it and run karma validate.")


def check(model: type[Checked], document: Any, thing: str, next_step: str) -> Checked:
    """``document`` as ``model``. Raises RecipeError with one sentence a mistake."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise RecipeError(thing, "; ".join(_explain(error, model)), next_step) from error


def _explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One sentence a mistake: where, what, and the nearest key if one is unknown."""
    sentences = []
    for mistake in error.errors():
        place = ".".join(str(part) for part in mistake["loc"])
        if mistake["type"] == "extra_forbidden":
            known = _fields_at(model, tuple(mistake["loc"][:-1]))
            sentences.append(f"{place} is no known key; {_nearest(str(mistake['loc'][-1]), known)}")
        elif mistake["type"] == "missing":
            sentences.append(f"{place} is missing")
        else:
            message = _plainly(mistake["type"], mistake["input"]) or mistake["msg"]
            message = message.removeprefix("Value error, ")
            sentences.append(f"{place}: {message}" if place else message)
    return sentences


def _plainly(kind: str, given: Any) -> str:
    """What pydantic says in Python's words, in YAML's; nothing for other mistakes."""
    if kind == "tuple_type":
        one = given if isinstance(given, str | int | float) else "a, b"
        return f"write a list, such as [{one}]"
    return "it is a section, with keys of its own" if kind.startswith("model_") else ""


def _fields_at(model: type[BaseModel], place: tuple[str | int, ...]) -> tuple[str, ...]:
    """The keys that the section at ``place`` below ``model`` knows."""
    for part in place:
        field = model.model_fields.get(str(part))
        if field is not None:
            model = section_of(field.annotation) or model
    return tuple(model.model_fields)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, also below ``| None``, ``dict`` and ``tuple``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (dict, tuple, list, Union, types.UnionType):
        return next((found for a in get_args(annotation) if (found := section_of(a))), None)
    return None


def _nearest(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
