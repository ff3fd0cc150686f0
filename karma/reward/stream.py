"""Scores JSON lines with a reward model: one line in, one line out, in order.

A line in is an object with ``reply`` and what the model sees: ``context`` (a list of turns, oldest
first, each with ``role`` and ``text``) and the fields of its view, null where unknown; ``id`` is
passed on, other keys are ignored, so that rows of ``conversations.parquet`` can be given as they
are. A line out holds ``line`` (from 1), ``id`` if there was one, ``reward`` (standardised) and, for
a weighted sum, ``terms``; for a record that cannot be scored, ``reward`` is null and ``error`` says
why, ``id`` too if it can be read.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO, Literal, TextIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from karma.errors import InputError
from karma.reward.score import RewardModel
from karma.reward.views import SLOT_FIELDS, Slot, slot_of
from karma.text import Turn

SECONDS = 5.0  # between two lines of progress

Say = Callable[[str], None]


class GivenTurn(BaseModel):
    """One turn as a record gives it."""

    model_config = ConfigDict(strict=True)
    role: Literal["title", "text", "comment", "user", "assistant"]
    text: str


class Given(BaseModel):
    """One record as it is given; which keys it must hold, the model decides."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    id: str | int | None = None
    context: list[GivenTurn] = []
    reply: str
    subreddit: str | None = None
    depth: float | None = Field(default=None, ge=0)
    delay: float | None = None
    hour: float | None = Field(default=None, ge=0, lt=24)
    parent_score: float | None = None


class Named(BaseModel):
    """What is read of a record that cannot be scored."""

    model_config = ConfigDict(strict=True)
    id: str | int


class BadRecordError(Exception):
    """A record that cannot be scored; the message says why."""


@dataclass
class Tally:
    """What became of the records."""

    scored: int = 0
    refused: int = 0
    began: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        total = self.scored + self.refused
        rate = total / max(time.monotonic() - self.began, 1e-9)
        return f"{self.scored} of {total} records scored, {rate:.0f} a second"


@dataclass(frozen=True)
class Reader:
    """Turns a line into a record of what ``model`` sees."""

    model: RewardModel
    neutral: bool

    def __call__(self, line: bytes) -> tuple[Given, Slot | None]:
        """The record and its slot. Raises BadRecordError."""
        try:
            given = Given.model_validate_json(line.strip())
        except ValidationError as error:
            raise BadRecordError(_first(error)) from None
        needs = self.model.scorer.needs - given.model_fields_set
        missing = [name for name in ("context", *SLOT_FIELDS) if name in needs]
        if missing and not (self.neutral and set(missing) <= set(SLOT_FIELDS)):
            more = "; --neutral puts in the view's own" if set(missing) <= set(SLOT_FIELDS) else ""
            raise BadRecordError(f"it lacks {', '.join(missing)}, which the model sees{more}")
        return given, self._slot(given)

    def _slot(self, given: Given) -> Slot | None:
        """The place of the reply, missing fields from the neutral slot."""
        held = given.model_dump(include=given.model_fields_set & set(SLOT_FIELDS))
        if self.neutral:
            held = {**(self.model.scorer.neutral or {}), **held}
        return slot_of(held)


def score_lines(
    model: RewardModel,
    source: BinaryIO,
    sink: TextIO,
    say: Say,
    *,
    batch: int,
    neutral: bool,
    strict: bool,
) -> Tally:
    """Score ``source`` line by line into ``sink``, ``batch`` records at a time.

    ``neutral`` lets the view's neutral slot stand in for fields that a record lacks. A bad record
    is told by ``say`` and the next one follows; with ``strict`` it raises InputError instead, after
    the records before it were written.
    """
    read, tally = Reader(model, neutral), Tally()
    told = tally.began
    for lines in _batches(source, batch):
        entries = [_entry(read, number, line) for number, line in lines]
        stop = next((n for n, e in enumerate(entries) if strict and "error" in e[0]), None)
        _write(model, entries[:stop], sink, say, tally)
        if stop is not None:
            raise InputError(
                f"line {entries[stop][0]['line']}",
                entries[stop][0]["error"],
                f"Correct it, or leave out --strict to go on without it. {tally}.",
            )
        if time.monotonic() - told > SECONDS:
            told = time.monotonic()
            say(str(tally))
    say("; ".join([str(tally), *_told(tally.refused, model.cut)]))
    return tally


def _told(refused: int, cut: Counter[str]) -> list[str]:
    """What else is said at the end, where it is not nothing."""
    counts = {
        "refused": refused,
        "lost their oldest turns": cut["turns_dropped"],
        "lost the end of the reply": cut["reply_cut"],
    }
    return [f"{count} {words}" for words, count in counts.items() if count]


Entry = tuple[dict[str, Any], tuple[Given, Slot | None] | None]


def _batches(lines: Iterable[bytes], size: int) -> Iterator[list[tuple[int, bytes]]]:
    numbered = enumerate(lines, start=1)
    while found := list(islice(numbered, size)):
        yield found


def _entry(read: Reader, number: int, line: bytes) -> Entry:
    """What the line out begins with, and the record if it can be scored."""
    try:
        given, slot = read(line)
    except BadRecordError as error:
        return {"line": number, **_id(line), "reward": None, "error": str(error)}, None
    head: dict[str, Any] = {"line": number}
    return (head | {"id": given.id} if given.id is not None else head), (given, slot)


def _id(line: bytes) -> dict[str, str | int]:
    """The record's ``id``; {} if it has none that can be read."""
    try:
        return {"id": Named.model_validate_json(line).id}
    except ValidationError:
        return {}


def _write(model: RewardModel, entries: list[Entry], sink: TextIO, say: Say, tally: Tally) -> None:
    """Score the good records of a batch together; write all lines in the order given."""
    good = [record for _, record in entries if record is not None]
    turns = [[Turn(role=t.role, text=t.text) for t in given.context] for given, _ in good]
    replies, slots = [given.reply for given, _ in good], [slot for _, slot in good]
    rewards, terms = model.explained(turns, replies, slots)
    place = 0
    for head, record in entries:
        line = head
        if record is None:
            say(f"line {head['line']}: {head['error']}")
            tally.refused += 1
        else:
            line = {**head, "reward": rewards[place]}
            if terms:
                line["terms"] = {name: values[place] for name, values in terms.items()}
            place += 1
            tally.scored += 1
        sink.write(json.dumps(line, ensure_ascii=False) + "\n")
    sink.flush()


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, by its place."""
    fault = error.errors(include_url=False)[0]
    if fault["loc"][:1] == ("id",):
        return "id: it should be a string or a whole number"
    place = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing" and place == "reply":
        return "it lacks reply"
    # A record is one line, and which one is said beside it.
    words = re.sub(r" at line 1 (column \d+)$", r" at \1", fault["msg"])
    words = words[:1].lower() + words[1:]
    return f"{place}: {words}" if place else f"it is no JSON object that can be read ({words})"
