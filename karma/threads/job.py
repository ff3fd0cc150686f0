"""The job ``threads/<range>``: the conversations of one range of thread ids.

The work is done by the statements of ``sql/threads``, in the order in which they stand here; this
module binds their parameters, runs the checks and writes the account.
"""

from pathlib import Path
from typing import Any

import duckdb

from karma import sql
from karma.dumps.privacy import MASKS
from karma.jobs import Job, write_json
from karma.threads import language
from karma.threads.recipe import ThreadsRecipe
from karma.threads.signatures import FILE

SHARES = ("test", "validation", "sft", "reward", "gold")
CHECKS = {
    "threads_reached": (),
    "threads_account": ("out",),
    "threads_uses": ("out",),
    "threads_replies": ("out", "turns"),
}


def run(job: Job) -> None:
    """Build ``conversations.parquet`` of ``job.config["range"]`` from the dumps that touch it.

    Raises CheckError if a comment is lost or counted twice, or a thread has two uses.
    """
    recipe = ThreadsRecipe.model_validate(job.config["threads"])
    folders = list(job.fan_in("dumps").values())
    signed = list(job.fan_in("signatures").values())
    signatures = [sql.plain(folder / FILE) for folder in signed if (folder / FILE).exists()]
    out = job.out / "conversations.parquet"
    connection = sql.connect([*folders, *signed, job.out], job.scratch, memory_mb=recipe.memory_mb)
    copies = _load(connection, folders, job.config["range"])
    values = {**_settings(recipe), "out": sql.plain(out)}
    _execute(connection, "links", {})
    _execute(connection, "paths", _only(values, "turns", "deleted"))
    _execute(connection, "uses", _only(values, *SHARES))
    _execute(connection, "verdicts", _filters(recipe))
    untold: dict[str, int] = {}
    if recipe.languages != "all":
        untold["language_unknown"] = language.drop_others(connection, recipe.languages)
    if signatures:
        _execute(connection, "bands", {"signatures": signatures, "range": job.config["range"]})
        _execute(connection, "duplicates", _only(values, "duplicate_chars", *SHARES))
    _execute(connection, "conversations", _only(values, "deleted", "post", "out"))
    for name, parameters in CHECKS.items():
        sql.check(connection, name, _only(values, *parameters))
    if signatures:
        parameters = ("out", "duplicate_chars", *SHARES)
        sql.check(connection, "threads_duplicates", _only(values, *parameters))
    profile = _profile(connection, values, copies)
    profile |= {"range": job.config["range"], **untold}
    write_json(job.out / "profile.json", profile)
    numbers = ("comments", "reached", "conversations", "threads", "duplicates", "post_missing")
    write_json(job.out / "metrics.json", _only(profile, *numbers))
    print(f"{profile['conversations']} conversations out of {profile['comments']} comments")
    connection.close()


def _load(connection: duckdb.DuckDBPyConnection, folders: list[Path], name: str) -> dict[str, int]:
    """Fill the tables ``comments`` and ``posts``; returns the rows of the dumps for each."""
    for macro in ("clean", "share", "use_of", "masked", "comments_table", "posts_table"):
        connection.execute(sql.statement(f"threads/{macro}"))
    masks = {mask: value.pattern for mask, value in MASKS.items()}
    masks |= {f"{mask}_to": value.replacement for mask, value in MASKS.items()}
    copies = {}
    for table, file in (("comments", "comments.parquet"), ("posts", "submissions.parquet")):
        paths = [folder / file for folder in folders]
        files = [sql.plain(path) for path in paths if path.exists()]
        copies[table] = 0
        if files:
            source = {"files": files, "range": name}
            copies[table] = _row(connection, "copies", source)["rows"]
            _execute(connection, table, {**source, **masks})
    return copies


def _settings(recipe: ThreadsRecipe) -> dict[str, Any]:
    """The recipe as the statements' parameters; the uses' shares sum to 1."""
    uses = recipe.uses
    total = uses.sft + uses.reward + uses.gold + uses.ppo
    return {
        "turns": recipe.turns,
        "post": recipe.post,
        "deleted": recipe.deleted,
        "duplicate_chars": recipe.duplicate_chars,
        "test": recipe.split.test,
        "validation": recipe.split.validation,
        "sft": uses.sft / total,
        "reward": uses.reward / total,
        "gold": uses.gold / total,
    }


def _filters(recipe: ThreadsRecipe) -> dict[str, Any]:
    """The parameters of the statement ``verdicts``."""
    subreddits = [] if recipe.subreddits == "all" else recipe.subreddits
    return {
        "drop_orphans": recipe.orphans == "drop",
        "subreddits": [_bare(name) for name in subreddits],
        "exclude_subreddits": [_bare(name) for name in recipe.exclude_subreddits],
        "min_age": recipe.min_age_hours * 3600,
        "drop_bots": recipe.bots == "drop",
        "drop_stickied": recipe.stickied == "drop",
        "drop_over_18": recipe.over_18 == "drop",
        "min_chars": recipe.min_chars,
        "max_chars": recipe.max_chars,
    }


def _bare(subreddit: str) -> str:
    """A subreddit's name as it is compared: Reddit takes names that differ in case for the same."""
    return subreddit.lower().removeprefix("r/")


def _profile(
    connection: duckdb.DuckDBPyConnection, values: dict[str, Any], copies: dict[str, int]
) -> dict[str, Any]:
    """What became of every comment, and what the conversations are."""
    totals = _row(connection, "totals", {})
    broken, circular = totals.pop("broken"), totals.pop("circular")
    filtered = connection.execute(sql.statement("threads/filtered")).fetchall()
    kept = connection.execute(sql.statement("threads/kept"), _only(values, "out")).fetchall()
    posts = connection.execute("SELECT count(*) FROM posts").fetchall()[0][0]
    return {
        **totals,
        "rows": copies["comments"],
        "duplicates": copies["comments"] - totals["comments"],
        "posts": posts,
        "post_duplicates": copies["posts"] - posts,
        "unreachable": {"broken": broken, "circular": circular},
        "filtered": dict(filtered),
        "conversations": sum(row[1] for row in kept),
        "uses": {use: {"conversations": rows, "threads": n} for use, rows, n, *_ in kept},
        "age_unknown": sum(row[3] for row in kept),
        "score_unknown": sum(row[4] for row in kept),
    }


def _execute(connection: duckdb.DuckDBPyConnection, name: str, parameters: dict[str, Any]) -> None:
    connection.execute(sql.statement(f"threads/{name}"), parameters)


def _row(
    connection: duckdb.DuckDBPyConnection, name: str, parameters: dict[str, Any]
) -> dict[str, Any]:
    """The only row of a statement, by column name."""
    result = connection.execute(sql.statement(f"threads/{name}"), parameters)
    names = [column[0] for column in result.description]
    return dict(zip(names, result.fetchall()[0], strict=True))


def _only(values: dict[str, Any], *names: str) -> dict[str, Any]:
    """The parameters that one statement takes."""
    return {name: values[name] for name in names}
