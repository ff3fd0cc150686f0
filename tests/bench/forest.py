"""The shape of a stretch of Reddit: who answers whom, in which thread, and when.

Most threads are short and a few are huge; replies favour what was written lately; a few threads are
one long chain, as where people count. Text is no part of it.
"""

from dataclasses import dataclass, fields

import numpy as np

DAY, MONTH_DAYS = 86_400, 30
BEGINNING = 1_672_531_200  # 2023-01-01
# Where the ids of comments and posts stood at about that time.
FIRST_COMMENT, FIRST_THREAD = 38_000_000_000, 60_000_000
LARGEST_THREAD, LARGEST_SHARE = 20_000, 0.02
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


def grow(months: int, monthly: int, seed: int, latest_days: float) -> Forest:
    """``months`` times ``monthly`` comments, none later than ``latest_days`` after its post.

    No thread makes up more than a small share of a month, so that months are alike.
    """
    count = months * monthly
    rng = np.random.default_rng(seed)
    largest = min(LARGEST_THREAD, 30 + round(monthly * LARGEST_SHARE))
    sizes, chained = _threads(rng, round(count * (1 + 2 * MARGIN)), largest)
    total = int(sizes.sum())
    thread = np.repeat(np.arange(len(sizes)), sizes)
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    time = _times(rng, thread, months * MONTH_DAYS * total / count, latest_days)
    order = np.argsort(time, kind="stable")
    number = np.empty(total, np.int64)
    number[order] = np.arange(FIRST_COMMENT, FIRST_COMMENT + total)
    answered = _answered(rng, np.arange(total) - first, chained[thread])
    parent = np.where(answered < 0, -1, number[first + np.maximum(answered, 0)])
    weights = 1 / np.arange(1, SUBREDDITS + 1) ** 0.9
    subreddit = rng.choice(SUBREDDITS, len(sizes), p=weights / weights.sum())
    kept = order[round(count * MARGIN) :][:count]
    return Forest(
        number=number[kept],
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
    drawn = np.minimum(np.where(chained, CHAIN, drawn), largest)
    needed = int(np.searchsorted(np.cumsum(drawn), comments)) + 1
    assert needed <= len(drawn)
    return drawn[:needed], chained[:needed]


def _times(
    rng: np.random.Generator, thread: np.ndarray, days: float, latest_days: float
) -> np.ndarray:
    """When each comment was written, in seconds; ascending within a thread."""
    begun = np.sort(rng.uniform(0, days * DAY, thread[-1] + 1))
    # Half of the comments come within three hours, one in a thousand after a month.
    delay = np.minimum(np.exp(rng.normal(9.2, 1.8, len(thread))), latest_days * DAY)
    time = begun[thread] + delay
    return time[np.lexsort((time, thread))]


def _answered(rng: np.random.Generator, place: np.ndarray, chained: np.ndarray) -> np.ndarray:
    """The place within the thread of the comment that each answers; -1 for the post."""
    earlier = np.floor(place * np.cbrt(rng.random(len(place)))).astype(np.int64)
    top = (place == 0) | (rng.random(len(place)) < TOP_LEVEL)
    return np.where(chained, place - 1, np.where(top, -1, earlier))
