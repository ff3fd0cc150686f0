"""Reads instruction dialogues in the shapes that they come in.

FastChat and ShareGPT (``conversations`` of ``from`` and ``value``), Open-Assistant trees (the
best-ranked path of each), ``messages`` of ``role`` and ``content``, UltraChat (``data``: a list of
turns by turns, or one prompt). A file holds a JSON list or JSON lines. System messages are left
out; a dialogue ends before an empty turn or one of a third speaker.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from karma.errors import InputError, words
from karma.prompts.hub import pinned
from karma.text import Turn

Dialogue = list[Turn]
Use = Literal["test", "ppo", "sft"]

SPEAKERS = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}
NEXT = "Give a JSON list or JSON lines of dialogues (conversations, messages, data, or trees)."


def read(source: str, path: Path | None) -> list[Dialogue]:
    """All dialogues of a file (``path``) or, without one, of the hub's data set ``source``.

    Each starts with a user's turn and alternates. Raises InputError if the file or data set cannot
    be read or holds no dialogue.
    """
    rows = _file(path) if path is not None else _hub(source)
    name = str(path) if path is not None else source
    told = (_clean(_turns(row, name, number)) for number, row in enumerate(rows, start=1))
    dialogues = [dialogue for dialogue in told if dialogue]
    if not dialogues:
        raise InputError(name, "it holds no dialogue that begins with a user's turn", NEXT)
    return dialogues


def key(dialogue: Dialogue) -> str:
    """A stable hash of a dialogue's text, hexadecimal."""
    text = "\x1e".join(f"{turn['role']}\x1f{turn['text']}" for turn in dialogue)
    return hashlib.sha256(text.encode()).hexdigest()


def use_of(dialogue: Dialogue) -> Use:
    """What a dialogue is for: one in ten ``test``, three ``ppo``, six ``sft``.

    As with threads, no start, and no base trained here, learns the answers to the prompts that PPO
    asks of it. It hangs on the first turn, so that dialogues which open alike stay together.
    """
    digest = hashlib.sha256(f"held out {dialogue[0]['text']}".encode()).hexdigest()
    place = int(digest[:8], 16) % 10
    if place == 0:
        return "test"
    return "ppo" if place <= 3 else "sft"


def _file(path: Path) -> Iterator[Any]:
    """The rows of a JSON list or of JSON lines."""
    try:
        text = path.read_text(encoding="utf-8")
        if text.lstrip().startswith("["):
            yield from json.loads(text)
        else:
            # Not splitlines, which cuts at separators that may stand in a JSON string too.
            yield from (json.loads(line) for line in text.split("\n") if line.strip())
    except OSError as error:
        raise InputError(
            str(path), f"cannot be read ({error.strerror})", "Check the path."
        ) from None
    except UnicodeDecodeError:
        raise InputError(str(path), "is not UTF-8 text", NEXT) from None
    except json.JSONDecodeError as error:
        raise InputError(str(path), f"is not JSON ({error})", NEXT) from None


def _hub(source: str) -> Iterable[Any]:
    """The rows of a data set of the hub: its split for fine-tuning, or for training."""
    found = pinned(source)
    if found is None:
        raise InputError(
            source,
            "is neither a file nor a data set of the hub with its full revision",
            "Write name@<40 hex digits>; karma pin RECIPE does so.",
        )
    from datasets import get_dataset_split_names, load_dataset

    name, revision = found
    try:
        splits = get_dataset_split_names(name, revision=revision)
        split = next((split for split in ("train_sft", "train") if split in splits), splits[0])
        return load_dataset(name, revision=revision, split=split)
    except (OSError, ValueError) as error:
        raise InputError(
            source,
            f"cannot be loaded from the hub ({words(error)})",
            "Check the name, the revision and the network, or name a file.",
        ) from None


def _turns(row: Any, name: str, number: int) -> list[tuple[str, str]]:
    """A row's turns as (speaker as the row says, text). Raises InputError on another shape."""
    match row:
        case {"conversations": list(found)}:
            turns = [_pair(turn, "from", "value") for turn in found]
        case {"messages": list(found)}:
            turns = [_pair(turn, "role", "content") for turn in found]
        case {"data": str(prompt)}:
            turns = [("user", prompt)]
        case {"data": list(texts)}:
            speakers = ("user", "assistant")
            turns = [(speakers[i % 2], text) for i, text in enumerate(texts)]
        case {"prompt": dict(root)}:
            turns = _best_path(root)
        case _:
            turns = [(None, None)]
    if not all(isinstance(part, str) for turn in turns for part in turn):
        raise InputError(name, f"row {number} has an unknown shape: {str(row)[:100]}", NEXT)
    return turns


def _pair(turn: Any, speaker: str, text: str) -> tuple[Any, Any]:
    """The two fields of a turn, None where it lacks one."""
    return (turn.get(speaker), turn.get(text)) if isinstance(turn, dict) else (None, None)


def _best_path(root: dict[str, Any]) -> list[tuple[Any, Any]]:
    """From a tree's root down, at each turn the reply of the best rank (none ranked: the first)."""
    node, path = root, [_pair(root, "role", "text")]
    while node.get("replies"):
        ranked = [reply for reply in node["replies"] if reply.get("rank") is not None]
        node = min(ranked, key=lambda reply: reply["rank"]) if ranked else node["replies"][0]
        path.append(_pair(node, "role", "text"))
    return path


def _clean(turns: list[tuple[str, str]]) -> Dialogue:
    """The turns from the first user's on, as long as user and assistant alternate with text."""
    spoken = [(speaker, text.strip()) for speaker, text in turns if speaker != "system"]
    dialogue: Dialogue = []
    for speaker, text in spoken:
        role = SPEAKERS.get(speaker)
        expected = "assistant" if len(dialogue) % 2 else "user"
        if not dialogue and role == "assistant":
            continue
        if role != expected or not text:
            break
        dialogue.append(Turn(role=role, text=text))
    return dialogue
