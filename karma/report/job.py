"""The stage ``report``: every result, its certainty and its origin, on one page.

Out: ``report.html`` (self-contained), ``report.md``, ``report.json``, the figures as PNG,
``cards/`` (a model card for each reward model and policy), and ``metrics.json``. The same inputs
give the same bytes: no date, no path, no seed from outside.
"""

import math
from typing import Any

from karma.jobs import Job, write_json
from karma.report import cards, document, markdown, page, plots
from karma.report.collect import collect
from karma.report.recipe import ReportRecipe


def run(job: Job) -> None:
    """Write the report. Whatever failed before it is shown as a hole."""
    recipe = ReportRecipe.model_validate(job.config["report"])
    records = collect(job)
    print(f"report: {len(records.cells)} cells, {len(records.holes)} holes")
    report = finite(document.build(records, recipe))
    figures = plots.draw(report)
    write_json(job.out / "report.json", report)
    for name, png in figures.items():
        (job.out / name).write_bytes(png)
    (job.out / "report.html").write_text(
        page.render(report, figures, records.card), encoding="utf-8"
    )
    (job.out / "report.md").write_text(markdown.render(report, figures), encoding="utf-8")
    for model, card in cards.cards(records, report).items():
        path = job.out / "cards" / f"{model}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(card, encoding="utf-8")
    write_json(job.out / "metrics.json", _metrics(report))


def finite(value: Any) -> Any:
    """The document without numbers that JSON cannot hold: what cannot be told is null."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [finite(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _metrics(report: dict[str, Any]) -> dict[str, float]:
    """The report in numbers: how whole it is, and how much of the family holds."""
    family = [row for row in report["differences"] if row["primary"]]
    return {
        "cells": sum(
            cell is not None for row in report["headline"]["rows"] for cell in row["cells"].values()
        ),
        "holes": len(report["holes"]),
        "differences": len(report["differences"]),
        "family": len(family),
        "family_holds": sum(row["p_holm"] < 0.05 for row in family),
    }
