"""What a reward model minimises, and the order in which it sees the replies.

Each step sees some parents' replies together: every reply once, and every pair among them. All
comparisons of one parent in one step cost one pass a reply and do not overfit as pairs shuffled
apart do (Ouyang et al. 2022, section 3.5). The regression term is there on every reply, paired or
not: siblings share context, subreddit, depth and parent's score, so pairs cancel what these say,
and only the differences between threads teach it.
"""

import random
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

# A valuation of 0 or 1 has no finite normal score; these are about ±2.3 standard deviations.
CLIP = (0.01, 0.99)
# Parents are sorted by length within pools of so many steps: little padding, steps still mixed.
POOL = 50
# What a forward pass and its way back cost beside their tokens, in tokens (75 in the bench's model
# on a CPU).
PASS = 64


@dataclass(frozen=True)
class Step:
    """The rows that are read together, shortest first, and the pairs among them as positions in
    ``rows``, the better first."""

    rows: list[int]
    pairs: list[tuple[int, int]]


def normal_scores(valuations: list[float]) -> np.ndarray:
    """Valuations in [0, 1] as normal scores: ranks of heavy-tailed karma on the scale of a model.

    Shape (rows,), float64, in standard deviations.
    """
    normal = NormalDist()
    return np.array([normal.inv_cdf(min(max(v, CLIP[0]), CLIP[1])) for v in valuations])


def pair_loss(rewards: Tensor, pairs: Tensor, margins: Tensor) -> Tensor:
    """Sum over pairs of -log sigmoid(r_better - r_worse - margin) (Bradley and Terry 1952).

    ``rewards`` (rows,), ``pairs`` (pairs, 2) positions in it, ``margins`` (pairs,).
    """
    return -logsigmoid(rewards[pairs[:, 0]] - rewards[pairs[:, 1]] - margins).sum()


def centre_loss(rewards: Tensor, pairs: Tensor) -> Tensor:
    """Sum over pairs of (r_better + r_worse)² (Eisenstein et al. 2023, equation 2)."""
    return (rewards[pairs[:, 0]] + rewards[pairs[:, 1]]).square().sum()


def regression_loss(rewards: Tensor, targets: Tensor) -> Tensor:
    """Sum over rows of the squared error; both (rows,)."""
    return (rewards - targets).square().sum()


def schedule(
    lengths: list[int],
    pairs: list[tuple[int, int]],
    *,
    unpaired: bool,
    rows_a_step: int,
    epochs: int,
    seed: int,
) -> list[Step]:
    """All steps of a training, in order.

    ``lengths`` are the rows' tokens. Rows that pairs join, directly or not, stay in one step, so
    that a step holds about ``rows_a_step``: one more family while half of it fits. Rows without a
    pair take part if ``unpaired``.
    """
    families = [rows for rows in _families(len(lengths), pairs) if unpaired or len(rows) > 1]
    inside: list[list[tuple[int, int]]] = [[] for _ in lengths]
    for better, worse in pairs:
        inside[better].append((better, worse))
    rng = random.Random(seed)
    steps = []
    for _ in range(epochs):
        packed = _packed(families, lengths, rows_a_step, rng)
        epoch = [_step(sorted(rows, key=lengths.__getitem__), inside) for rows in packed]
        rng.shuffle(epoch)
        steps += epoch
    return steps


def _step(rows: list[int], inside: list[list[tuple[int, int]]]) -> Step:
    place = {row: position for position, row in enumerate(rows)}
    return Step(rows, [(place[a], place[b]) for row in rows for a, b in inside[row]])


def _packed(
    families: list[list[int]], lengths: list[int], rows_a_step: int, rng: random.Random
) -> list[list[int]]:
    """The families in random order, packed into steps of similar length."""
    order = list(families)
    rng.shuffle(order)
    pools: list[list[list[int]]] = [[]]
    size = 0
    for family in order:
        pools[-1].append(family)
        size += len(family)
        if size >= POOL * rows_a_step:
            pools.append([])
            size = 0
    packed: list[list[int]] = []
    for pool in pools:
        current: list[int] = []
        for family in sorted(pool, key=lambda rows: max(lengths[row] for row in rows)):
            if current and len(current) + len(family) / 2 > rows_a_step:
                packed.append(current)
                current = []
            current = current + family
        if current:
            packed.append(current)
    return packed


def _families(count: int, pairs: list[tuple[int, int]]) -> list[list[int]]:
    """The rows as lists that no pair crosses (union-find), each ascending, by first row."""
    parent = list(range(count))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for a, b in pairs:
        parent[max(root(a), root(b))] = min(root(a), root(b))
    found: dict[int, list[int]] = {}
    for row in range(count):
        found.setdefault(root(row), []).append(row)
    return list(found.values())


def passes(lengths: list[int]) -> list[tuple[int, int]]:
    """Where to cut a step's rows so that reading them costs least, padding and passes counted.

    ``lengths`` ascend; the forward passes are ranges of them, ``(start, end)``. Siblings must be in
    one step and differ in length: read together, a fifth of what the model reads would be padding.
    """
    costs, starts = [0], [0]
    for end, longest in enumerate(lengths, start=1):
        options = ((costs[s] + (end - s) * longest + PASS, s) for s in range(end))
        cost, start = min(options)
        costs.append(cost)
        starts.append(start)
    cuts = [len(lengths)]
    while cuts[-1]:
        cuts.append(starts[cuts[-1]])
    return list(pairwise(reversed(cuts)))


def pad(ids: list[list[int]], token: int) -> tuple[Tensor, Tensor]:
    """Token ids right-padded to the longest, and their attention mask; both (rows, longest)."""
    longest = max(len(row) for row in ids)
    tokens = torch.tensor([row + [token] * (longest - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
    return tokens, mask
