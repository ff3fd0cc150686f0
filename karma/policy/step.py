"""One step: sample replies and score them, see where the policy is, learn."""

import math
import time
from dataclasses import dataclass
from typing import Any

import torch

from karma.policy import monitor, ppo
from karma.policy.prompts import Prompt, chosen, generator
from karma.policy.rewards import ask, shape
from karma.policy.rollout import Rollout, join, roll_out
from karma.policy.sample import uniform
from karma.policy.study import Study


@dataclass(frozen=True)
class Look:
    """What a step sampled, before anything is learned from it."""

    rollout: Rollout
    goal: ppo.Targets
    row: dict[str, Any]
    """The curves' row, as far as it is known."""
    seconds: dict[str, float]
    """What depends on the machine."""


def look(study: Study, kl_coef: float, step: int) -> Look:
    """Sample and score a step's replies.

    Raises NotFiniteError when the policy gives no probabilities, or a reward no number.
    """
    recipe, started = study.recipe, time.perf_counter()
    rows = chosen(len(study.prompts), recipe.batch, study.seed, step)
    prompts = [study.prompts[row] for row in rows]
    rollout = _rolled(study, prompts, step)
    sampled = time.perf_counter()
    raw, gold, parts = _scores(study, prompts, rollout)
    lengths = [len(reply) for reply in rollout.replies]
    terms = shape(raw, rollout.ended, lengths, recipe)
    shaped = [math.fsum(values) for values in zip(*terms.values(), strict=True)]
    scores = torch.tensor(shaped, device=rollout.mask.device)
    goal = ppo.targets(rollout, scores, kl_coef, recipe)
    row = {
        "step": step,
        **monitor.of_rewards(raw, shaped, terms, lengths),
        **{f"reward/term/{name}": _mean(values) for name, values in parts.items()},
        "gold": _mean(gold),
        **monitor.of_rollout(rollout, goal),
        "kl/coef": kl_coef,
    }
    row["reward/kl"] = -kl_coef * row["kl"]
    scored = time.perf_counter()
    return Look(
        rollout,
        goal,
        row,
        {
            "tokens_per_second/rollout": sum(lengths) / (sampled - started),
            "seconds/rollout": sampled - started,
            "seconds/reward": scored - sampled,
        },
    )


def learn(
    study: Study, optimizer: torch.optim.Optimizer, seen: Look, step: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """Learn from what was sampled: the row of the curves, and what depends on the machine."""
    recipe, started = study.recipe, time.perf_counter()
    for group in optimizer.param_groups:
        # Linear to zero over the run (Huang et al. 2024).
        group["lr"] = recipe.lr * (1 - (step - 1) / recipe.steps)
    order = generator(study.seed, "order", step)
    learned = ppo.update(
        study.model, optimizer, seen.rollout, seen.goal, recipe, order, study.tokens, study.team
    )
    seconds = time.perf_counter() - started
    texts = sum(seen.rollout.lengths) * learned["updates"] / recipe.minibatches
    speed = {"seconds/update": seconds, "tokens_per_second/update": texts / seconds}
    return {**seen.row, **learned}, {**seen.seconds, **speed}


def _rolled(study: Study, prompts: list[Prompt], step: int) -> Rollout:
    """A reply to each prompt; every process of the team samples its share."""
    draw = generator(study.seed, "sample", step)
    draws = uniform(len(prompts), study.recipe.max_new_tokens, draw)
    mine = study.team.share(range(len(prompts)))

    # A tensor that another process gives comes back on the card that it was on there.
    place = study.device if study.team.size == 1 else "cpu"

    def sampled(rows: int) -> Rollout:
        pieces = [mine[start : start + rows] for start in range(0, len(mine), rows)]
        return join([roll_out_rows(piece) for piece in pieces], place)

    def roll_out_rows(rows: list[int]) -> Rollout:
        ids = [prompts[row].ids for row in rows]
        return roll_out(
            study.model, study.reference, ids, study.sampling, study.tokens, draws[rows]
        )

    return join(study.team.together(lambda: study.rows.fit(sampled)), study.device)


def _scores(
    study: Study, prompts: list[Prompt], rollout: Rollout
) -> tuple[list[float], list[float], dict[str, list[float]]]:
    """The reward and the gold reward of each reply, and what each term of a sum adds to it."""
    mine = study.team.share(range(len(prompts)))
    turns = [prompts[row].turns for row in mine]
    slots = [prompts[row].slot for row in mine]
    texts = study.texts([rollout.replies[row] for row in mine])

    def asked() -> dict[str, list[float]]:
        reward, terms = ask(study.reward, "the reward", turns, texts, slots)
        gold, _ = ask(study.gold, "the gold reward", turns, texts, slots)
        return {
            "reward": reward,
            "gold": gold,
            **{f"term/{name}": part for name, part in terms.items()},
        }

    shares = study.team.together(asked)
    whole = {name: [value for share in shares for value in share[name]] for name in shares[0]}
    terms = {n.removeprefix("term/"): part for n, part in whole.items() if n.startswith("term/")}
    return whole["reward"], whole["gold"], terms


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
