"""The report as one HTML page that opens without a network.

Every text of the page goes through Jinja2's autoescape: names, settings and replies come from
strangers and never become markup. The page forbids itself scripts and requests on top of that.
"""

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from karma.report import length, sensitivity, words
from karma.report.rewards import LEANS

HERE = Path(__file__).parent
TEMPLATE = "page.html.j2"
FILTERS = (
    words.number,
    words.signed,
    words.interval,
    words.count,
    words.pvalue,
    words.direction,
    words.tone,
    words.mark,
    words.spoken,
    words.percent,
    words.mean_length,
    words.evaluated,
)
FIGURES = (
    "forest.png",
    "curves.png",
    "rewards.png",
    "pareto.png",
    "frontier.png",
    "length.png",
    "lineage.png",
)


def render(report: dict[str, Any], plots: dict[str, bytes], card: Path | None = None) -> str:
    """The page. ``plots`` are PNG files by name, put into the page as data addresses; ``card`` is
    the folder of the data card."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {function.__name__: function for function in FILTERS}
    primary, replies, side = parts(report)
    return environment.get_template(TEMPLATE).render(
        report=report,
        about=report["headline"]["about"],
        primary=primary,
        replies=replies,
        side=side,
        leans=LEANS,
        matrix=lambda relation, names: matrix(report, relation, names),
        plots={name: _address(plots.get(name)) for name in FIGURES},
        steady=sensitivity.sentence(report["sensitivity"]),
        told_matched=length.sentence,
        left_out=length.left_out_sentence,
        card=card and (card / "card.md").read_text(encoding="utf-8"),
        card_plots={p.name: _address(p.read_bytes()) for p in sorted(card.glob("*.png"))}
        if card
        else {},
    )


def parts(report: dict[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """The benchmarks by what they tell: the study's question, the replies, side effects."""
    about, columns = report["headline"]["about"], report["headline"]["columns"]
    primary = [name for name in columns if name in report["family"]["benchmarks"]]
    others = [name for name in columns if name not in primary]
    replies = [name for name in others if about[name]["kind"] == "reply"]
    return primary, replies, [name for name in others if name not in replies]


def matrix(report: dict[str, Any], relation: str, benchmarks: list[str]) -> list[dict[str, Any]]:
    """Differences as rows of policies and columns of benchmarks; in place of one that is not there,
    why: a score is a hole, or its groups are too few."""
    cells = {
        (row["model"], row["benchmark"]): row
        for row in report["differences"]
        if row["relation"] == relation
    }
    scored = {
        (row["model"], name)
        for row in report["headline"]["rows"]
        for name, cell in row["cells"].items()
        if cell is not None
    }
    kl = {row["id"]: row["kl"] for row in report["policies"]}
    rows = []
    for comparison in report["comparisons"]:
        if comparison["relation"] == relation:
            model = comparison["model"]
            both = [model, comparison["against"]]
            found = [
                cells.get((model, name))
                or ("too few" if all((m, name) in scored for m in both) else "hole")
                for name in benchmarks
            ]
            rows.append({"model": model, "kl": kl.get(model), "cells": found})
    return rows


def _address(png: bytes | None) -> str | None:
    """A data address, or None where there is no figure."""
    if png is None:
        return None
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
