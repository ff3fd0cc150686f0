"""The recipe's section ``reward``: what is learnt, from how much, and what each variant may see."""

import re
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from karma.section import Section, how, one_model

SlotField = Literal["subreddit", "depth", "delay", "hour", "parent_score"]

# What a variant is when the recipe gives only its name.
DEFAULTS: dict[str, dict[str, Any]] = {
    "context": {"kind": "model", "context": True},
    "metadata": {
        "kind": "model",
        "context": True,
        "fields": ["subreddit", "depth", "delay", "hour", "parent_score"],
    },
    "reply": {"kind": "model"},
    "random": {"kind": "random"},
    "length": {"kind": "length"},
}

# Words that stand for something else where a variant's name may stand.
RESERVED = ("gold", "all")


class Objective(Section):
    """The weights of what a trained reward model minimises."""

    pairs: float = Field(default=1.0, ge=0)
    """Weight of the Bradley-Terry loss on pairs of replies to the same parent."""
    regression: float = Field(default=0.5, ge=0)
    """Weight of the squared error against the reply's normalised valuation."""
    margin: float = Field(default=0.5, ge=0)
    """How far apart a pair's rewards must be, in units of the difference of its targets."""
    center: float = Field(default=0.01, ge=0)
    """Weight that keeps the two rewards of a pair centred around zero."""

    @model_validator(mode="after")
    def _something(self) -> "Objective":
        if self.pairs == 0 and self.regression == 0:
            raise ValueError("pairs and regression are both 0, so nothing would be learnt")
        return self


class Variant(Section):
    """What one variant sees and how it comes to its reward."""

    kind: Literal["model", "random", "length", "sum"] = "model"
    """A trained model, a hash of (seed, prompt, reply), the reply's length, or a weighted sum."""
    context: bool = False
    """Whether the view holds the conversation before the reply."""
    fields: list[SlotField] = Field(default_factory=list)
    """The metadata that the view holds."""
    max_tokens: PositiveInt | None = None
    """Longest view in tokens; without it, the section's own."""
    terms: dict[str, float] = Field(default_factory=dict)
    """For a sum: variant to weight; each term is standardised before it is weighted."""

    @model_validator(mode="after")
    def _consistent(self) -> "Variant":
        if (self.kind == "sum") != bool(self.terms):
            raise ValueError("kind sum needs terms, and only kind sum has them")
        if self.kind != "model" and (self.context or self.fields or self.max_tokens):
            raise ValueError(
                f"kind {self.kind} has no view: context, fields, max_tokens do nothing"
            )
        return self


class Backbone(Section):
    """Another model than ``base`` to train the reward models from: a ``model`` or a ``folder``."""

    model: str | None = None
    """A model of the Hugging Face hub; needs ``revision``."""
    revision: str | None = None
    """The hub model's full revision, 40 hex digits (``karma pin RECIPE`` writes it)."""
    folder: str | None = None
    """A local folder in the Hugging Face format, with weights as safetensors."""

    @model_validator(mode="after")
    def _one_source(self) -> "Backbone":
        one_model(self.model, self.revision, self.folder)
        return self


class RewardRecipe(Section):
    """How reward models are trained and measured."""

    objective: Objective = Objective()
    """What a trained variant minimises; the same for all, so that they can be compared."""
    variants: dict[str, Variant] = Field(
        default_factory=lambda: {
            name: Variant() for name in ("context", "metadata", "reply", "random")
        },
        min_length=1,
    )
    """Name to declaration; the name of a default needs none (``context: {}``)."""
    gold: str = "context"
    """The variant whose view the gold reward has; it learns from threads that nobody optimises."""
    backbone: Backbone | None = None
    """What the reward models start from; null is the recipe's ``base``."""
    epochs: PositiveInt = 1
    """How often each reply is seen."""
    lr: PositiveFloat = 1e-5
    """Peak of the learning rate: warm-up over 5 % of the steps, then linear to zero."""
    batch: PositiveInt = 64
    """Replies in an optimiser step, about; the replies of one parent stay together."""
    accumulate: PositiveInt = 1
    """Passes that a step's replies are spread over, to save memory."""
    max_tokens: PositiveInt = 1024
    """Longest view in tokens; the oldest turns are dropped first."""
    rows: PositiveInt = 200_000
    """Most replies to train on, chosen by a stable hash, all replies of a parent together."""
    pairs: PositiveInt = 400_000
    """Most pairs to train on, chosen by a stable hash."""
    heldout: PositiveInt = 20_000
    """Most replies of each held-out split."""
    resamples: PositiveInt = 500
    """Bootstrap resamples of threads behind each interval."""
    checkpoint_steps: int = how(200, ge=1)
    """Steps between checkpoints, from which interrupted training resumes."""

    @model_validator(mode="after")
    def _known(self) -> "RewardRecipe":
        for name in [*self.variants, self.gold]:
            declared(name, self.variants)
        return self


def declared(name: str, variants: dict[str, Variant]) -> dict[str, Any]:
    """The whole declaration of variant ``name``, defaults filled in, with its ``name``.

    What ``variants`` says of a default changes only the keys that it names. A sum's terms become
    ``{term: {"weight": w, "variant": declaration}}``. Raises ValueError for a name that is neither
    a default nor declared, and for a sum of sums.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or name in RESERVED:
        raise ValueError(
            f"variant name {name!r} must be small letters, digits, _ or -, begin with a letter, "
            f"and be none of {', '.join(RESERVED)}"
        )
    said = variants[name].model_dump(exclude_unset=True) if name in variants else {}
    if not said and name not in DEFAULTS:
        known = ", ".join(sorted({*DEFAULTS, *variants} - {name}))
        raise ValueError(
            f"unknown variant {name!r}. Known are {known}; "
            f"or declare it, as in {name}: {{kind: model, context: true}}"
        )
    document = Variant.model_validate({**DEFAULTS.get(name, {}), **said}).model_dump(mode="json")
    terms = {}
    for term, weight in document["terms"].items():
        inner = {} if term == name else declared(term, variants)
        if inner.get("kind", "sum") == "sum":
            raise ValueError(f"variant {name!r}: term {term!r} is itself a sum")
        terms[term] = {"weight": weight, "variant": inner}
    return {**document, "name": name, "terms": terms}
