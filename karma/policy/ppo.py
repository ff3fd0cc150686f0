"""Proximal policy optimisation of a language model: the formulas, and the update.

A reply's tokens are the actions. ``(replies, tokens)`` tensors are padded on the right, and a mask
says which places hold a token of the reply: all up to its end-of-text token, that included, nothing
after. A token's reward is its share of the KL penalty; the last one also gets the score.

Left out on purpose: sampling (``sample``, ``rollout``), what the rewards are (``rewards``), the
loop over steps (``train``).

Sources:
  Schulman et al. 2017, Proximal Policy Optimization Algorithms, arXiv 1707.06347
  Schulman et al. 2016, High-Dimensional Continuous Control Using GAE, arXiv 1506.02438
  Ziegler et al. 2019, Fine-Tuning Language Models from Human Preferences, arXiv 1909.08593
  Huang et al. 2022, The 37 Implementation Details of PPO (ICLR blog track)
  Huang et al. 2024, The N+ Implementation Details of RLHF with PPO, arXiv 2403.17031
  Schulman 2020, Approximating KL Divergence (joschu.net/blog/kl-approx.html)
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from karma.memory import Budget
from karma.policy.faults import NotFiniteError
from karma.policy.models import ActorCritic
from karma.policy.recipe import PolicyRecipe
from karma.policy.rollout import Rollout, evaluate, micro_batches
from karma.policy.team import ALONE, Team

# Formulas


def kl_k1(logprobs: Tensor, reference: Tensor) -> Tensor:
    """log p - log q of sampled tokens, in nats: unbiased for KL(p, q) (Schulman 2020, k1)."""
    return logprobs - reference


def kl_k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """(r - 1) - log r with r = q / p: unbiased, never negative, less spread (Schulman 2020, k3)."""
    log_ratio = reference - logprobs
    return torch.expm1(log_ratio) - log_ratio


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, coef: float) -> Tensor:
    """Rewards by token, (replies, tokens): -coef × kl, and the score on the last real token.

    ``scores`` (replies,), ``kl`` and ``mask`` (replies, tokens). Ziegler et al. 2019, equation 2.
    The rewards of a reply plus coef × the sum of its kl are its score.
    """
    rewards = -coef * kl * mask
    rows = torch.arange(len(scores), device=scores.device)
    rewards[rows, mask.sum(1) - 1] += scores
    return rewards


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    """Advantages, (replies, tokens), zero outside ``mask`` (Schulman et al. 2016, equation 16).

    A_t is the sum over l of (γλ)^l δ_{t+l}, with δ_t = r_t + γ V_{t+1} - V_t. An episode ends with
    its reply, also where the reply was cut: the value after the last token is zero.
    """
    values = values * mask
    advantages = torch.zeros_like(values)
    following, after = torch.zeros_like(values[:, 0]), torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * after - values[:, t]
        following = (delta + gamma * lam * following) * mask[:, t]
        advantages[:, t], after = following, values[:, t]
    return advantages


def whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """``values`` with variance 1 within ``mask``, zero outside; with mean 0 if ``shift_mean``.

    For advantages with the shift (Huang et al. 2022, detail 7), for rewards about their own mean,
    which stays (Huang et al. 2024).
    """
    inside = values[mask]
    mean, variance = inside.mean(), inside.var(correction=0)
    scaled = (values - mean) * torch.rsqrt(variance + 1e-8)
    return (scaled if shift_mean else scaled + mean) * mask


def policy_loss(logprobs: Tensor, old: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """The clipped surrogate, negated, by token (Schulman et al. 2017, equation 7)."""
    ratio = torch.exp(logprobs - old)
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return torch.maximum(-advantages * ratio, -advantages * clipped)


def value_loss(values: Tensor, old: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Half the squared error of the value, clipped around the old one, by token.

    Huang et al. 2022, detail 9: the larger of the error and that of the clipped value.
    """
    clipped = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns).square(), (clipped - returns).square())


