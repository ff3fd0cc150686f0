"""What a reward leans on that is not what was said (Geirhos et al. 2020, shortcut learning).

Explained: how much of the reward's variance on test threads its length, its time or its subreddit
alone explains, by gradient boosting that was fitted on validation threads; beside it, how much of
karma's own they explain. A reward that leans on length more than karma does has found a shortcut.
Probes: the same replies under the context of another thread, and the same replies with a sentence
that says nothing added.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from karma.reward.baselines import targets, varies
from karma.reward.data import Row, Split
from karma.reward.metrics import Floats, Heldout, Integers, Measure, intervals, mean, spearman
from karma.reward.score import RewardModel

FILLER = " That is all that I wanted to say about it, and now I have said it."
PROBED = 2_000  # test replies, the first ones: they stand in the order of a hash
SUBREDDITS = 200


def shortcuts(
    model: RewardModel,
    splits: dict[str, Split],
    rewards: dict[str, Floats],
    resamples: int,
    seed: int,
) -> dict[str, float]:
    """All of it with intervals by thread; ``rewards`` are the standardised ones of both splits.

    ``explained_F`` and ``karma_F`` for F in length, time, subreddit: shares of variance, 0 if a
    guess of the mean is as good. ``swapped_spearman``, ``swapped_change`` (mean absolute change, in
    deviations) and ``filler_gain`` (mean change) are of the first PROBED test replies;
    ``unswapped_spearman`` is theirs as they are. The swap is left out if there is one thread only.
    """
    heldout = Heldout.of(splits["test"])
    measures: dict[str, Measure] = {}
    for name, table in _factors(splits).items():
        for goal, values in (("explained", rewards), ("karma", _karma(splits))):
            measures[f"{goal}_{name}"] = _explained(table, values, heldout.threads)
    found = intervals(measures, heldout.threads, resamples, seed)
    return found | _probes(model, splits["test"], rewards["test"], resamples, seed)


def _karma(splits: dict[str, Split]) -> dict[str, Floats]:
    return {part: targets(splits[part].rows) for part in ("validation", "test")}


def _factors(splits: dict[str, Split]) -> dict[str, dict[str, Floats]]:
    """By factor and split, what it says of each reply (rows, columns)."""
    counts = Counter(row.subreddit for row in splits["validation"].rows)
    common = sorted(counts, key=lambda name: (-counts[name], name))[:SUBREDDITS]
    codes = {name: code for code, name in enumerate(common)}
    columns: dict[str, Callable[[Row], list[float | None]]] = {
        "length": lambda row: [len(row.reply)],
        "time": lambda row: [row.slot["delay"], row.slot["hour"], row.age],
        "subreddit": lambda row: [codes.get(row.subreddit, len(codes))],
    }
    return {
        name: {
            part: np.array([column(row) for row in splits[part].rows], dtype=np.float64)
            for part in ("validation", "test")
        }
        for name, column in columns.items()
    }


def _explained(table: dict[str, Floats], goal: dict[str, Floats], threads: Integers) -> Measure:
    """1 − residual variance over variance on the test split, at least 0."""
    truth, fitted = goal["test"], table["validation"]
    kept = [column for column in range(fitted.shape[1]) if varies(fitted[:, column])]
    said = np.full(len(truth), goal["validation"].mean())
    if kept:
        model = HistGradientBoostingRegressor(max_iter=60, early_stopping=False, random_state=0)
        model.fit(fitted[:, kept], goal["validation"])
        said = model.predict(table["test"][:, kept])
    missed = (truth - said) ** 2

    def measure(weights: Floats) -> float:
        w = weights[threads]
        spread = w @ (truth - w @ truth / w.sum()) ** 2
        return max(0.0, float(1 - w @ missed / spread)) if spread > 0 else float("nan")

    return measure


def _probes(
    model: RewardModel, split: Split, rewards: Floats, resamples: int, seed: int
) -> dict[str, float]:
    rows = split.rows[:PROBED]
    heldout = Heldout.of(Split(rows, []))
    before = rewards[: len(rows)]
    longer = _score(model, rows, [row.reply + FILLER for row in rows], range(len(rows)))
    measures = {"filler_gain": mean(longer - before, heldout.threads)}
    other = _others(heldout.threads, seed)
    if other is not None:
        swapped = _score(model, rows, [row.reply for row in rows], other)
        measures |= {
            "unswapped_spearman": spearman(before, heldout),
            "swapped_change": mean(np.abs(swapped - before), heldout.threads),
        }
        if np.ptp(swapped) > 0:
            measures["swapped_spearman"] = spearman(swapped, heldout)
    return intervals(measures, heldout.threads, resamples, seed)


def _score(
    model: RewardModel, rows: list[Row], replies: list[str], contexts: "range | list[int]"
) -> Floats:
    return np.array(
        model.score([rows[c].context for c in contexts], replies, [row.slot for row in rows])
    )


def _others(threads: Integers, seed: int) -> list[int] | None:
    """For each row, a row of another thread, each about equally often; None with one thread."""
    if threads.max() == 0:
        return None
    order = np.random.default_rng(seed).permutation(len(threads))
    found = [0] * len(order)
    for place, row in enumerate(order):
        step = next(s for s in range(1, len(order)) if threads[order[place - s]] != threads[row])
        found[row] = int(order[place - step])
    return found
