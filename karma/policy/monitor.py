"""What is watched at every step, to see a policy that pleases its reward and nobody else.

The names are a contract, explained in ``docs/ppo.md``.
"""

import math
from typing import Any

import torch
from torch import Tensor

from karma.policy.ppo import Targets, kl_k1, kl_k3
from karma.policy.rollout import Rollout


def of_rollout(rollout: Rollout, goal: Targets) -> dict[str, float]:
    """Numbers of the sampled replies, before anything is learned from them."""
    inside = rollout.mask
    count = len(rollout.replies)
    return {
        "kl": (kl_k1(rollout.logprobs, rollout.reference)[inside].sum() / count).item(),
        "kl/k3": (kl_k3(rollout.logprobs, rollout.reference)[inside].sum() / count).item(),
        "entropy": rollout.entropy[inside].mean().item(),
        "surprise": -rollout.reference[inside].mean().item(),
        "explained_variance": explained_variance(rollout.values[inside], goal.returns[inside]),
        "length": inside.sum().item() / count,
        "no_eos": 1 - sum(rollout.ended) / count,
        "distinct_1": distinct(rollout.replies, 1),
        "distinct_2": distinct(rollout.replies, 2),
    }


def of_rewards(
    raw: list[float], shaped: list[float], terms: dict[str, list[float]], lengths: list[int]
) -> dict[str, float]:
    """Numbers of the rewards, and of the ``terms`` of the shaped ones; ``lengths`` in tokens."""
    return {
        "reward/raw": math.fsum(raw) / len(raw),
        **{f"reward/{name}": math.fsum(values) / len(values) for name, values in terms.items()},
        "reward/shaped": math.fsum(shaped) / len(shaped),
        "length_rank_correlation": rank_correlation(raw, [float(n) for n in lengths]),
    }


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns); 0 where returns do not vary."""
    variance = returns.var(correction=0).item()
    if variance == 0:
        return 0.0
    return 1 - (returns - values).var(correction=0).item() / variance


def distinct(replies: list[list[int]], size: int) -> float:
    """Different runs of ``size`` tokens as a share of all, over a step's replies; 0 if none.

    Li et al. 2016, arXiv 1510.03055.
    """
    runs = [
        tuple(reply[start : start + size])
        for reply in replies
        for start in range(len(reply) - size + 1)
    ]
    return len(set(runs)) / len(runs) if runs else 0.0


def rank_correlation(left: list[float], right: list[float]) -> float:
    """Spearman's rank correlation, ties by their mean rank; 0 where one side does not vary."""
    a, b = _centred_ranks(left), _centred_ranks(right)
    spread = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / spread if spread else 0.0


def _centred_ranks(values: list[float]) -> Tensor:
    """Ranks less their mean; equal values share the mean of their ranks."""
    _, group, count = torch.tensor(values, dtype=torch.float64).unique(
        return_inverse=True, return_counts=True
    )
    last = count.cumsum(0).double()
    ranks = (last - (count.double() - 1) / 2)[group]
    return ranks - ranks.mean()


def summary(curves: list[dict[str, Any]], skipped: int) -> dict[str, float]:
    """The headline numbers of a run: means over the first and the last fifth of its steps."""
    few = math.ceil(len(curves) / 5)

    def mean(name: str, rows: list[dict[str, Any]]) -> float:
        return math.fsum(row[name] for row in rows) / len(rows)

    first, last = curves[:few], curves[-few:]
    numbers = {
        "reward_first": mean("reward/raw", first),
        "reward_last": mean("reward/raw", last),
        "gold_first": mean("gold", first),
        "gold_last": mean("gold", last),
        "kl_final": mean("kl", last),
        "kl_coef_final": curves[-1]["kl/coef"],
        "length_first": mean("length", first),
        "length_last": mean("length", last),
        "no_eos_last": mean("no_eos", last),
        "entropy_last": mean("entropy", last),
        "steps": len(curves),
        "skipped_steps": skipped,
    }
    numbers["reward_gain"] = numbers["reward_last"] - numbers["reward_first"]
    numbers["gold_gain"] = numbers["gold_last"] - numbers["gold_first"]
    return numbers
