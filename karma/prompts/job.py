"""The stage ``prompts``: conversations that stop where somebody else answered.

Prompts are chosen by a stable hash, so that more data adds prompts and reorders none.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from karma.errors import InputError
from karma.jobs import Job, write_json
from karma.prompts import instructions
from karma.prompts.recipe import RedditPrompts, UnexposedPrompts
from karma.sql import check, connect, plain, statement
from karma.text import render

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "thread_id": pa.string(),  # or of a dialogue its opening: what comes from one source
        "split": pa.string(),
        "turns": pa.list_(pa.struct({"role": pa.string(), "text": pa.string()})),
        "prompt": pa.string(),
        "reply": pa.string(),
        "subreddit": pa.string(),
        "depth": pa.int32(),
        "delay": pa.int64(),
        "hour": pa.int32(),
        "parent_score": pa.int64(),
    }
)


def reddit(job: Job) -> None:
    """Write ``prompts.parquet`` from the threads of the use ``ppo`` and of the test split."""
    recipe = RedditPrompts.model_validate(job.config["prompts"])
    folders = list(job.fan_in("threads").values())
    files = [plain(folder / "conversations.parquet") for folder in folders]
    connection = connect([*folders, job.out], job.scratch)
    found = connection.execute(statement("prompts/reddit"), {"files": files, **recipe.model_dump()})
    names = [column[0] for column in found.description]
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    _write(
        job.out, rows, "the threads of the use ppo", "Name more dumps, or raise threads.uses.ppo."
    )
    path = plain(job.out / "prompts.parquet")
    check(connection, "prompts_uses", {"prompts": path, "files": files})


def unexposed(job: Job) -> None:
    """Write ``prompts.parquet`` from instruction dialogues."""
    recipe = UnexposedPrompts.model_validate(job.config["prompts"])
    dialogues = instructions.read(recipe.instructions, job.inputs.get("instructions"))
    found = sorted(_cut(dialogues), key=lambda row: row["id"])
    train = [row for row in found if row["split"] == "train"]
    test = [row for row in found if row["split"] == "test"]
    rows = [*test[: recipe.test_count], *train[: recipe.count]]
    _write(
        job.out,
        rows,
        "the instruction data's dialogues of the use ppo",
        "Name a file with more dialogues.",
    )


def _cut(dialogues: list[instructions.Dialogue]) -> Iterator[dict[str, Any]]:
    """One prompt per dialogue of the use ``ppo`` or ``test``: its turns up to a user's turn that a
    hash chooses.

    No two prompts are the same text.
    """
    seen = set()
    for dialogue in dialogues:
        use = instructions.use_of(dialogue)
        if use == "sft":
            continue
        asked = range(0, len(dialogue), 2)
        end = asked[int(instructions.key(dialogue)[:8], 16) % len(asked)]
        turns, answer = dialogue[: end + 1], dialogue[end + 1 : end + 2]
        name = instructions.key(turns)[:16]
        if name in seen:
            continue
        seen.add(name)
        yield {
            "id": name,
            "thread_id": instructions.key(dialogue[:1])[:16],
            "split": "test" if use == "test" else "train",
            "turns": turns,
            "reply": answer[0]["text"] if answer else None,
        }


def _write(out: Path, rows: list[dict[str, Any]], source: str, step: str) -> None:
    """Write the prompts and their numbers. Raises InputError if PPO would get none."""
    counts = {split: sum(row["split"] == split for row in rows) for split in ("train", "test")}
    if not counts["train"]:
        raise InputError("prompts", f"{source} give no prompt", step)
    for row in rows:
        row["prompt"] = render(row["turns"])
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(
        table,
        out / "prompts.parquet",
        compression="zstd",
        compression_level=1,
        row_group_size=10_000,
    )
    turns = sum(len(row["turns"]) for row in rows) / len(rows)
    write_json(out / "metrics.json", {**counts, "turns_mean": turns})
    print(f"prompts: {counts['train']} for PPO, {counts['test']} held out")
