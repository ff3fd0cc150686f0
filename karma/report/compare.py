"""Every difference of the report, with its interval, its test and its corrected p-value.

A policy is compared with two others on the same items: with the model that its training started
from (relation ``start``), and with the policy of the random reward at the same exposure and seed
(relation ``random``). Differences of two policies speak of these two; what they say of a reward
rests on seeds (``over_seeds``), and on five of them at least.
"""

from typing import Any

import numpy as np

from karma.errors import CheckError
from karma.evals import stats
from karma.report.collect import Cell, Floats, PolicyName, Records, policy_name

MIN_SEEDS = 5
NULL = "random"
SEED = 0
# What the rows of one condition have in common over seeds.
CONDITION = (
    "benchmark",
    "kind",
    "metric",
    "higher_is_better",
    "exposure",
    "variant",
    "relation",
    "primary",
)


def comparisons(records: Records) -> list[dict[str, Any]]:
    """The pairs of models that the study compares, in the order of the models."""
    pairs = []
    for model in records.models:
        name = policy_name(model)
        if name is None:
            continue
        null = PolicyName(name.exposure, NULL, name.seed).id
        for relation, against in (("start", name.start), ("random", null)):
            if against in records.models and against != model:
                pairs.append({"model": model, "relation": relation, "against": against})
    return pairs


def primary(records: Records, choice: str | list[str]) -> list[str]:
    """The benchmarks that the family is made of."""
    if choice == "pragmatics":
        return records.of_kind("pragmatics")
    return [name for name in records.benchmarks if name in choice]


def differences(records: Records, family: list[str], resamples: int) -> list[dict[str, Any]]:
    """One row a comparison and benchmark where both cells are there, ``family`` first.

    A benchmark of fewer than ``stats.MIN_GROUPS`` groups gives no interval, and so no difference.
    """
    order = family + [name for name in records.benchmarks if name not in family]
    rows = []
    for benchmark in order:
        for pair in comparisons(records):
            cell = records.cells.get((pair["model"], benchmark))
            other = records.cells.get((pair["against"], benchmark))
            if cell is not None and other is not None and enough(cell):
                row = _difference(cell, other, resamples)
                rows.append({**pair, "primary": benchmark in family, **row})
    _correct(rows)
    return rows


def enough(cell: Cell) -> bool:
    """Whether a benchmark has items from enough groups for an interval."""
    return len(set(cell.groups)) >= stats.MIN_GROUPS


def right_or_wrong(values: Floats) -> bool:
    """Whether an item's value says that it is right (1) or wrong (0), and no more."""
    return bool(np.isin(values, (0.0, 1.0)).all())


def _difference(cell: Cell, other: Cell, resamples: int) -> dict[str, Any]:
    """``cell`` − ``other`` on their items, which must be the same."""
    first, second, groups = paired(cell, other)
    low, high = stats.bootstrap(first, second, groups, resamples=resamples, seed=SEED)
    gain = _gain(cell, other, (low, high), resamples)
    alone = len(set(groups)) == len(groups)
    if alone and right_or_wrong(first) and right_or_wrong(second):
        test, p = "McNemar, mid-p", stats.mcnemar_midp(first, second)
    else:
        test = "sign flips, by group"
        p = stats.permutation(first, second, groups, resamples=resamples, seed=SEED)
    name = policy_name(cell.model)
    assert name is not None
    return {
        "benchmark": cell.benchmark,
        "kind": cell.kind,
        "metric": cell.metric,
        "higher_is_better": cell.higher_is_better,
        "gain": gain,
        "exposure": name.exposure,
        "variant": name.variant,
        "seed": name.seed,
        "n": len(first),
        "groups": len(set(groups)),
        "value": float(first.mean() - second.mean()),
        "low": low,
        "high": high,
        "p": p,
        "p_holm": None,
        "test": test,
        "effect": stats.effect_size(first, second, groups),
        "detectable": stats.detectable(first, second, groups),
        "sensitivity": sensitivity(cell, other),
    }


