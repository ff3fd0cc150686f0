"""What a reward model sees of a reply: one rendering for training, evaluation, PPO and scoring.

A view's text is a header of metadata (if the variant declares fields), the conversation (if it
declares context) and the reply, ended by the tokenizer's end token::

    r/jokes d2 +8m @15h p16
    Post: What is the best pun?
    Comment: I have two.
    Reply: Tell me both.

``d2``: depth, ``+8m``: time since the parent, ``@15h``: hour (UTC), ``p16``: the parent's score.
Numbers are rounded towards zero to a power of two, hours to a multiple of three, so that a small
model sees each value often; ``?`` is unknown.

A view that is too long loses its oldest turns, but never the post's title; if title and reply alone
are too long, the reply's end is cut. Both are counted.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from transformers import PreTrainedTokenizerBase

from karma.text import Turn, render


class Slot(TypedDict):
    """The metadata of the place where a reply stands; None is unknown."""

    subreddit: str | None
    depth: float | None
    delay: float | None
    hour: float | None
    parent_score: float | None


SLOT_FIELDS = ("subreddit", "depth", "delay", "hour", "parent_score")


def slot_of(values: Mapping[str, Any]) -> Slot:
    """The slot among other values, such as a row's; a field that they lack is unknown."""
    return {
        "subreddit": values.get("subreddit"),
        "depth": values.get("depth"),
        "delay": values.get("delay"),
        "hour": values.get("hour"),
        "parent_score": values.get("parent_score"),
    }


@dataclass(frozen=True)
class View:
    """What one variant sees, as text and as tokens.

    ``neutral`` stands in where a prompt has no slot; None where the view has no fields.
    """

    context: bool
    fields: tuple[str, ...]
    max_tokens: int
    neutral: Slot | None

    def text(self, turns: Sequence[Turn], reply: str, slot: Slot | None) -> str:
        """The view as text, nothing cut."""
        body = render(turns if self.context else []) + " " + reply.strip()
        if not self.fields:
            return body
        place = slot or self.neutral
        assert place is not None, "a view with fields has a neutral slot"
        # The recipe allows the slot's fields only, which the type checker cannot see.
        header = " ".join(FIELDS[name](place[name]) for name in self.fields)  # type: ignore[literal-required]
        return header + "\n" + body

    def encode(
        self,
        tokenizer: PreTrainedTokenizerBase,
        turns: Sequence[Sequence[Turn]],
        replies: Sequence[str],
        slots: Sequence[Slot | None],
    ) -> tuple[list[list[int]], Counter[str]]:
        """The views of many replies as token ids, each at most ``max_tokens`` long.

        Also counts the rows whose oldest turns were dropped (``turns_dropped``) and whose reply
        had to be cut as well (``reply_cut``).
        """
        kept = [list(row) if self.context else [] for row in turns]
        rows = range(len(kept))
        ids: list[list[int]] = [[] for _ in rows]
        todo, counts = list(rows), Counter({"rows": len(kept), "turns_dropped": 0, "reply_cut": 0})
        while todo:
            texts = [self.text(kept[i], replies[i], slots[i]) for i in todo]
            for i, encoded in zip(todo, _tokens(tokenizer, texts), strict=True):
                ids[i] = encoded
            todo = [i for i in todo if len(ids[i]) > self.max_tokens and _drop_oldest(kept[i])]
        for i in rows:
            counts["turns_dropped"] += self.context and len(kept[i]) < len(turns[i])
            if len(ids[i]) > self.max_tokens:
                ids[i] = ids[i][: self.max_tokens - 1] + ids[i][-1:]
                counts["reply_cut"] += 1
        return ids, counts


def _drop_oldest(turns: list[Turn]) -> bool:
    """Drop the oldest turn that is no title, in place; False if there is none."""
    for position, turn in enumerate(turns):
        if turn["role"] != "title":
            del turns[position]
            return True
    return False


def _tokens(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Token ids of each text, ended by the end token if the tokenizer has one.

    Special tokens that are spelt out in a text are read as plain text: a reply that says ``<pad>``
    must not move the place where the reward is read.
    """
    # Without verbose=False a text longer than the model's limit warns, although it is cut later.
    encoded = tokenizer(texts, split_special_tokens=True, verbose=False)["input_ids"]
    end = tokenizer.eos_token_id
    if end is None:
        return encoded
    return [ids if ids and ids[-1] == end else [*ids, end] for ids in encoded]


def _power(value: float) -> int:
    """``value`` rounded towards zero to 0 or a power of two with its sign."""
    size = int(abs(value))
    rounded = 1 << (size.bit_length() - 1) if size else 0
    return rounded if value >= 0 else -rounded


def _delay(seconds: float) -> str:
    """A time span as the largest unit that it fills, in powers of two: 8m is 8 to 16 minutes."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{_power(seconds / length)}{unit}"
    return f"{_power(max(seconds, 0))}s"


# How each field of a slot is written.
FIELDS: dict[str, Callable[[Any], str]] = {
    "subreddit": lambda value: f"r/{'?' if value is None else value}",
    "depth": lambda value: f"d{'?' if value is None else min(int(value), 16)}",
    "delay": lambda value: f"+{'?' if value is None else _delay(value)}",
    "hour": lambda value: f"@{'?' if value is None else int(value) // 3 * 3}h",
    "parent_score": lambda value: f"p{'?' if value is None else _power(value)}",
}
