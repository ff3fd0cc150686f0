"""The report's tables that are no comparisons: scores, reward models, training, data, replies."""

from typing import Any

import numpy as np

from karma.evals import stats
from karma.profiles import added
from karma.report.collect import Cell, Policy, Records
from karma.report.compare import MIN_SEEDS, enough, right_or_wrong

# The benchmark that keeps the models' own replies to held-out prompts.
REPLIES = "replies"
# Characters of a prompt or reply that are shown.
CUT = 600
# Control signs that a model may write, each with a sign that can be seen; a zero byte would make
# the Markdown no text, and no page may hold it.
SEEN = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
# What the report draws, and the names that the stage `policy` logs it under.
CURVES = {"step": "step", "reward": "reward/raw", "gold": "gold", "kl": "kl", "length": "length"}
# Means over the first and the last fifth of the steps, as the stage `policy` takes them.
ENDS = (
    "steps",
    "skipped_steps",
    "reward_first",
    "reward_last",
    "gold_first",
    "gold_last",
    "kl_final",
    "length_first",
    "length_last",
    "no_eos_last",
)
SEED = 0


def headline(records: Records, resamples: int) -> dict[str, Any]:
    """Models × benchmarks: the primary score with its interval over groups of items."""
    about = {}
    for name in records.benchmarks:
        cell = records.about(name)
        about[name] = {
            "kind": cell.kind if cell else "unknown",
            "metric": cell.metric if cell else "no score",
            "higher_is_better": cell.higher_is_better if cell else True,
            "ideal": cell.ideal if cell else None,
            "n": len(cell.ids) if cell else None,
            "broken": cell.broken if cell else None,
        }
    rows = []
    for model in records.models:
        found = {name: records.cells.get((model, name)) for name in records.benchmarks}
        cells = {name: _score(cell, resamples) if cell else None for name, cell in found.items()}
        rows.append({"model": model, "group": model.startswith("sft/"), "cells": cells})
    return {"columns": records.benchmarks, "about": about, "rows": rows}


def _score(cell: Cell, resamples: int) -> dict[str, Any]:
    low, high = _interval(cell, resamples) if enough(cell) else (None, None)
    return {
        "value": cell.value,
        "low": low,
        "high": high,
        "n": len(cell.ids),
        "broken": cell.broken,
        "metric": cell.metric,
        "scores": cell.scores,
    }


def _interval(cell: Cell, resamples: int) -> stats.Interval:
    """Over groups of items: a share of right answers lies between 0 and 1, whatever their number,
    and is not sure of being nothing because none was right."""
    if right_or_wrong(cell.values):
        return stats.proportion(cell.values, cell.groups)
    nothing = np.zeros_like(cell.values)
    return stats.bootstrap(cell.values, nothing, cell.groups, resamples=resamples, seed=SEED)


