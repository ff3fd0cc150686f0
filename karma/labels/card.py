"""The job ``labels/card``: the data card, which says what the data are before a model sees them.

It is an instance of its own, so that what only the card shows (a rejected line of a dump, a setting
that changed no row, its own wording) makes neither ``labels`` nor what is trained on it stale. What
it says is gathered here, from the profiles of ``dumps``, ``threads`` and ``labels`` and from the
conversations; ``card_text`` words it and ``card_plots`` draws it.
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb

from karma.jobs import Job, write_json
from karma.labels import card_plots, card_text
from karma.labels.recipe import LabelsRecipe, ValuationRecipe
from karma.profiles import added
from karma.sql import connect, plain, statement

DEEPEST = 16
TOP = 20
DUMP = ("kind", "lines", "rows", "rejected", "blank", "reasons", "unconverted")


def run(job: Job) -> None:
    """Write ``card.md``, its figures (PNG) and ``profile.json`` with all numbers of both."""
    threads, labels = job.fan_in("threads"), job.inputs["labels"]
    connection = connect([*threads.values(), labels], job.scratch)
    files = [plain(folder / "conversations.parquet") for folder in threads.values()]
    recipe = LabelsRecipe.model_validate(job.config["labels"])
    profile = {
        "dumps": {name: _dump(folder) for name, folder in job.fan_in("dumps").items()},
        "threads": added(_profile(folder) for folder in threads.values()),
        "labels": _profile(labels),
        **_histograms(connection, files, recipe.valuation),
        "margins": _tenths(_bins(connection, "margins", pairs=plain(labels / "pairs.parquet"))),
    }
    connection.close()
    write_json(job.out / "profile.json", profile)
    figures = card_plots.draw(profile)
    for name, data in figures.items():
        (job.out / name).write_bytes(data)
    text = card_text.render(profile, job.config, list(figures))
    (job.out / "card.md").write_text(text, encoding="utf-8")
    print(f"card of {profile['threads']['conversations']} conversations")


def _profile(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "profile.json").read_bytes())
    return document


def _dump(folder: Path) -> dict[str, Any]:
    """What became of the lines of one dump, without the ranges that it touches."""
    profile = _profile(folder)
    return {name: profile[name] for name in DUMP}


def _histograms(
    connection: duckdb.DuckDBPyConnection, files: list[str], recipe: ValuationRecipe
) -> dict[str, Any]:
    """What the conversations are, as lists of [label, replies] in order."""
    ages = dict(_bins(connection, "ages", files=files, age_bounds=recipe.age_bounds))
    depths = dict(_bins(connection, "depths", files=files, deepest=DEEPEST))
    span = connection.execute(statement("labels/card_span"), {"files": files}).fetchall()[0]
    return {
        "span": dict(zip(("earliest", "latest", "subreddits"), span, strict=True)),
        "subreddits": [
            [name or "unknown", replies]
            for name, replies in _bins(connection, "subreddits", files=files, top=TOP)
        ],
        "scores": _scores(dict(_bins(connection, "scores", files=files))),
        "depths": [
            *([str(depth), depths.get(depth, 0)] for depth in range(1, DEEPEST)),
            [f"{DEEPEST} and more", depths.get(DEEPEST, 0)],
            ["unknown", depths.get(None, 0)],
        ],
        "ages": [
            *([name, ages.get(index, 0)] for index, name in enumerate(_ages(recipe.age_hours))),
            ["unknown", ages.get(None, 0)],
        ],
    }


def _bins(
    connection: duckdb.DuckDBPyConnection, name: str, **parameters: Any
) -> list[tuple[Any, int]]:
    """The rows of one histogram: bin and count."""
    return connection.execute(statement(f"labels/card_{name}"), parameters).fetchall()


def _scores(bins: dict[int, int]) -> list[list[Any]]:
    """Scores from the lowest bin that occurs to the highest, empty ones included."""
    whole = range(min(bins), max(bins) + 1) if bins else ()
    return [[_score(bin_), bins.get(bin_, 0)] for bin_ in whole]


def _score(bin_: int) -> str:
    """The scores of a bin: ``0``, ``1``, ``2 to 3``, ``−7 to −4``."""
    if bin_ == 0:
        return "0"
    sign, low, high = "−" if bin_ < 0 else "", 2 ** (abs(bin_) - 1), 2 ** abs(bin_) - 1
    ends = [f"{sign}{end}" for end in ((high, low) if bin_ < 0 else (low, high))]
    return ends[0] if low == high else " to ".join(ends)


def _ages(hours: tuple[float, ...]) -> list[str]:
    """The names of the age bins, from the bounds between them."""
    names = [f"{hour:g} h" if hour < 48 else f"{hour / 24:g} d" for hour in hours]
    if not names:
        return ["all"]
    between = [f"{low} to {high}" for low, high in pairwise(names)]
    return [f"under {names[0]}", *between, f"{names[-1]} and more"]


def _tenths(bins: list[tuple[int, int]]) -> list[list[Any]]:
    """Margins from 0 to 1 by their tenth."""
    counts = dict(bins)
    return [[f"{n / 10:g} to {(n + 1) / 10:g}", counts.get(n, 0)] for n in range(10)]
