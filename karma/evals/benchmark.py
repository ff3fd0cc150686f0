"""What a benchmark is: items read from files, rows made of them by asking a model, scores.

A benchmark's module holds one ``BENCHMARK``. ``read`` turns files into items and counts the rows
that cannot be used; ``evaluate`` asks a model and says what came out, item by item.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np

from karma.evals.model import LanguageModel
from karma.evals.settings import RULES, EvalsSettings


class Broken(TypedDict):
    """A row of a benchmark's file that was not used, and why."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True)
class Item:
    """One question, before a template makes it a prompt.

    ``id`` is unique in the benchmark and says where the row stands in its file. ``group`` is what
    the bootstrap resamples: items of one group come from one source. ``category`` is a part that
    is reported by itself (a subject, a kind of bias).
    """

    id: str
    group: str
    fields: dict[str, str] = field(default_factory=dict)
    """What a template may name."""
    category: str = ""
    gold: int | None = None
    """Index of the right choice, if there is one."""
    choices: tuple[str, ...] = ()
    """The item's own choices; none if the template has them."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What only its own benchmark understands."""


class Template(NamedTuple):
    """One wording of a benchmark's question (``karma.evals.template`` loads it)."""

    name: str
    prompt: str
    choices: tuple[str, ...]

    def write(self, item: Item) -> tuple[str, tuple[str, ...]]:
        """The prompt and the choices of an item: the wording's own, or else the item's."""
        own = tuple(choice.format_map(item.fields) for choice in self.choices)
        return self.prompt.format_map(item.fields), own or item.choices


class Read(NamedTuple):
    """What ``read`` found."""

    items: list[Item]
    broken: list[Broken]


@dataclass(frozen=True)
class Row:
    """One item's result.

    ``raw``, ``per_token`` and ``per_byte`` are the choices' log-likelihoods in nats: whole, and
    divided by the choice's tokens and UTF-8 bytes. ``values`` are the item's own metrics.
    """

    item: Item
    template: str
    prompt: str
    """What the model read, a chat template included."""
    cut: bool
    """Whether the prompt was too long and lost its beginning."""
    choices: tuple[str, ...] = ()
    raw: tuple[float, ...] = ()
    per_token: tuple[float, ...] = ()
    per_byte: tuple[float, ...] = ()
    prediction: int | None = None
    generations: tuple[str, ...] = ()
    generation_scores: tuple[dict[str, float], ...] = ()
    """One dict for each generation."""
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One model on one benchmark: everything that ``evaluate`` may use."""

    benchmark: str
    settings: EvalsSettings
    seed: int
    model: LanguageModel
    inputs: dict[str, Path]
    progress: Callable[[float, float, str], None]
    template: Template
    """The wording that is asked; ``evaluate`` is called once for each."""


class Result(NamedTuple):
    """What ``evaluate`` found: a row for each item, and the metrics of all of them."""

    rows: list[Row]
    scores: dict[str, float]


@dataclass(frozen=True)
class Benchmark:
    """One benchmark."""

    kind: str
    primary: str
    """The metric that comparisons use: the mean of ``values[primary]`` over the items."""
    higher_is_better: bool
    read: Callable[[Path], Read]
    evaluate: Callable[[Cell, list[Item]], Result]
    role: str = "data"
    """Which of the job's inputs ``read`` is given."""
    ideal: float | None = None
    """The best value of the primary metric, where it is neither the highest nor the lowest."""
    by_likelihood: bool = True
    """Whether choices are scored: then there are several wordings, and the metric is computed by
    each rule."""

    def metric(self, rule: str) -> str:
        """The primary metric's name under a rule of how log-likelihoods are compared."""
        return self.primary + RULES[rule] if self.by_likelihood else self.primary


def limit(items: Sequence[Item], most: int | None) -> list[Item]:
    """At most ``most`` items, the first by the SHA-256 of their ids, in their old order.

    The choice depends on nothing but the ids, so every model is asked the same items.
    """
    if most is None or len(items) <= most:
        return list(items)
    kept = set(sorted((item.id for item in items), key=stable)[:most])
    return [item for item in items if item.id in kept]


def stable(text: str) -> str:
    """The SHA-256 of a text in hex: an order and a split that never change."""
    return hashlib.sha256(text.encode()).hexdigest()


def means(rows: Sequence[Row]) -> dict[str, float]:
    """The mean of each value over the items that have it."""
    names = dict.fromkeys(name for row in rows for name in row.values)
    return {n: float(np.mean([r.values[n] for r in rows if n in r.values])) for n in names}


def by_category(rows: Sequence[Row], name: str) -> dict[str, float]:
    """The mean of the value ``name`` in each category, as ``name/category``."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row.item.category, []).append(row.values[name])
    return {f"{name}/{part}": float(np.mean(found[part])) for part in sorted(found)}