def conditions(
    records: Records, scores: dict[str, Any], claims: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Conditions × benchmarks: means over seeds of the scores with Student's intervals, and what
    the claims say of each against its start. Empty with too few seeds for a claim.

    The base model is one for all seeds: it keeps its interval over items.
    """
    if not claims:
        return []
    told = {(c["model"], c["benchmark"]): c for c in claims if c["relation"] == "start"}
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in scores["rows"]:
        groups.setdefault(condition(row["model"]), []).append(row["cells"])
    return [
        {
            "model": name,
            "group": name.startswith("sft/"),
            "cells": {
                benchmark: _over_seeds(
                    [cells[benchmark] for cells in rows],
                    told.get((name.removeprefix("policy/"), benchmark)),
                )
                for benchmark in records.benchmarks
            },
        }
        for name, rows in groups.items()
    ]


def condition(model: str) -> str:
    """A model's id without its seed."""
    return model.rpartition("/")[0] or model


def _over_seeds(
    cells: list[dict[str, Any] | None], claim: dict[str, Any] | None
) -> dict[str, Any] | None:
    """One condition on one benchmark; None if a seed is a hole."""
    there = [cell for cell in cells if cell is not None]
    if len(there) < len(cells):
        return None
    if len(there) == 1:
        return {**{key: there[0][key] for key in ("value", "low", "high")}, "claim": None}
    found = stats.t_interval(np.array([cell["value"] for cell in there]))
    return {"value": found.mean, "low": found.low, "high": found.high, "claim": claim}


def policies(records: Records) -> list[dict[str, Any]]:
    """One row a policy: where its training began and ended, and what raised an alarm."""
    return [_policy(records.policies[m]) for m in records.models if m in records.policies]


def _policy(policy: Policy) -> dict[str, Any]:
    numbers = policy.metrics
    return {
        "id": policy.name.id,
        "exposure": policy.name.exposure,
        "variant": policy.name.variant,
        "seed": policy.name.seed,
        **{name: numbers[name] for name in ENDS},
        "kl": policy.kl,
        "evaluated": policy.point["step"] if policy.point else None,
        "alarms": alarms(policy),
        "curves": {key: [row[name] for row in policy.curves] for key, name in CURVES.items()},
    }


def alarms(policy: Policy) -> list[str]:
    """What a reader should look at before believing a policy's reward, as the run told it."""
    found = [f"{row['alarm']} (steps {row['first']} to {row['last']})" for row in policy.alarms]
    return found + ["steps were skipped"] * (policy.metrics["skipped_steps"] > 0)


def pareto(
    found: list[dict[str, Any]], claims: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Each policy's (over seeds: each condition's) mean gain on the primary benchmarks against its
    start, and its mean gain in factuality, each with its interval; and which have no point, as a
    mean over fewer benchmarks than the others' is no match for theirs."""
    starts = [row for row in found if row["relation"] == "start"]
    primary = [row for row in starts if row["primary"]]
    facts = [row for row in starts if row["kind"] == "factuality"]
    points, left_out = [], []
    for model, of in {_point(row, claims): row for row in starts}.items():
        mean = _mean_over_seeds if claims else _mean
        gain, loss = (
            mean(
                [row for row in rows if _point(row, claims) == model],
                {r["benchmark"] for r in rows},
            )
            for rows in (primary, facts)
        )
        if gain and loss:
            point = {"model": model, "exposure": of["exposure"], "variant": of["variant"]}
            points.append({**point, "primary": gain, "factuality": loss})
        elif primary and facts:
            left_out.append(model)
    return points, left_out


def _point(row: dict[str, Any], claims: list[dict[str, Any]]) -> str:
    """What a difference belongs to: its policy, or over seeds its condition."""
    return f"{row['exposure']}/{row['variant']}" if claims else str(row["model"])


def _mean(rows: list[dict[str, Any]], benchmarks: set[str]) -> dict[str, Any] | None:
    """One policy's mean gain, if it has all ``benchmarks``; they share no items, so their errors
    add up as squares."""
    if not rows or len(rows) < len(benchmarks):
        return None
    values, lows, highs = (
        np.array([row["gain"][key] for row in rows]) for key in ("value", "low", "high")
    )
    below, above = (float(np.linalg.norm(edge - values)) / len(rows) for edge in (lows, highs))
    value = float(values.mean())
    return {"value": value, "low": value - below, "high": value + above}


def _mean_over_seeds(rows: list[dict[str, Any]], benchmarks: set[str]) -> dict[str, Any] | None:
    """One condition's mean gain, over the seeds that have all ``benchmarks``; Student's
    interval."""
    seeds: dict[int, list[float]] = {}
    for row in rows:
        seeds.setdefault(row["seed"], []).append(row["gain"]["value"])
    whole = [float(np.mean(values)) for values in seeds.values() if len(values) == len(benchmarks)]
    if len(whole) < MIN_SEEDS:
        return None
    told = stats.t_interval(np.array(whole))
    return {"value": told.mean, "low": told.low, "high": told.high}


def samples(records: Records, count: int) -> list[dict[str, Any]]:
    """The first held-out prompts of each exposure, each with every model's reply to it."""
    by_model = {
        model: _replies(records.cells[model, REPLIES])
        for model in records.models
        if (model, REPLIES) in records.cells
    }
    found = []
    for exposure in dict.fromkeys(m.split("/")[1] for m in by_model if m != "base"):
        models = [m for m in by_model if m == "base" or m.split("/")[1] == exposure]
        prompts = next(by_model[m] for m in models if m != "base")
        for name in sorted(prompts)[:count]:
            said = [
                {"model": model, "reply": by_model[model][name][1]}
                for model in models
                if name in by_model[model]
            ]
            found.append({"exposure": exposure, "prompt": prompts[name][0], "replies": said})
    return found


def _replies(cell: Cell) -> dict[str, tuple[str, str]]:
    """Prompt and first reply of each item, cut to a readable length."""
    columns = (cell.items[name].to_pylist() for name in ("id", "prompt", "generations"))
    return {
        name: (_tail(prompt), _seen(said[0][:CUT]))
        for name, prompt, said in zip(*columns, strict=True)
    }


def _tail(prompt: str) -> str:
    """A long prompt's end, which is what the reply answers."""
    return _seen(prompt if len(prompt) <= CUT else "… " + prompt[-CUT:])


def _seen(text: str) -> str:
    return text.translate(SEEN)


def training_samples(records: Records, count: int) -> list[dict[str, Any]]:
    """For each policy one fixed prompt and what it was answered as training went on."""
    found = []
    for model in records.models:
        kept = records.policies[model].samples if model in records.policies else []
        if kept and count:
            said = [row for row in kept if row["prompt"] == kept[0]["prompt"]]
            chosen = [said[i] for i in sorted({0, len(said) // 2, len(said) - 1})]
            replies = [{"step": row["step"], "reply": _seen(row["reply"][:CUT])} for row in chosen]
            found.append({"model": model, "prompt": _tail(kept[0]["prompt"]), "replies": replies})
    return found


def data(records: Records) -> dict[str, Any]:
    """Where the data went: lines of each dump, and what ``threads`` and ``labels`` counted."""
    dumps = [_dump(name, profile) for name, profile in records.dumps.items()]
    counts = _blocks("threads", added(records.threads.values())) + _blocks("labels", records.labels)
    return {"dumps": dumps, "counts": counts}


def _dump(name: str, profile: dict[str, Any]) -> dict[str, Any]:
    kept = {key: profile[key] for key in ("kind", "lines", "rows", "rejected", "blank")}
    return {
        "name": name,
        **kept,
        "balanced": kept["lines"] == kept["rows"] + kept["rejected"] + kept["blank"],
        "reasons": sorted([reason, n] for reason, n in profile["reasons"].items() if n),
    }


def _blocks(title: str, profile: dict[str, Any]) -> list[dict[str, Any]]:
    """A profile's counts as tables: its own numbers, then one table for each group of them."""
    own = [[key, n] for key, n in profile.items() if isinstance(n, int)]
    blocks = [{"title": title, "columns": ["count"], "rows": own}] if own else []
    for key, value in profile.items():
        if isinstance(value, dict) and value:
            blocks.append(_block(f"{title}: {key}", value))
    return blocks


def _block(title: str, group: dict[str, Any]) -> dict[str, Any]:
    """One group of counts: names to numbers, or names to the same few numbers each."""
    if not all(isinstance(value, dict) for value in group.values()):
        rows = [[key, value] for key, value in group.items()]
        return {"title": title, "columns": ["count"], "rows": rows}
    columns = list(dict.fromkeys(key for value in group.values() for key in value))
    rows = [[key, *(value.get(column) for column in columns)] for key, value in group.items()]
    return {"title": title, "columns": columns, "rows": rows}
