"""The scores beside a benchmark's primary one: classes' F1, parts of a benchmark, other measures.

Those that are means over items (or over the items of one category) are compared as the primary one
is, on the same items; of others there is the value alone. They belong to no family of tests.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from karma.evals import stats
from karma.report.collect import Cell, Records
from karma.report.compare import MIN_SEEDS, SEED, comparisons, enough, paired
from karma.report.tables import condition


def table(records: Records, resamples: int) -> list[dict[str, Any]]:
    """One part a benchmark that has further scores: its metrics, and a row a model."""
    found = []
    for benchmark in records.benchmarks:
        cells = {m: c for m in records.models if (c := records.cells.get((m, benchmark)))}
        names = list(dict.fromkeys(name for cell in cells.values() for name in _names(cell)))
        if names:
            rows = [_row(records, cells, model, names, resamples) for model in cells]
            part = {"benchmark": benchmark, "metrics": names, "rows": rows}
            found.append({**part, "over_seeds": _over_seeds(rows, names)})
    return found


def _names(cell: Cell) -> list[str]:
    """A cell's further scores: not the same in another wording or by another rule, whose
    differences the table of sensitivity has."""
    rules = {name.split("/", 1)[1] for name in cell.variants} - {cell.metric}
    found = []
    for name in cell.scores:
        root, slash, part = name.partition("/")
        again = root in rules and (not slash or f"{cell.metric}/{part}" in cell.scores)
        if name != cell.metric and "@" not in name and not again:
            found.append(name)
    return found


def _row(
    records: Records, cells: dict[str, Cell], model: str, names: list[str], resamples: int
) -> dict[str, Any]:
    against = {
        pair["relation"]: cells.get(pair["against"])
        for pair in comparisons(records)
        if pair["model"] == model
    }
    scores: dict[str, Any] = {}
    for name in names:
        value = cells[model].scores.get(name)
        gaps = {
            relation: _difference(cells[model], other, name, resamples)
            for relation, other in against.items()
        }
        scores[name] = None if value is None else {"value": value, "differences": gaps}
    return {"model": model, "cells": scores}


def _difference(
    cell: Cell, other: Cell | None, name: str, resamples: int
) -> dict[str, float | None] | None:
    """The difference with its interval; None where the score is no mean over items."""
    if other is None:
        return None
    first, second = _only(cell, name), _only(other, name)
    if first is None or second is None:
        return None
    both = set(first.ids) & set(second.ids)
    first, second = (_kept(part, both) for part in (first, second))
    if not enough(first):
        return None
    ours, theirs, groups = paired(first, second)
    low, high = stats.bootstrap(ours, theirs, groups, resamples=resamples, seed=SEED)
    return {"value": float(ours.mean() - theirs.mean()), "low": low, "high": high}


def _only(cell: Cell, name: str) -> Cell | None:
    """The cell with the items and values that a score is the mean of; None if it is of none."""
    if "values" not in cell.items.column_names or name not in cell.scores:
        return None
    metric, _, category = name.partition("/")
    column = cell.items["values"].combine_chunks()
    if metric not in [field.name for field in column.type]:
        return None
    values = pc.struct_field(column, metric)
    inside = np.ones(len(values), dtype=bool)
    if category:
        if "category" not in cell.items.column_names:
            return None
        inside = np.array(cell.items["category"].to_pylist()) == category
    inside &= np.array(values.is_valid())
    kept = np.flatnonzero(inside)
    numbers = values.take(pa.array(kept)).to_numpy(zero_copy_only=False).astype(np.float64)
    if not len(numbers) or abs(numbers.mean() - cell.scores[name]) > 1e-6:
        return None
    ids, groups = ([names[i] for i in kept] for names in (cell.ids, cell.groups))
    return replace(cell, ids=ids, groups=groups, values=numbers)


def _kept(cell: Cell, ids: set[str]) -> Cell:
    """The cell with these items alone: what an item lacks in one model is not compared."""
    kept = [i for i, name in enumerate(cell.ids) if name in ids]
    names, groups = ([values[i] for i in kept] for values in (cell.ids, cell.groups))
    return replace(cell, ids=names, groups=groups, values=cell.values[kept])


def _over_seeds(rows: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    """The same by condition: means over seeds with Student's intervals, where there are enough;
    the base model, which is one for all seeds, as it is."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(condition(row["model"]), []).append(row["cells"])
    most = max(map(len, groups.values()))
    if most < MIN_SEEDS:
        return []
    found = []
    for model, seeds in groups.items():
        whole = len(seeds) == most or model == "base"
        label = model if whole else f"{model} ({len(seeds)} of {most} seeds)"
        cells = {name: _mean([cells[name] for cells in seeds]) for name in names}
        found.append({"model": label, "cells": cells})
    return found


def _mean(cells: list[dict[str, Any] | None]) -> dict[str, Any] | None:
    there = [cell for cell in cells if cell is not None]
    if len(there) < len(cells):
        return None
    gaps = {}
    for relation in there[0]["differences"]:
        found = [gap for cell in there if (gap := cell["differences"][relation]) is not None]
        told = _student([gap["value"] for gap in found]) if len(found) >= MIN_SEEDS else None
        gaps[relation] = told
    return {"value": float(np.mean([cell["value"] for cell in there])), "differences": gaps}


def _student(values: list[float]) -> dict[str, float | None]:
    told = stats.t_interval(np.array(values))
    return {"value": told.mean, "low": told.low, "high": told.high}
