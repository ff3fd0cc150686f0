"""The shape of a stretch of Reddit: who answers whom, in which thread, and when.

Most threads are short and a few are huge; replies favour what was written lately; a few threads are
one long chain, as where people count. Text is no part of it.
"""

from dataclasses import dataclass, fields

import numpy as np

DAY = 86_400
BEGINNING = 1_672_531_200  # 2023-01-01
# Where the ids of comments and posts stood at about that time.
FIRST_COMMENT, FIRST_THREAD = 38_000_000_000, 60_000_000
LARGEST_THREAD = 20_000
CHAIN, CHAINS = 1000, 1 / 5000
TOP_LEVEL = 0.4
SUBREDDITS = 2000
# What is cut off before the stretch and after it, as a share of it: so some parents are missing.
MARGIN = 0.05


@dataclass(frozen=True)
class Forest:
    """Comments in the order of their time: arrays of int64 of one length."""

    number: np.ndarray
    """The comment's id as a number."""
    thread: np.ndarray
    """Its post's id as a number; they grow with the time of the post."""
    parent: np.ndarray
    """The number of the comment that it answers; -1 if it answers the post."""
    created: np.ndarray
    """Seconds since 1970."""
    subreddit: np.ndarray
    """From 0 on, the largest first."""

    def __getitem__(self, rows: slice) -> "Forest":
        return Forest(*(getattr(self, field.name)[rows] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.number)


def grow(count: int, seed: int, days: float, latest_days: float) -> Forest:
    """``count`` comments written within about ``days``, none later than ``latest_days`` after its
    post."""
    rng = np.random.default_rng(seed)
    sizes, chained = _threads(rng, round(count * (1 + 2 * MARGIN)), count // 10 + 1)
    total = int(sizes.sum())
    thread = np.repeat(np.arange(len(sizes)), sizes)
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = np.arange(total) - first
    begun = np.sort(rng.uniform(0, days * DAY * total / count, len(sizes)))
    delay = np.minimum(np.exp(rng.normal(9.2, 1.8, total)), latest_days * DAY)
    time = begun[thread] + delay
    time = time[np.lexsort((time, thread))]
    answered = np.floor(place * np.cbrt(rng.random(total))).astype(np.int64)
    answered = np.where(chained[thread], place - 1, answered)
    top = (place == 0) | (~chained[thread] & (rng.random(total) < TOP_LEVEL))
    order = np.argsort(time, kind="stable")
    rank = np.empty(total, np.int64)
    rank[order] = np.arange(total)
    parent = np.where(top, -1, FIRST_COMMENT + rank[first + np.maximum(answered, 0)])
    weights = 1 / np.arange(1, SUBREDDITS + 1) ** 0.9
    subreddit = rng.choice(SUBREDDITS, len(sizes), p=weights / weights.sum())
    kept = order[round(count * MARGIN) :][:count]
    return Forest(
        number=FIRST_COMMENT + rank[kept],
        thread=FIRST_THREAD + thread[kept],
        parent=parent[kept],
        created=BEGINNING + time[kept].astype(np.int64),
        subreddit=subreddit[thread[kept]],
    )


def _threads(
    rng: np.random.Generator, comments: int, largest: int
) -> tuple[np.ndarray, np.ndarray]:
    """The threads' sizes, at least ``comments`` in all, and which of them are chains."""
    drawn = 1 + np.floor(2 * rng.pareto(1.2, comments // 2 + 2)).astype(np.int64)
    chained = rng.random(len(drawn)) < CHAINS
    drawn = np.minimum(np.where(chained, CHAIN, drawn), min(LARGEST_THREAD, largest))
    needed = int(np.searchsorted(np.cumsum(drawn), comments)) + 1
    assert needed <= len(drawn)
    return drawn[:needed], chained[:needed]
