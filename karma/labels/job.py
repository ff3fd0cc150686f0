"""The stage ``labels``: valuations and pairs from the conversations of all ranges.

Percentiles and levels are fitted on the training split and then read off for every reply, so that
nothing of the other splits enters them. A reply without a score gets no valuation and is counted.
"""

from pathlib import Path
from typing import Any

import duckdb

from karma.errors import InputError
from karma.jobs import Job, write_json
from karma.labels.recipe import LabelsRecipe
from karma.sql import check, connect, plain, statement


def run(job: Job) -> None:
    """Write ``valuations.parquet``, ``pairs.parquet``, ``profile.json`` and ``metrics.json``."""
    recipe = LabelsRecipe.model_validate(job.config["labels"])
    folders = list(job.fan_in("threads").values())
    files = [plain(folder / "conversations.parquet") for folder in folders]
    connection = connect([*folders, job.out], job.scratch)
    _value(connection, recipe, files)
    valuations, pairs = job.out / "valuations.parquet", job.out / "pairs.parquet"
    connection.execute(statement("labels/valuations"), {"out": plain(valuations)})
    connection.execute(
        statement("labels/pairs"),
        {"out": plain(pairs), **recipe.pairs.model_dump()},
    )
    account = {"files": files, "valuations": plain(valuations)}
    check(connection, "labels_account", account)
    check(connection, "labels_valuations", {"valuations": plain(valuations)})
    check(
        connection,
        "labels_pair_ends",
        {"valuations": plain(valuations), "pairs": plain(pairs)},
    )
    _account(job.out, connection, files, plain(pairs))


def _value(connection: duckdb.DuckDBPyConnection, recipe: LabelsRecipe, files: list[str]) -> None:
    """Make the table ``valued``: every reply with a score, its valuation and level."""
    valuation = recipe.valuation
    connection.execute(
        statement("labels/replies"),
        {
            "files": files,
            "by_subreddit": "subreddit" in valuation.within,
            "by_age": "age" in valuation.within,
            "age_bounds": valuation.age_bounds,
        },
    )
    trained = connection.execute("SELECT count(*) FROM replies WHERE split = 'train'").fetchone()
    if trained == (0,):
        raise InputError(
            "labels",
            "no training thread holds a reply with a score",
            "Give more dumps, or loosen what threads filters.",
        )
    minimum = {"min_group": valuation.min_group}
    connection.execute(statement("labels/groups"))
    connection.execute(statement("labels/percentiles"))
    connection.execute(statement("labels/cells"), minimum)
    connection.execute(statement("labels/cuts"), minimum)
    connection.execute(statement("labels/valued"))


def _account(
    out: Path, connection: duckdb.DuckDBPyConnection, files: list[str], pairs: str
) -> None:
    """Write what was counted, whole to the profile and in short to the metrics."""
    rows = connection.execute(
        statement("labels/profile"), {"files": files, "pairs": pairs}
    ).fetchall()
    facts: dict[str, int] = dict(rows)
    scopes = {"2": "subreddit and age", "1": "subreddit", "0": "all"}
    valued_within = {scopes[key]: n for key, n in _part(facts, "scope ").items()}
    by_use = _part(facts, "pairs ")
    profile: dict[str, Any] = {
        "replies": facts["replies"],
        "scored": facts["scored"],
        "null_scores": facts["replies"] - facts["scored"],
        "levels": _part(facts, "level "),
        "pairs": by_use,
        "valued_within": valued_within,
    }
    write_json(out / "profile.json", profile)
    metrics = {
        "replies": profile["replies"],
        "scored": profile["scored"],
        "null_scores": profile["null_scores"],
        "pairs": sum(by_use.values()),
        "valued_among_all": valued_within.get("all", 0),
    }
    write_json(out / "metrics.json", metrics)
    print(f"labels: {metrics['scored']} valuations, {metrics['pairs']} pairs")


def _part(facts: dict[str, int], prefix: str) -> dict[str, int]:
    """The facts whose name starts with ``prefix``, by the rest of the name."""
    return {name.removeprefix(prefix): n for name, n in facts.items() if name.startswith(prefix)}
