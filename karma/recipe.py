"""A recipe: one YAML file an experiment, its sections named by stage.

Reading one checks everything that can be checked without the inputs: an unknown key is an error
with the nearest known one, and each mistake is told by its place in the file.
"""

import difflib
import types
from pathlib import Path
from typing import Any, Literal, Self, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from karma.base.recipe import BaseRecipe
from karma.dumps.recipe import DumpsRecipe
from karma.errors import RecipeError
from karma.evals.recipe import EvalsRecipe
from karma.labels.recipe import LabelsRecipe
from karma.policy.recipe import PolicyRecipe
from karma.prompts.recipe import PromptsRecipe
from karma.report.recipe import ReportRecipe
from karma.reward.recipe import RewardRecipe
from karma.section import Section
from karma.sft.recipe import SftRecipe
from karma.threads.recipe import ThreadsRecipe
from karma.world.recipe import WorldRecipe

EXPOSURES = ("reddit", "unexposed")


class Gates(Section):
    """What a run's results must meet; part of no stage's key."""

    reward_beats_length: Literal["off", "warn", "fail"] = "warn"
    """Every trained reward predicts karma better than the reply's length alone and than its own
    rewards shuffled; ``fail`` ends the run with exit code 3."""


class Recipe(Section):
    """The whole experiment."""

    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """One policy, one start and one reward model of each kind is trained for each seed."""
    compute: Literal["cpu", "cuda"] = "cpu"
    """Where models are trained and evaluated; ``cuda`` without a card is an error, never a CPU."""
    slots: int | None = Field(default=None, ge=1)
    """How many jobs run at once; by default as many as there are cores (part of no key)."""
    world: WorldRecipe = WorldRecipe()
    dumps: DumpsRecipe
    threads: ThreadsRecipe = ThreadsRecipe()
    labels: LabelsRecipe = LabelsRecipe()
    prompts: PromptsRecipe
    base: BaseRecipe
    sft: SftRecipe = SftRecipe()
    reward: RewardRecipe = RewardRecipe()
    policy: PolicyRecipe = PolicyRecipe()
    evals: EvalsRecipe
    report: ReportRecipe = ReportRecipe()
    gates: Gates = Gates()

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        """There are dumps, and what ``policy`` names is declared."""
        if not self.dumps.comments and not self.dumps.corpora:
            raise ValueError(
                "dumps.comments is missing: name files, world for the simulator's, or dumps.corpora"
            )
        if self.policy.exposures != "all":
            _known("policy.exposures", self.policy.exposures, EXPOSURES)
        if self.policy.variants != "all":
            _known("policy.variants", self.policy.variants, tuple(self.reward.variants))
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


def _known(field: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{field} names {name!r}; {_nearest(name, known)}")


def load(path: Path, settings: list[str]) -> Recipe:
    """Read the recipe at ``path`` with each ``KEY=VALUE`` of ``settings`` put over it.

    Raises RecipeError naming the file, the key and what to do.
    """
    document = _read(path)
    for setting in settings:
        _put(document, setting)
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        raise RecipeError(
            f"recipe {path}", "; ".join(_explain(error)), "Mend it and run karma validate."
        ) from error


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error, not a silent override."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"the key {key!r} stands twice (line {line})")
            seen.add(key)
        return super().construct_mapping(node, deep)


def _read(path: Path) -> dict[str, Any]:
    try:
        # _UniqueKeys is a SafeLoader.
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)  # noqa: S506
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise RecipeError(f"recipe {path}", reason, "Check the path.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(f"recipe {path}", f"it is no YAML: {reason}", "Mend it.") from error
    if not isinstance(document, dict):
        raise RecipeError(f"recipe {path}", "it holds no sections", "Start from flows/recipes.")
    return document


def _put(document: dict[str, Any], setting: str) -> None:
    """Put ``a.b=value`` into the document; the value is YAML."""
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {setting}", "it is not KEY=VALUE", "Write --set policy.lr=1e-5.")
    *sections, last = key.split(".")
    for name in sections:
        below = document.setdefault(name, {})
        if below is None:
            below = document[name] = {}
        if not isinstance(below, dict):
            raise RecipeError(f"--set {setting}", f"{name} is no section", "Check the key.")
        document = below
    try:
        document[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {setting}", "the value is no YAML", "Quote it.") from error


def _explain(error: ValidationError) -> list[str]:
    """One sentence a mistake: where, what, and the nearest key if one is unknown."""
    sentences = []
    for mistake in error.errors():
        place = ".".join(str(part) for part in mistake["loc"])
        if mistake["type"] == "extra_forbidden":
            known = _fields_at(tuple(mistake["loc"][:-1]))
            sentences.append(f"{place} is no known key; {_nearest(str(mistake['loc'][-1]), known)}")
        elif mistake["type"] == "missing":
            sentences.append(f"{place} is missing")
        else:
            message = mistake["msg"].removeprefix("Value error, ")
            sentences.append(f"{place}: {message}" if place else message)
    return sentences


def _fields_at(place: tuple[str | int, ...]) -> tuple[str, ...]:
    """The keys that the section at ``place`` knows."""
    model: type[BaseModel] = Recipe
    for part in place:
        field = model.model_fields.get(str(part))
        if field is not None:
            model = _section(field.annotation) or model
    return tuple(model.model_fields)


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, also below ``| None``, ``dict`` and ``tuple``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (dict, tuple, list, Union, types.UnionType):
        return next((found for a in get_args(annotation) if (found := _section(a))), None)
    return None


def _nearest(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
