"""Rewards on text: what a reward model says of replies, and what PPO makes of it.

A reward is any callable of conversations, replies and slots (the metadata of the place where each
prompt was cut, None where there is none) that returns one number a reply, and of a sum what each
term adds. It keeps its own tokenizer and never sees the policy's tokens.
"""

import math
from collections.abc import Callable

from karma.errors import StageError
from karma.policy.faults import NotFiniteError
from karma.policy.recipe import PolicyRecipe
from karma.reward.views import Slot
from karma.text import Turn

Said = tuple[list[float], dict[str, list[float]]]
Reward = Callable[[list[list[Turn]], list[str], list[Slot | None]], Said]


def ask(
    reward: Reward, name: str, turns: list[list[Turn]], replies: list[str], slots: list[Slot | None]
) -> Said:
    """The reward of each reply, and what each term of a sum adds to it.

    Raises StageError for the wrong number of values, NotFiniteError for one that is no number.
    """
    scores, terms = reward(turns, replies, slots)
    if len(scores) != len(replies):
        raise StageError(
            f"{name} returned {len(scores)} values for {len(replies)} replies; it must return "
            "one a reply, in their order"
        )
    odd = [score for score in scores if not math.isfinite(score)]
    if odd:
        raise NotFiniteError(f"{name} is {odd[0]} for {len(odd)} of {len(scores)} replies")
    return scores, terms


def shape(
    scores: list[float], ended: list[bool], lengths: list[int], recipe: PolicyRecipe
) -> dict[str, list[float]]:
    """The terms that add up to a reply's reward as PPO sees it, before the KL.

    ``score``: the reward within ±``reward_clip``; ``missing_eos``: the penalty where no end came;
    ``length``: that of ``lengths``, in tokens.
    """
    limit = math.inf if recipe.reward_clip is None else recipe.reward_clip
    return {
        "score": [min(max(score, -limit), limit) for score in scores],
        "missing_eos": [0.0 if whole else -recipe.missing_eos_penalty for whole in ended],
        "length": [-recipe.length_penalty * count for count in lengths],
    }
