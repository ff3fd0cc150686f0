"""What the questions compare: by seed, how far policies score above those of the random reward."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from karma.report.collect import Cell, PolicyName, Records, policy_name
from karma.report.compare import NULL

Seeds = dict[int, float]
"""A value for each seed."""
Way = tuple[int, int]
"""A way of asking: the place of a wording and of a rule among a benchmark's own."""
LEADING: Way = (-1, -1)


def conditions(records: Records) -> list[tuple[str, str]]:
    """Exposures and variants of the policies, without the random reward's."""
    names = [name for name in map(policy_name, records.models) if name is not None]
    return list(dict.fromkeys((n.exposure, n.variant) for n in names if n.variant != NULL))


def trained(records: Records) -> list[str]:
    """The reward variants that policies were trained on and that learnt something."""
    kinds = {r.name.rsplit("/", 1)[0]: r.declared["kind"] for r in records.rewards.values()}
    variants = dict.fromkeys(variant for _, variant in conditions(records))
    return [v for v in variants if kinds.get(v) in ("model", "sum")]


def spearman_by_seed(records: Records, variant: str) -> Seeds:
    """How well each seed's reward model predicts held-out karma."""
    return {
        int(name.rsplit("/", 1)[1]): reward.metrics["spearman"]
        for name, reward in records.rewards.items()
        if name.rsplit("/", 1)[0] == variant and "spearman" in reward.metrics
    }


def ways(records: Records, benchmarks: list[str]) -> list[Way]:
    """Every way of asking that some of the benchmarks have."""
    cells = [cell for name in benchmarks if (cell := records.about(name)) is not None]
    wordings, rules = (max((len(part) for part in parts), default=0) for parts in _parts(cells))
    return list(product(range(wordings), range(rules)))


def _parts(cells: Sequence[Cell]) -> tuple[list[list[str]], list[list[str]]]:
    """Each cell's wordings, and each cell's rules."""
    each = [[name.split("/", 1) for name in cell.variants] for cell in cells]
    return (
        [list(dict.fromkeys(wording for wording, _ in names)) for names in each],
        [list(dict.fromkeys(rule for _, rule in names)) for names in each],
    )


def _value(cell: Cell, way: Way) -> float:
    """The score in a way of asking; of a benchmark that has fewer, in its last one."""
    if way == LEADING:
        return cell.value
    (wordings,), (rules,) = _parts([cell])
    wording = wordings[min(way[0], len(wordings) - 1)]
    rule = rules[min(way[1], len(rules) - 1)]
    return float(cell.variants[f"{wording}/{rule}"].mean())


def shift(
    records: Records, exposure: str, variant: str, benchmarks: list[str], way: Way = LEADING
) -> Seeds:
    """By seed, the mean over the benchmarks of what the policy scores above the random reward's,
    in the direction that is better."""
    found = {}
    for seed in records.recipe["seeds"]:
        pair = [PolicyName(exposure, v, seed).id for v in (variant, NULL)]
        cells = [[records.cells.get((m, name)) for m in pair] for name in benchmarks]
        gaps = [
            a.goodness(_value(a, way)) - b.goodness(_value(b, way))
            for a, b in cells
            if a is not None and b is not None
        ]
        if gaps and len(gaps) == len(benchmarks):
            found[seed] = float(np.mean(gaps))
    return found


def alignment(records: Records, variant: str, family: list[str], way: Way = LEADING) -> Seeds:
    """By seed, ``shift`` on the primary benchmarks, the mean over the exposures."""
    exposures = dict.fromkeys(exposure for exposure, _ in conditions(records))
    each = [shift(records, exposure, variant, family, way) for exposure in exposures]
    seeds = set.intersection(*(set(found) for found in each)) if each else set()
    return {seed: float(np.mean([found[seed] for found in each])) for seed in sorted(seeds)}


def nothing(values: Seeds) -> Seeds:
    """The random reward's own shift above itself."""
    return dict.fromkeys(values, 0.0)