def next_coefficient(coef: float, kl: float, target: float, horizon: int, episodes: int) -> float:
    """The KL coefficient after ``episodes`` more of mean ``kl`` (Ziegler et al. 2019, section 2.2).

    A proportional controller on log coef: the relative error counts at most a fifth either way.
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coef * (1 + error * episodes / horizon)


# The update


@dataclass(frozen=True)
class Targets:
    """What a rollout says to learn, (replies, tokens) each."""

    advantages: Tensor
    returns: Tensor


def targets(rollout: Rollout, scores: Tensor, coef: float, recipe: PolicyRecipe) -> Targets:
    """Whitened advantages, and the returns that values are fitted to.

    Returns rest on the advantages before whitening (Huang et al. 2024). ``scores`` (replies,).
    """
    kl = kl_k1(rollout.logprobs, rollout.reference)
    rewards = token_rewards(scores, kl, rollout.mask, coef)
    if recipe.whiten_rewards:
        rewards = whiten(rewards, rollout.mask, shift_mean=False)
    advantages = gae(rewards, rollout.values, rollout.mask, recipe.gamma, recipe.lam)
    returns = (advantages + rollout.values) * rollout.mask
    return Targets(whiten(advantages, rollout.mask), returns)


def update(
    model: ActorCritic,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    goal: Targets,
    recipe: PolicyRecipe,
    generator: torch.Generator,
    budget: Budget,
    team: Team = ALONE,
) -> dict[str, float]:
    """Take ``epochs`` × ``minibatches`` optimiser steps; return the means over all their tokens.

    Fewer, if the KL from the policy at sampling passes ``kl_stop_update`` before (``updates`` says
    how many). Raises NotFiniteError, before weights take harm, when a loss or the gradient is not
    finite.
    """
    totals: dict[str, float] = {}
    norms: list[float] = []
    seen = 0
    parameters = [parameter for _, parameter in model.learned()]
    for rows in _minibatches(len(rollout.mask), recipe, generator):
        tokens = int(rollout.mask[rows].sum())
        share = team.share(rows.tolist())
        gradient = partial(_gradient, optimizer, model, rollout, goal, share, tokens, recipe)
        mine = budget.fit(gradient, max(rollout.lengths))
        team.add(parameters)
        sums = _sum(team.gather(mine))
        norm = torch.nn.utils.clip_grad_norm_(parameters, recipe.max_grad_norm).item()
        for name, value in (*sums.items(), ("gradient", norm)):
            if not math.isfinite(value):
                raise NotFiniteError(f"the {name.replace('_', ' ')} is {value}")
        limit = recipe.kl_stop_update
        if norms and limit is not None and sums["kl/update"] / tokens > limit:
            break
        optimizer.step()
        norms.append(norm)
        seen += tokens
        totals = _sum([totals, sums]) if totals else sums
    means = {name: value / seen for name, value in totals.items()}
    return {**means, "grad_norm": sum(norms) / len(norms), "updates": len(norms)}


def _sum(parts: list[dict[str, float]]) -> dict[str, float]:
    return {name: math.fsum(part[name] for part in parts) for name in parts[0]}


def _minibatches(count: int, recipe: PolicyRecipe, generator: torch.Generator) -> Iterator[Tensor]:
    """The rows of each mini-batch of each epoch, in a new order every epoch."""
    for _ in range(recipe.epochs):
        order = torch.randperm(count, generator=generator)
        yield from order.tensor_split(recipe.minibatches)


def _gradient(
    optimizer: torch.optim.Optimizer,
    model: ActorCritic,
    rollout: Rollout,
    goal: Targets,
    rows: list[int],
    tokens: int,
    recipe: PolicyRecipe,
    budget: int,
) -> dict[str, float]:
    """The gradient of ``rows`` and nothing else, whatever an attempt before has left."""
    optimizer.zero_grad()
    return accumulate(model, rollout, goal, rows, tokens, recipe, budget)


def accumulate(
    model: ActorCritic,
    rollout: Rollout,
    goal: Targets,
    rows: list[int],
    tokens: int,
    recipe: PolicyRecipe,
    budget: int,
) -> dict[str, float]:
    """Add the gradient of ``rows`` to the parameters; return sums over their tokens.

    Each micro-batch adds its sum over tokens divided by ``tokens``, those of the whole mini-batch,
    so that how it is cut changes nothing: the mean of micro-batch means would weigh short replies
    more. ``budget``: tokens of a micro-batch, padding included.
    """
    sums = dict.fromkeys(("policy_loss", "value_loss", "clip_fraction", "kl/update"), 0.0)
    for chosen in micro_batches(rollout.lengths, rows, budget):
        inside = rollout.mask[chosen]
        old = rollout.logprobs[chosen][inside]
        now = evaluate(model, rollout, chosen, recipe.temperature)
        surrogate = policy_loss(now.logprobs, old, goal.advantages[chosen][inside], recipe.clip)
        error = value_loss(
            now.values,
            rollout.values[chosen][inside],
            goal.returns[chosen][inside],
            recipe.value_clip,
        )
        loss = surrogate.sum() + recipe.vf_coef * error.sum()
        if recipe.entropy_coef:
            loss = loss - recipe.entropy_coef * now.entropy().sum()
        (loss / tokens).backward()
        with torch.no_grad():
            moved = (torch.exp(now.logprobs - old) - 1).abs() > recipe.clip
            sums["policy_loss"] += surrogate.sum().item()
            sums["value_loss"] += error.sum().item()
            sums["clip_fraction"] += moved.sum().item()
            sums["kl/update"] += kl_k3(old, now.logprobs).sum().item()
    return sums
