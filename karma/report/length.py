"""How much of a gain is length: of a reply, or of the texts that a benchmark asks about.

Two questions. Of a policy's reward on held-out replies: what would replies of the starting policy
have gained by being as long as the policy's (``explained``)? Of a gain on a pragmatics benchmark:
does it stand where the right answers do not differ in the length of what is asked (``matched``)?
"""

from typing import Any

import numpy as np

from karma.evals import stats
from karma.report.collect import Cell, Floats, Policy, Records, policy_name
from karma.report.compare import MIN_SEEDS, SEED, comparisons, enough, paired
from karma.report.words import excludes_zero, listed, several

REPLIES = "replies"
PARTS = ("gain", "by_length", "beyond")
# Strata of length: few enough that each holds items of every answer.
FIFTHS = 5


def table(records: Records, resamples: int) -> list[dict[str, Any]]:
    """One row a policy: its replies' length and reward against those of its starting policy."""
    rows = []
    for model in records.models:
        name = policy_name(model)
        if name is None:
            continue
        cell, start = (records.cells.get((m, REPLIES)) for m in (model, name.start))
        if cell is not None and start is not None:
            rows.append(_explained(cell, start, records.policies.get(model), resamples))
    return rows


def _explained(cell: Cell, start: Cell, policy: Policy | None, resamples: int) -> dict[str, Any]:
    """The slope on log length is that within each model's own replies (analysis of covariance), so
    a gain that has nothing to do with length is not taken for one."""
    ours, theirs = replies(cell), replies(start)
    row = {
        "model": cell.model,
        "length": float(np.expm1(ours["length"]).mean()),
        "length_start": float(np.expm1(theirs["length"]).mean()),
        "gold": _gain(ours, theirs, "gold", resamples if enough(cell) else 0),
        "reward": None,
    }
    if policy is not None and "reward" in ours:
        # The start's replies have no reward of this policy's own; its first steps stand in.
        first, last = policy.metrics["reward_first"], policy.reward
        longer = float(ours["length"].mean() - theirs["length"].mean())
        by_length = slope([ours], "reward") * longer
        row["reward"] = {"first": first, "last": last, "share": share(by_length, last - first)}
    return row


def _gain(
    ours: dict[str, Floats], theirs: dict[str, Floats], name: str, resamples: int
) -> dict[str, Any]:
    """Gain in a score of replies, the part of it that length explains, and the part beyond it, each
    with its 95 % interval by bootstrap over groups of prompts, which are drawn for both models."""
    groups = np.unique(np.concatenate([ours["group"], theirs["group"]]))
    places = [np.searchsorted(groups, model["group"]) for model in (ours, theirs)]

    def measure(draw: Floats) -> tuple[float, float, float]:
        weights = [draw[place] for place in places]
        models = [ours, theirs]
        means = [
            [float(w @ m[score] / w.sum()) for score in (name, "length")]
            for m, w in zip(models, weights, strict=True)
        ]
        gain, longer = (means[0][i] - means[1][i] for i in (0, 1))
        part = slope(models, name, weights) * longer
        return gain, part, gain - part

    values = measure(np.ones(len(groups)))
    rng = np.random.default_rng(SEED)
    even = np.full(len(groups), 1 / len(groups))
    draws = rng.multinomial(len(groups), even, size=resamples).astype(np.float64)
    found = np.array([measure(draw) for draw in draws if draw[places[0]].any()])
    edges = (
        np.quantile(found, stats.tails(len(groups)), axis=0).T.tolist()
        if resamples
        else [[None] * 2] * 3
    )
    parts = {
        part: {"value": value, "low": low, "high": high}
        for part, value, (low, high) in zip(PARTS, values, edges, strict=True)
    }
    return {**parts, "share": share(values[1], values[0])}


def replies(cell: Cell) -> dict[str, Any]:
    """Each reply's log of one plus its words, its scores, and the group of its prompt."""
    scored = cell.items["generation_scores"].to_pylist()
    flat = [score for item in scored for score in item]
    found = {name: np.array([score[name] for score in flat], dtype=np.float64) for name in flat[0]}
    words = found.get("length")
    if words is None:
        said = cell.items["generations"].to_pylist()
        words = np.array([len(text.split()) for texts in said for text in texts], dtype=np.float64)
    groups = np.repeat(np.array(cell.groups), [len(item) for item in scored])
    return {**found, "length": np.log1p(words), "group": groups}


def slope(models: list[dict[str, Floats]], name: str, weights: list[Floats] | None = None) -> float:
    """Least squares of a reward on log length, each model's mean taken out first; 0 if all are of
    one length."""
    weights = weights or [np.ones(len(model[name])) for model in models]
    above, below = 0.0, 0.0
    for model, weight in zip(models, weights, strict=True):
        length, value = (model[n] - weight @ model[n] / weight.sum() for n in ("length", name))
        above += float(weight @ (length * value))
        below += float(weight @ length**2)
    return above / below if below > 0 else 0.0


def share(part: float, whole: float) -> float | None:
    """The part's share of a gain; None where there is no gain of which to have a share."""
    return part / whole if whole > 0.02 else None


