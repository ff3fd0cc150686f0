"""The prompts that no policy was trained on, as items of a benchmark about replies."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from karma.errors import InputError
from karma.evals.benchmark import Item

SLOT = ("subreddit", "depth", "delay", "hour", "parent_score")


def heldout(folder: Path, benchmark: str) -> list[Item]:
    """The prompts of test threads (or dialogues); those of one thread are one group.

    Raises InputError if there are none.
    """
    table = pq.read_table(folder / "prompts.parquet")
    held = [row for row in table.to_pylist() if row["split"] == "test"]
    if not held:
        raise InputError(
            f"benchmark {benchmark}",
            "no prompt is held out for it",
            "Use more dumps or a larger share of test threads.",
        )
    return [
        Item(
            row["id"],
            group=row["thread_id"],
            category=row["subreddit"] or "",
            extra={"prompt": row["prompt"], "turns": row["turns"], "slot": _slot(row)},
        )
        for row in held
    ]


def _slot(row: dict[str, Any]) -> dict[str, Any] | None:
    """The place of the real reply; None where the prompt has none (instruction dialogues)."""
    slot = {name: row[name] for name in SLOT}
    return None if all(value is None for value in slot.values()) else slot
