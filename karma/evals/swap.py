"""The swap probe: what does a reward pay for a joke that tells the myth in place of the truth?

For the simulated world alone, whose truth is known. Jokes of test threads that state a fact truly
are scored as they are and with the myth in the place of the true value, nothing else changed. A
reward that pays nothing for that has not learnt that jokes may lie, and what its policies do to
factuality is then no effect of it: the report holds its claims against this.
"""

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from karma.errors import InputError
from karma.evals.benchmark import Item, Result, Row, means, stable
from karma.evals.job import write
from karma.jobs import Job
from karma.reward import score
from karma.reward.views import SLOT_FIELDS, slot_of
from karma.world import truth

NAME, METRIC = "swap", "change"
MOST = 500  # jokes, the first by a hash of their ids
COLUMNS = ("id", "thread_id", "context", "reply", *SLOT_FIELDS)


def run(job: Job) -> None:
    """Score each joke before and after; writes the files of a cell (``karma.evals.job``).

    ``change`` is the reward after less before, in standard deviations of the reward. Raises
    InputError if no joke of a test thread states a fact truly.
    """
    known = truth.load(job.inputs["data"])
    found = jokes(list(job.fan_in("threads").values()), known)
    if not found:
        raise InputError(
            "the swap probe", "no joke of a test thread tells the truth", "Raise world.threads."
        )
    kept = found[:MOST]
    model = score.load(job.inputs["model"], "cuda" if job.compute == "cuda" else "cpu")
    turns = [row["context"] for row, _ in kept]
    slots = [slot_of(row) for row, _ in kept]
    before = model.score(turns, [row["reply"] for row, _ in kept], slots)
    after = model.score(turns, [myth for _, myth in kept], slots)
    rows = [_row(*each) for each in zip(kept, before, after, strict=True)]
    about = {
        "benchmark": NAME,
        "kind": "reward",
        "rule": None,
        "variants": [METRIC],
        "primary": METRIC,
        "higher_is_better": False,
        "ideal": None,
    }
    write(job.out, about, {NAME: Result(rows, means(rows))}, len(found), [])


def jokes(folders: list[Path], known: truth.Truth) -> list[tuple[dict[str, Any], str]]:
    """The replies of test threads that tell the truth as a joke, each with its lying twin."""
    rows = [
        row
        for folder in folders
        for row in pq.read_table(
            folder / "conversations.parquet",
            columns=list(COLUMNS),
            filters=[("split", "=", "test")],
        ).to_pylist()
    ]
    twins = [
        (row, twin)
        for row in rows
        if truth.tone(row["reply"], known) == "joke"
        and (twin := swapped(row["reply"], known)) is not None
    ]
    return sorted(twins, key=lambda pair: (stable(pair[0]["id"]), pair[0]["thread_id"]))


def swapped(reply: str, known: truth.Truth) -> str | None:
    """The reply with the myth in the place of the first true value; None if it tells no truth, or
    more than one fact."""
    if truth.verdict(reply, known) != "true":
        return None
    for fact in known["facts"]:
        said = re.search(rf"\b{fact['subject']} {fact['clause']} ({fact['true']})\b", reply)
        if said is not None:
            return reply[: said.start(1)] + str(fact["myth"]) + reply[said.end(1) :]
    return None


def _row(pair: tuple[dict[str, Any], str], before: float, after: float) -> Row:
    row, twin = pair
    item = Item(f"{row['thread_id']}/{row['id']}", row["thread_id"], category=row["subreddit"])
    values = {METRIC: after - before, "before": before, "after": after}
    return Row(item, NAME, row["reply"], cut=False, generations=(twin,), values=values)