def sensitivity(cell: Cell, other: Cell) -> dict[str, float]:
    """The difference by each wording and rule, ``wording/metric``."""
    order = _order(cell, other)
    return {
        name: float(np.mean(values - other.variants[name][order]))
        for name, values in cell.variants.items()
        if name in other.variants
    }


def _gain(cell: Cell, other: Cell, edges: tuple[float, float], resamples: int) -> dict[str, float]:
    """How much better the first score is, with its interval: ``edges`` are the difference's own,
    which say nothing of distances to a best value."""
    if cell.ideal is not None:
        low, high = stats.bootstrap_nearer(
            *paired(cell, other), cell.ideal, resamples=resamples, seed=SEED
        )
    else:
        low, high = sorted(cell.goodness(edge) for edge in edges)
    value = cell.goodness(cell.value) - other.goodness(other.value)
    return {"value": value, "low": low, "high": high}


def paired(cell: Cell, other: Cell) -> tuple[Floats, Floats, list[str]]:
    """The two models' values item by item, and the items' groups.

    Raises CheckError if the two were not asked the same items.
    """
    return cell.values, other.values[_order(cell, other)], cell.groups


def _order(cell: Cell, other: Cell) -> list[int]:
    """Where each of the first model's items stands among the second one's."""
    place = {name: index for index, name in enumerate(other.ids)}
    if len(place) != len(other.ids) or set(place) != set(cell.ids) or len(cell.ids) != len(place):
        raise CheckError(f"{cell.model} and {other.model} have other items on {cell.benchmark}")
    return [place[name] for name in cell.ids]


def _correct(rows: list[dict[str, Any]]) -> None:
    """Put Holm's corrected p-values into the primary rows, which are the family."""
    family = [row for row in rows if row["primary"]]
    for row, p in zip(family, stats.holm([row["p"] for row in family]), strict=True):
        row["p_holm"] = float(p)


def over_seeds(records: Records, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds of the policies' differences, with t intervals.

    Empty for every condition with fewer than ``MIN_SEEDS`` seeds: no claim rests on fewer.
    """
    conditions: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        key = (row["benchmark"], row["exposure"], row["variant"], row["relation"])
        conditions.setdefault(key, []).append(row)
    found = []
    for group in conditions.values():
        if len(group) >= MIN_SEEDS:
            values = np.array([row["value"] for row in group])
            result = stats.t_interval(values)
            found.append(
                {key: group[0][key] for key in CONDITION}
                | {"model": f"{group[0]['exposure']}/{group[0]['variant']}"}
                | {"seeds": len(group), "value": result.mean, "gain": _mean_gain(group)}
                | {"low": result.low, "high": result.high, "p": result.p, "p_holm": None}
                | {"kl": _mean_kl(records, group)}
                | {"effect": stats.effect_over_seeds(values)}
                | {"detectable": stats.detectable_over_seeds(values)}
                | {"sensitivity": _mean_sensitivity(group)}
            )
    _correct(found)
    return found


def _mean_kl(records: Records, rows: list[dict[str, Any]]) -> float | None:
    """The mean over seeds of the evaluated policies' KL."""
    found = [records.policies.get(row["model"]) for row in rows]
    kls = [policy.kl for policy in found if policy is not None]
    return float(np.mean(kls)) if len(kls) == len(rows) else None


def _mean_sensitivity(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The mean over seeds of the difference by each wording and rule."""
    found = [row["sensitivity"] for row in rows]
    return {name: float(np.mean([row[name] for row in found])) for name in found[0]}


def _mean_gain(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """The mean over seeds of how much better the score is, with Student's interval."""
    found = stats.t_interval(np.array([row["gain"]["value"] for row in rows]))
    return {"value": found.mean, "low": found.low, "high": found.high}
