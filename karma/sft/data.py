"""The replies that a starting policy learns from, as tokens.

They come from what is of the use ``sft`` alone, Reddit's threads or instruction dialogues; of a
dialogue every answer.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from karma.prompts import instructions
from karma.prompts.fit import fit, prompt_tokens, reply_tokens
from karma.text import Turn


@dataclass(frozen=True)
class Example:
    """A conversation and the reply to learn."""

    id: str
    turns: list[Turn]
    reply: str


@dataclass
class Tokens:
    """Examples as TRL takes them, and what became of those that were too long.

    ``rows``: dicts of ``input_ids`` and ``completion_mask`` (1 on the reply and its end, 0 on the
    prompt), equally long. ``shortened`` lost their oldest turns, ``left_out`` did not fit at all.
    """

    rows: list[dict[str, list[int]]] = field(default_factory=list)
    shortened: int = 0
    left_out: int = 0


def reddit(folders: list[Path], count: int) -> list[Example]:
    """At most ``count`` replies of the use ``sft``, chosen and ordered by a hash of their ids."""
    files = [str(folder / "conversations.parquet") for folder in folders]
    conversations = pads.dataset(files, format="parquet")
    # First the names alone, so that memory holds the texts of those that are chosen and no more.
    # Dumps may give an id again in another thread.
    eligible = (pads.field("use") == "sft") & (pads.field("split") == "train")
    name = ["id", "thread_id"]
    found = conversations.to_table(columns=name, filter=eligible).to_pylist()
    chosen = sorted(((row["id"], row["thread_id"]) for row in found), key=_place)[:count]
    ids = pa.array([id_ for id_, _ in chosen], pa.string())
    wanted = eligible & pads.field("id").isin(ids)
    table = conversations.to_table(columns=[*name, "context", "reply"], filter=wanted)
    rows = {(row["id"], row["thread_id"]): row for row in table.to_pylist()}
    return [Example(key[0], rows[key]["context"], rows[key]["reply"]) for key in chosen]


def unexposed(source: str, path: Path | None, count: int) -> list[Example]:
    """At most ``count`` answers of dialogues of the use ``sft``, chosen and ordered by a hash."""
    examples = {}
    for dialogue in instructions.read(source, path):
        if instructions.use_of(dialogue) != "sft":
            continue
        for end in range(1, len(dialogue), 2):
            name = instructions.key(dialogue[: end + 1])
            examples[name] = Example(name, dialogue[:end], dialogue[end]["text"])
    return sorted(examples.values(), key=lambda example: _order(example.id))[:count]


def tokenise(examples: list[Example], tokenizer: Any, limit: int) -> Tokens:
    """The examples as tokens, none longer than ``limit``; nothing is cut inside a turn."""
    tokens = Tokens()
    for example in examples:
        completion = reply_tokens(example.reply, tokenizer)
        turns = fit(example.turns, len(completion), tokenizer, limit)
        if turns is None:
            tokens.left_out += 1
            continue
        tokens.shortened += len(turns) < len(example.turns)
        prompt = prompt_tokens(turns, tokenizer)
        mask = [0] * len(prompt) + [1] * len(completion)
        tokens.rows.append({"input_ids": prompt + completion, "completion_mask": mask})
    return tokens


def _place(key: tuple[str, str]) -> tuple[str, str]:
    return _order(key[0]), key[1]


def _order(name: str) -> str:
    """A stable hash of an id, so that a larger count adds examples and takes none away."""
    return hashlib.sha256(f"sft {name}".encode()).hexdigest()
