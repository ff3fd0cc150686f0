"""The rows and pairs that a reward model learns from and is measured on."""

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import Any

from karma.errors import InputError
from karma.jobs import Job
from karma.reward.recipe import RewardRecipe
from karma.reward.views import Slot, slot_of
from karma.sql import connect, plain, statement
from karma.text import Turn

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Row:
    """One reply, how it was valued, and where it stands."""

    id: str
    thread_id: str
    subreddit: str
    split: str
    score: int
    valuation: float
    level: int
    age: int | None
    context: list[Turn]
    reply: str
    slot: Slot


@dataclass(frozen=True)
class Split:
    """The rows of one split, and pairs of positions in them, the preferred one first."""

    rows: list[Row]
    pairs: list[tuple[int, int]]


def read(job: Job, recipe: RewardRecipe, use: str) -> dict[str, Split]:
    """The three splits; ``train`` holds the threads whose use is ``use``.

    Raises InputError if a split has no rows.
    """
    labels, threads = job.inputs["labels"], list(job.fan_in("threads").values())
    connection = connect([labels, *threads], job.scratch)
    caps = {"train": recipe.rows, "heldout": recipe.heldout}
    files = {
        "valuations": plain(labels / "valuations.parquet"),
        "conversations": [plain(folder / "conversations.parquet") for folder in threads],
    }
    answer = connection.execute(statement("reward/rows"), {**files, **caps, "use": use})
    names = [column[0] for column in answer.description]
    rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for values in answer.fetchall():
        row = _row(dict(zip(names, values, strict=True)))
        rows[row.split].append(row)
    for split in SPLITS:
        if not rows[split]:
            raise _empty(split, use)
    chosen = [row for split in SPLITS for row in rows[split]]
    pairs = connection.execute(
        statement("reward/pairs"),
        {
            "pairs": plain(labels / "pairs.parquet"),
            "threads": [row.thread_id for row in chosen],
            "ids": [row.id for row in chosen],
        },
    ).fetchall()
    connection.close()
    found = _places(rows, pairs)
    found["train"] = found["train"][: recipe.pairs]
    return {split: Split(rows[split], found[split]) for split in SPLITS}


def neutral(rows: list[Row]) -> Slot:
    """The slot for prompts that have none: the most frequent subreddit, medians of the rest."""
    counts = Counter(row.subreddit for row in rows)
    return {
        "subreddit": min(counts, key=lambda name: (-counts[name], name)),
        "depth": _median([row.slot["depth"] for row in rows]),
        "delay": _median([row.slot["delay"] for row in rows]),
        "hour": _median([row.slot["hour"] for row in rows]),
        "parent_score": _median([row.slot["parent_score"] for row in rows]),
    }


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(median(known)) if known else None


def _row(values: dict[str, Any]) -> Row:
    keys = ("id", "thread_id", "subreddit", "split", "score", "valuation", "level", "age")
    return Row(
        **{key: values[key] for key in keys},
        context=values["context"],
        reply=values["reply"],
        slot=slot_of(values),
    )


def _places(
    rows: dict[str, list[Row]], pairs: list[tuple[str, str, str, str]]
) -> dict[str, list[tuple[int, int]]]:
    """The pairs of each split as positions in its rows."""
    places = {
        split: {(row.thread_id, row.id): place for place, row in enumerate(rows[split])}
        for split in SPLITS
    }
    found: dict[str, list[tuple[int, int]]] = {split: [] for split in SPLITS}
    for thread, preferred, rejected, split in pairs:
        found[split].append((places[split][thread, preferred], places[split][thread, rejected]))
    return found


def _empty(split: str, use: str) -> InputError:
    wanted = f"threads of use {use!r} in split 'train'" if split == "train" else f"split {split!r}"
    return InputError(
        "reward",
        f"there are no labelled replies among the {wanted}",
        "Add dumps, loosen the filters under threads and labels, or raise reward.rows and "
        "reward.heldout.",
    )
