"""How much of a gain is length: of a reply, or of the texts that a benchmark asks about.

Two questions. Of a policy's reward on held-out replies: what would replies of the starting policy
have gained by being as long as the policy's (``explained``)? Of a gain on a pragmatics benchmark:
does it stand where the right answers do not differ in the length of what is asked (``matched``)?
"""

from typing import Any

import numpy as np

from karma.evals import stats
from karma.report.collect import Cell, Floats, Policy, Records, policy_name
from karma.report.compare import SEED, comparisons, paired

REPLIES = "replies"
# Strata of length: few enough that each holds items of every answer.
FIFTHS = 5


def table(records: Records) -> list[dict[str, Any]]:
    """One row a policy: its replies' length and reward against those of its starting policy."""
    rows = []
    for model in records.models:
        name = policy_name(model)
        if name is None:
            continue
        cell, start = (records.cells.get((m, REPLIES)) for m in (model, name.start))
        if cell is not None and start is not None:
            rows.append(_explained(cell, start, records.policies.get(model)))
    return rows


def _explained(cell: Cell, start: Cell, policy: Policy | None) -> dict[str, Any]:
    """The slope on log length is that within each model's own replies (analysis of covariance), so
    a gain that has nothing to do with length is not taken for one."""
    ours, theirs = replies(cell), replies(start)
    longer = float(ours["length"].mean() - theirs["length"].mean())
    gold = slope([ours, theirs], "gold")
    gained = float(ours["gold"].mean() - theirs["gold"].mean())
    row = {
        "model": cell.model,
        "length": float(np.expm1(ours["length"]).mean()),
        "length_start": float(np.expm1(theirs["length"]).mean()),
        "gold": {"gain": gained, "by_length": gold * longer, "share": share(gold * longer, gained)},
        "reward": None,
    }
    if policy is not None and "reward" in ours:
        # The start's replies have no reward of this policy's own; its first steps stand in.
        gained = policy.metrics["reward_last"] - policy.metrics["reward_first"]
        by_length = slope([ours], "reward") * longer
        row["reward"] = {"gain": gained, "by_length": by_length, "share": share(by_length, gained)}
    return row


def replies(cell: Cell) -> dict[str, Floats]:
    """Each reply's log of one plus its words, and its rewards."""
    scored = [score for item in cell.items["generation_scores"].to_pylist() for score in item]
    found = {
        name: np.array([score[name] for score in scored], dtype=np.float64)
        for name in ("gold", "reward", "length")
        if name in scored[0]
    }
    return {**found, "length": np.log1p(found["length"])}


def slope(models: list[dict[str, Floats]], name: str) -> float:
    """Least squares of a reward on log length, each model's mean taken out first; 0 if all are of
    one length."""
    lengths = np.concatenate([m["length"] - m["length"].mean() for m in models])
    values = np.concatenate([m[name] - m[name].mean() for m in models])
    spread = float(lengths @ lengths)
    return float(lengths @ values) / spread if spread > 0 else 0.0


def share(part: float, whole: float) -> float | None:
    """The part's share of a gain; None where there is no gain of which to have a share."""
    return part / whole if whole > 0.02 else None


def matched(records: Records, benchmarks: list[str], resamples: int) -> list[dict[str, Any]]:
    """Each difference on items weighted so that length says nothing of the right answer.

    Items are cut into fifths by the characters of their prompt. Within a fifth every answer counts
    alike; a fifth counts by its items. Benchmarks whose right answer is not one of a fixed few, or
    where no fifth holds two answers, are left out.
    """
    rows = []
    for benchmark in benchmarks:
        for pair in comparisons(records):
            cell = records.cells.get((pair["model"], benchmark))
            other = records.cells.get((pair["against"], benchmark))
            weights = _weights(cell) if cell is not None else None
            if cell is not None and other is not None and weights is not None:
                rows.append({**pair, **_matched(cell, other, weights, resamples)})
    return rows


def _matched(cell: Cell, other: Cell, weights: Floats, resamples: int) -> dict[str, Any]:
    """Weighted values have a mean that is the weighted mean: the weights have mean 1."""
    first, second, groups = paired(cell, other)
    low, high = stats.bootstrap(
        first * weights, second * weights, groups, resamples=resamples, seed=SEED
    )
    name = policy_name(cell.model)
    assert name is not None
    return {
        "benchmark": cell.benchmark,
        "exposure": name.exposure,
        "variant": name.variant,
        "seed": name.seed,
        "value": float(np.mean((first - second) * weights)),
        "plain": float(np.mean(first - second)),
        "low": low,
        "high": high,
        "used": int(np.sum(weights > 0)),
        "n": len(first),
    }


def _weights(cell: Cell) -> Floats | None:
    """A weight for each item, with mean 1; None where there is nothing to match."""
    if "gold" not in cell.items.column_names or "prompt" not in cell.items.column_names:
        return None
    golds = cell.items["gold"].to_pylist()
    if None in golds or len(set(cell.groups)) < 2:
        return None
    gold = np.array(golds)
    lengths = np.array([len(prompt) for prompt in cell.items["prompt"].to_pylist()])
    fifth = np.searchsorted(np.quantile(lengths, np.arange(1, FIFTHS) / FIFTHS), lengths)
    weights = np.zeros(len(gold))
    for part in np.unique(fifth):
        inside = fifth == part
        answers, counts = np.unique(gold[inside], return_counts=True)
        # A fifth that lacks an answer cannot be matched.
        if len(answers) == len(np.unique(gold)):
            for answer, count in zip(answers, counts, strict=True):
                weights[inside & (gold == answer)] = inside.sum() / len(answers) / count
    return weights / weights.mean() if weights.any() else None
