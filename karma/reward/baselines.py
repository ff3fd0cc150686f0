"""What predicts karma without a language model: the bars that a reward model has to clear.

``length``: the reply's length, in the direction in which it predicts karma on validation threads.
``metadata``: gradient boosting on the slot alone, not a word read. ``words``: ridge regression on
TF-IDF of the reply's words and word pairs. Both learn from the same rows and towards the same
targets as the reward models; validation threads decide when boosting stops and how strong the ridge
is. ``shuffled``: the reward itself, given to other replies.
"""

import re
from collections import Counter
from itertools import pairwise

import numpy as np
from scipy.stats import spearmanr
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from karma.reward.data import Row, Split
from karma.reward.metrics import Floats
from karma.reward.objectives import normal_scores

HELD_OUT = ("validation", "test")
# Categories that boosting takes; the subreddits beyond are one.
SUBREDDITS = 200
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


def baselines(splits: dict[str, Split], seed: int) -> dict[str, dict[str, Floats]]:
    """Name to predictions (rows,) on ``validation`` and ``test``, in the units of the targets.

    One that gives all replies the same value is left out: it ranks nothing.
    """
    found = {
        "length": length(splits),
        "metadata": _metadata(splits, seed),
        "words": _words(splits),
    }
    return {name: b for name, b in found.items() if all(np.ptp(b[part]) > 0 for part in HELD_OUT)}


def targets(rows: list[Row]) -> Floats:
    """The normal scores of the rows' valuations."""
    return normal_scores([row.valuation for row in rows])


def length(splits: dict[str, Split]) -> dict[str, Floats]:
    """The logarithm of one plus the reply's characters, turned round if shorter is better."""
    logs = {part: np.log1p([len(r.reply) for r in splits[part].rows]) for part in HELD_OUT}
    goal = [row.valuation for row in splits["validation"].rows]
    shorter = (
        np.ptp(goal) > 0 < np.ptp(logs["validation"])
        and spearmanr(logs["validation"], goal).statistic < 0
    )
    return {part: -values if shorter else values for part, values in logs.items()}


def _metadata(splits: dict[str, Split], seed: int) -> dict[str, Floats]:
    counts = Counter(row.subreddit for row in splits["train"].rows)
    common = sorted(counts, key=lambda name: (-counts[name], name))[:SUBREDDITS]
    codes = {name: code for code, name in enumerate(common)}
    tables = {part: _table(split.rows, codes) for part, split in splits.items()}
    # Boosting takes no column that holds less than two values.
    kept = [column for column in range(5) if varies(tables["train"][:, column])]
    if not kept:
        return {part: np.zeros(len(tables[part])) for part in HELD_OUT}
    model = HistGradientBoostingRegressor(
        categorical_features=[0] if 0 in kept else None,
        learning_rate=0.05,
        max_iter=400,
        early_stopping=True,
        random_state=seed,
    )
    model.fit(
        tables["train"][:, kept],
        targets(splits["train"].rows),
        X_val=tables["validation"][:, kept],
        y_val=targets(splits["validation"].rows),
    )
    return {part: model.predict(tables[part][:, kept]) for part in HELD_OUT}


def varies(column: Floats) -> bool:
    """Whether a column holds two known values at least."""
    return len(np.unique(column[~np.isnan(column)])) > 1


def _table(rows: list[Row], codes: dict[str, int]) -> Floats:
    """The slots as numbers (rows, 5), the subreddit as a code, what is unknown as nan."""
    return np.array(
        [
            [
                codes.get(row.subreddit, len(codes)),
                *(row.slot["depth"], row.slot["delay"], row.slot["hour"]),
                row.slot["parent_score"],
            ]
            for row in rows
        ],
        dtype=np.float64,
    )


def _words(splits: dict[str, Split]) -> dict[str, Floats]:
    vectors = TfidfVectorizer(
        analyzer=_word_pairs, min_df=2, max_features=100_000, sublinear_tf=True
    )
    texts = {part: [row.reply for row in split.rows] for part, split in splits.items()}
    try:
        train = vectors.fit_transform(texts["train"])
    except ValueError:  # no word stands in two replies
        return {part: np.zeros(len(texts[part])) for part in HELD_OUT}
    held = {part: vectors.transform(texts[part]) for part in HELD_OUT}
    goal, truth = targets(splits["train"].rows), targets(splits["validation"].rows)
    models = [Ridge(alpha=strength, solver="lsqr").fit(train, goal) for strength in STRENGTHS]
    errors = [np.mean((model.predict(held["validation"]) - truth) ** 2) for model in models]
    best = models[int(np.argmin(errors))]
    return {part: best.predict(held[part]) for part in HELD_OUT}


def _word_pairs(text: str) -> list[str]:
    """The words of a text in small letters, and its pairs of words."""
    words = re.findall(r"\w+", text.lower())
    return [*words, *(f"{a} {b}" for a, b in pairwise(words))]