def matched(records: Records, benchmarks: list[str], resamples: int) -> list[dict[str, Any]]:
    """Each difference on items weighted so that length says nothing of the right answer.

    Items are cut into fifths by the characters of their prompt. Within a fifth every answer counts
    alike; a fifth counts by its items. Where replies are scored in place of answers, the difference
    is what is left of it beyond the part that their length explains. Benchmarks whose right answer
    is not one of a fixed few, or where no fifth holds two answers, are left out.
    """
    rows = []
    for benchmark in benchmarks:
        for pair in comparisons(records):
            cell = records.cells.get((pair["model"], benchmark))
            other = records.cells.get((pair["against"], benchmark))
            if cell is None or other is None or not enough(cell):
                continue
            weights = _weights(cell)
            if weights is not None:
                rows.append({**pair, **_named(cell), **_matched(cell, other, weights, resamples)})
            elif _scores_replies(cell):
                rows.append({**pair, **_named(cell), **_beyond(cell, other, resamples)})
    return rows


def _named(cell: Cell) -> dict[str, Any]:
    name = policy_name(cell.model)
    assert name is not None
    about = {"exposure": name.exposure, "variant": name.variant, "seed": name.seed}
    return {"benchmark": cell.benchmark, **about}


def _scores_replies(cell: Cell) -> bool:
    """Whether the primary score is a mean over generated texts, each with its own."""
    if "generation_scores" not in cell.items.column_names:
        return False
    return cell.metric in cell.items["generation_scores"].to_pylist()[0][0]


def _beyond(cell: Cell, other: Cell, resamples: int) -> dict[str, Any]:
    """The difference in a score of replies less what their length explains."""
    found = _gain(replies(cell), replies(other), cell.metric, resamples)
    count = len(cell.ids)
    return {**found["beyond"], "plain": found["gain"], "used": count, "n": count}


def _matched(cell: Cell, other: Cell, weights: Floats, resamples: int) -> dict[str, Any]:
    """Weighted values have a mean that is the weighted mean: the weights have mean 1."""
    first, second, groups = paired(cell, other)
    plain, (low, high) = (
        stats.bootstrap(first * w, second * w, groups, resamples=resamples, seed=SEED)
        for w in (np.ones(len(first)), weights)
    )
    return {
        "value": float(np.mean((first - second) * weights)),
        "plain": {"value": float(np.mean(first - second)), "low": plain.low, "high": plain.high},
        "low": low,
        "high": high,
        "used": int(np.sum(weights > 0)),
        "n": len(first),
    }


def over_seeds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds of matched differences, with t intervals, where there are enough seeds."""
    conditions: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("exposure", "variant", "relation", "benchmark"))
        conditions.setdefault(key, []).append(row)
    found = []
    for (exposure, variant, relation, benchmark), group in conditions.items():
        if len(group) >= MIN_SEEDS:
            matched, plain = (
                stats.t_interval(np.array(values))
                for values in ([r["value"] for r in group], [r["plain"]["value"] for r in group])
            )
            found.append(
                {"model": f"{exposure}/{variant}", "relation": relation, "benchmark": benchmark}
                | {"value": matched.mean, "low": matched.low, "high": matched.high}
                | {"plain": {"value": plain.mean, "low": plain.low, "high": plain.high}}
            )
    return found


def sentence(rows: list[dict[str, Any]]) -> str:
    """How many of the differences that are told as asked are told when matched too."""
    told = [row for row in rows if excludes_zero(row["plain"])]
    if not told:
        return "No difference is told as asked, so none can be length."
    kept = [r for r in told if excludes_zero(r) and r["value"] * r["plain"]["value"] > 0]
    return (
        f"{len(kept)} of {several(len(told), 'difference')} whose interval excludes zero as asked "
        f"{'does' if len(kept) == 1 else 'do'} so matched by length, with the same sign."
    )


def left_out_sentence(names: list[str]) -> str:
    """Which benchmarks are not matched, and why."""
    return (
        f"Not matched: {listed(names)}. No answer is right there, or the right one is a place "
        "among each item's own choices, of which a prompt's length says nothing, or items are too "
        "few."
    )


def left_out(records: Records, benchmarks: list[str]) -> list[str]:
    """Benchmarks that ``matched`` has nothing of. A right answer's place among each item's own
    choices, drawn at random, has nothing to do with length: matching it would balance nothing."""
    cells = [cell for name in benchmarks if (cell := records.about(name)) is not None]
    return [
        cell.benchmark
        for cell in cells
        if not enough(cell) or (_weights(cell) is None and not _scores_replies(cell))
    ]


def _fixed(cell: Cell) -> bool:
    """Whether the right answer is one of a few that all items have."""
    if not {"choices", "gold"} <= set(cell.items.column_names):
        return True
    both = zip(*(cell.items[name].to_pylist() for name in ("choices", "gold")), strict=True)
    right = {(gold, choices[gold]) for choices, gold in both if choices and gold is not None}
    return len(right) == len({gold for gold, _ in right})


def _weights(cell: Cell) -> Floats | None:
    """A weight for each item, with mean 1; None where there is nothing to match."""
    if "gold" not in cell.items.column_names or "prompt" not in cell.items.column_names:
        return None
    golds = cell.items["gold"].to_pylist()
    if None in golds or not _fixed(cell):
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
