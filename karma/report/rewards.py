"""The tables of reward models: how well each predicts karma, what it leans on, how seeds agree."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np

from karma.evals import stats
from karma.report.collect import Cell, Floats, Records, Reward
from karma.report.compare import enough
from karma.report.methods import sees
from karma.report.words import interval, signed
from karma.weighted import correlation, ranker

SEED = 0
MEASURES = (
    "spearman",
    "pair_accuracy",
    "f1",
    "calibration_error",
    "length_spearman",
    "length_pair_accuracy",
    "length_f1",
    "metadata_spearman",
    "words_spearman",
    "shuffled_spearman",
)
LEANS = (
    "explained_length",
    "karma_length",
    "explained_time",
    "karma_time",
    "explained_subreddit",
    "karma_subreddit",
    "unswapped_spearman",
    "swapped_spearman",
    "swapped_change",
    "filler_gain",
)


def table(records: Records, resamples: int) -> list[dict[str, Any]]:
    """One row a reward model, measured on test threads."""
    return [
        _row(reward, records.swaps.get(name), resamples) for name, reward in records.rewards.items()
    ]


def _row(reward: Reward, probed: Cell | None, resamples: int) -> dict[str, Any]:
    variant, seed = reward.name.rsplit("/", 1)
    kind = reward.declared["kind"]
    above = None if kind == "length" else above_length(reward, resamples)
    shuffled = above_shuffled(reward, resamples)
    measures = {name: _measure(reward.metrics, name) for name in (*MEASURES, *LEANS)}
    swap = None if probed is None else coupling(probed, resamples)
    return {
        "id": reward.name,
        "variant": variant,
        "seed": int(seed),
        "kind": kind,
        "sees": sees(reward),
        "n": int(reward.metrics["rows"]),
        **measures,
        "above_length": above,
        "above_shuffled": shuffled,
        "swap": swap,
        "flag": _flag(kind, above, shuffled, swap),
    }


def _measure(metrics: dict[str, float], name: str) -> dict[str, float] | None:
    """A metric with the interval that the stage ``reward`` gave it; None if it has none."""
    if name not in metrics:
        return None
    return {"value": metrics[name], "low": metrics[f"{name}_low"], "high": metrics[f"{name}_high"]}


def coupling(cell: Cell, resamples: int) -> dict[str, Any]:
    """The swap probe of one reward model: the mean change, with its interval over threads."""
    nothing = np.zeros_like(cell.values)
    low, high = (
        stats.bootstrap(cell.values, nothing, cell.groups, resamples=resamples, seed=SEED)
        if enough(cell)
        else (None, None)
    )
    return {"value": cell.value, "low": low, "high": high, "n": len(cell.ids)}


def _flag(
    kind: str,
    length: dict[str, Any] | None,
    shuffled: dict[str, Any],
    swap: dict[str, Any] | None,
) -> str | None:
    """In plain words, what a trained model fails at."""
    if length is None or kind not in ("model", "sum"):
        return None
    told = []
    if length["high"] < 0:
        told.append("it predicts karma worse than the reply's length alone")
    elif length["low"] <= 0:
        told.append("it is not shown to predict karma better than the reply's length alone")
    if shuffled["low"] <= 0:
        told.append("it is not shown to predict karma better than its own rewards shuffled")
    if swap is not None and (swap["low"] is None or swap["low"] <= 0):
        told.append(
            "it is not shown to pay for a joke that tells a myth "
            f"(swap probe {signed(swap['value'])} {interval(swap)})"
        )
    return "; ".join(told) + "." if told else None


def above_length(reward: Reward, resamples: int) -> dict[str, Any]:
    """Spearman of the reward less Spearman of the reply's length, on the same test rows.

    Length counts in the direction in which it predicts karma on validation threads. The 95 %
    interval is a percentile bootstrap over threads.
    """
    validation, test = _part(reward, "validation"), _part(reward, "test")
    shorter = False
    if len(validation["valuation"]):
        every = np.ones(len(validation["valuation"]))
        lengths, goal = (ranker(validation[name])(every) for name in ("length", "valuation"))
        shorter = correlation(lengths, goal, every) < 0
    return _above(test, -test["length"] if shorter else test["length"], resamples)


def above_shuffled(reward: Reward, resamples: int) -> dict[str, Any]:
    """The same against these rewards given to other test replies."""
    test = _part(reward, "test")
    return _above(test, np.random.default_rng(SEED).permutation(test["reward"]), resamples)


def _part(reward: Reward, split: str) -> dict[str, Floats]:
    """The columns of one held-out split; ``thread`` numbers its threads from 0."""
    kept = reward.heldout.filter(np.array(reward.heldout["split"].to_pylist()) == split)
    names = ("valuation", "reward", "length")
    columns = {name: kept[name].to_numpy().astype(np.float64) for name in names}
    return columns | {"thread": np.unique(kept["thread_id"].to_pylist(), return_inverse=True)[1]}


def _above(part: dict[str, Floats], other: Floats, resamples: int) -> dict[str, Any]:
    goal, first, second = ranker(part["valuation"]), ranker(part["reward"]), ranker(other)

    def difference(weights: Floats) -> float:
        ranks = goal(weights)
        return correlation(first(weights), ranks, weights) - correlation(
            second(weights), ranks, weights
        )

    return _interval(difference, part["thread"], resamples)


def _interval(
    measure: Callable[[Floats], float], threads: Floats, resamples: int
) -> dict[str, Any]:
    """A function of the rows' weights, and its percentile interval over threads."""
    numbers = threads.astype(np.int64)
    everything = np.ones(numbers.max() + 1)
    rng = np.random.default_rng(SEED)
    draws = rng.multinomial(len(everything), everything / len(everything), size=resamples)
    values = [measure(draw.astype(np.float64)[numbers]) for draw in draws]
    low, high = np.nanquantile(values, stats.tails(max(2, len(everything))))
    value = measure(everything[numbers])
    return {"value": value, "low": float(low), "high": float(high)}


def disagreement(records: Records, resamples: int) -> list[dict[str, Any]]:
    """One row a variant of several seeds: how much they differ on the same test replies.

    ``agreement``: mean Spearman correlation of two seeds, with its interval over threads;
    ``spread``: mean over replies of the standard deviation of the seeds' rewards.
    """
    variants: dict[str, list[Reward]] = {}
    for reward in records.rewards.values():
        variants.setdefault(reward.name.rsplit("/", 1)[0], []).append(reward)
    return [
        {"variant": name, **_seeds(rewards, resamples)}
        for name, rewards in variants.items()
        if len(rewards) > 1
    ]


def _seeds(rewards: list[Reward], resamples: int) -> dict[str, Any]:
    parts = [_part(reward, "test") for reward in rewards]
    rankers = [ranker(part["reward"]) for part in parts]

    def agreement(weights: Floats) -> float:
        ranks = [rank(weights) for rank in rankers]
        return float(np.mean([correlation(a, b, weights) for a, b in combinations(ranks, 2)]))

    spread = np.std([part["reward"] for part in parts], axis=0, ddof=1).mean()
    return {
        "seeds": len(rewards),
        "n": len(parts[0]["reward"]),
        "agreement": _interval(agreement, parts[0]["thread"], resamples),
        "spread": float(spread),
    }
