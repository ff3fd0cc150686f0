"""The report's document: everything that the page, the Markdown and the figures show.

It is what ``report.json`` holds, schema 1, and no reader of the report needs more than it.
"""

from typing import Any

from karma.report import (
    accepted,
    beware,
    compare,
    further,
    length,
    methods,
    questions,
    rewards,
    sensitivity,
    tables,
    words,
)
from karma.report.collect import Records
from karma.report.recipe import ReportRecipe

SCHEMA = 1
KINDS = {"reply": "Gold reward of held-out replies"}
FEW = (
    "These policies only: {seeds}, and fewer than five seeds say nothing about a reward. Each "
    "interval says how sure the difference between two trained policies is, not what training "
    "anew on the same reward would give."
)
ENOUGH = (
    "Claims about a reward rest on {seeds}: the table over seeds and the figure. The tables policy "
    "by policy speak of these policies only."
)


def build(records: Records, recipe: ReportRecipe) -> dict[str, Any]:
    """The whole document, in plain JSON types."""
    choice = recipe.primary if isinstance(recipe.primary, str) else list(recipe.primary)
    family = compare.primary(records, choice)
    found = compare.differences(records, family, recipe.resamples)
    claims = compare.over_seeds(records, found)
    seeds = words.several(len(records.recipe["seeds"]), "seed")
    scope = (ENOUGH if claims else FEW).format(seeds=seeds)
    about_family = {
        "method": recipe.family,
        "benchmarks": family,
        "size": sum(row["primary"] for row in found),
        "size_over_seeds": sum(row["primary"] for row in claims),
    }
    scores = tables.headline(records, recipe.resamples)
    models = rewards.table(records, recipe.resamples)
    matched = length.matched(records, family, recipe.resamples)
    points, left_out = tables.pareto(found, claims)
    return {
        "schema": SCHEMA,
        "notes": methods.notes(records),
        "scope": scope,
        "only_these_policies": not claims,
        "summary": summary(records, scores, found, claims),
        "questions": questions.answers(records, recipe.questions, family),
        "beware": beware.flags(records, models),
        "unmeasured": beware.unmeasured(records),
        "conditions": tables.conditions(records, scores, claims),
        "headline": scores,
        "comparisons": compare.comparisons(records),
        "family": about_family,
        "differences": found,
        "over_seeds": claims,
        "further": further.table(records, recipe.resamples),
        "sensitivity": sensitivity.table(claims or found),
        "length": {
            "replies": length.table(records, recipe.resamples),
            "matched": matched,
            "left_out": length.left_out(records, family),
            "matched_over_seeds": length.over_seeds(matched),
        },
        "pareto": points,
        "pareto_left_out": left_out,
        "rewards": models,
        "reward_seeds": rewards.disagreement(records, recipe.resamples),
        "algorithm": words.algorithm(records.recipe),
        "policies": tables.policies(records),
        "samples": tables.samples(records, recipe.samples),
        "training_samples": tables.training_samples(records, recipe.samples),
        "methods": methods.methods(records, about_family, recipe.resamples),
        "settings": methods.settings(records.recipe),
        "data": tables.data(records),
        "versions": records.versions,
        "lineage": records.lineage,
        "accepted": accepted.rows(records.accepted),
        "holes": records.holes,
    }


def summary(
    records: Records,
    scores: dict[str, Any],
    found: list[dict[str, Any]],
    claims: list[dict[str, Any]],
) -> list[str]:
    """The first paragraph: what is here, what moved, and what may be said of it."""
    cells = len(records.models) * len(scores["columns"])
    models = words.several(len(records.models), "model")
    first = (
        f"{models} on {words.several(len(scores['columns']), 'benchmark')}: "
        f"{len(records.cells)} of {cells} cells have a score."
    )
    if records.holes:
        first += f" {words.several(len(records.holes), 'hole')} {_is(len(records.holes))} listed."
    if not claims:
        first += " With fewer than five seeds, what follows speaks of these policies only."
    rows = claims or found
    answers = []
    for relation, name in (("start", "its starting policy"), ("random", "the random reward")):
        family = [row for row in rows if row["relation"] == relation and row["primary"]]
        if family:
            answers.append(f"Against {name}: {_moved(family)}.")
    side = [row for row in rows if row["relation"] == "random" and not row["primary"]]
    for kind in dict.fromkeys(row["kind"] for row in side):
        part = [row for row in side if row["kind"] == kind]
        title = KINDS.get(kind, kind.capitalize())
        answers.append(f"{title}, against the random reward: {_shift(part)}.")
    return [first, *answers]


def _shift(rows: list[dict[str, Any]]) -> str:
    """How many differences have an interval on one side of zero, and the worst of them."""
    worse = [row for row in rows if words.tone(row) == "down"]
    better = [row for row in rows if words.tone(row) == "up"]
    told = f"{len(worse)} worse, {len(better)} better, "
    told += f"{len(rows) - len(worse) - len(better)} not told apart"
    return f"{told}; the worst {_named(worse)}" if worse else told


def _named(rows: list[dict[str, Any]]) -> str:
    """The largest of some differences, with its interval."""
    row = max(rows, key=lambda row: abs(row["value"]))
    return (
        f"{row['model']} on {row['benchmark']}, {words.signed(row['value'])} {words.interval(row)}"
    )


def _is(n: int) -> str:
    return "is" if n == 1 else "are"


def _moved(rows: list[dict[str, Any]]) -> str:
    """How many primary differences hold after the correction, and the largest of them."""
    held = [row for row in rows if row["p_holm"] < words.SMALL]
    text = (
        f"{len(held)} of {words.several(len(rows), 'difference')} on the primary benchmarks "
        f"{'holds' if len(held) == 1 else 'hold'} after correction"
    )
    if not held:
        return text
    return f"{text}; the largest {_named(held)}"
