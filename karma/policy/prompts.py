"""The prompts of ``prompts.parquet`` as PPO takes them: turns, tokens, slot, and their order."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from karma.errors import InputError
from karma.policy.recipe import PolicyRecipe
from karma.prompts.fit import fit, prompt_tokens
from karma.reward.views import SLOT_FIELDS, Slot, slot_of
from karma.text import Turn, render


@dataclass(frozen=True)
class Prompt:
    """A conversation to answer; ``slot`` is the place of the real reply, if there was one."""

    turns: list[Turn]
    ids: list[int]
    slot: Slot | None

    @property
    def text(self) -> str:
        """The prompt as the policy reads it."""
        return render(self.turns)


def read(folder: Path) -> list[tuple[list[Turn], Slot | None]]:
    """Conversations and slots of the split ``train``, in the order of the file."""
    table = pq.read_table(folder / "prompts.parquet", columns=["split", "turns", *SLOT_FIELDS])
    found = []
    for row in table.to_pylist():
        if row["split"] == "train":
            slot = slot_of(row)
            known = any(value is not None for value in slot.values())
            turns = [Turn(role=turn["role"], text=turn["text"]) for turn in row["turns"]]
            found.append((turns, slot if known else None))
    return found


def encode(
    rows: list[tuple[list[Turn], Slot | None]], tokenizer: Any, recipe: PolicyRecipe, window: int
) -> list[Prompt]:
    """The prompts that fit into ``max_prompt_tokens``, long ones without their oldest turns.

    Raises InputError if none is left, or if one and its reply exceed the model's ``window``.
    """
    prompts, shortened = [], 0
    for turns, slot in rows:
        kept = fit(turns, 0, tokenizer, recipe.max_prompt_tokens)
        if kept is not None:
            prompts.append(Prompt(kept, prompt_tokens(kept, tokenizer), slot))
            shortened += len(kept) < len(turns)
    print(
        f"policy: {len(prompts)} prompts, {shortened} without their oldest turns, "
        f"{len(rows) - len(prompts)} left out"
    )
    if not prompts:
        raise InputError(
            "prompts",
            f"none of {len(rows)} can be used",
            "Give more data, or raise policy.max_prompt_tokens.",
        )
    longest = max(len(prompt.ids) for prompt in prompts)
    if longest + recipe.max_new_tokens > window:
        raise InputError(
            "prompts",
            f"the longest has {longest} tokens, and with a reply of {recipe.max_new_tokens} it "
            f"exceeds the model's window of {window}",
            "Lower policy.max_prompt_tokens or policy.max_new_tokens.",
        )
    return prompts


def generator(*parts: object) -> torch.Generator:
    """Random numbers that depend on ``parts`` alone, on whatever device they are used.

    Every step draws its own from (seed, step), so that no random state has to be kept: a resumed
    run draws what an uninterrupted one does.
    """
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))


def chosen(count: int, batch: int, seed: int, step: int) -> list[int]:
    """Which of ``count`` prompts make up ``step`` (from 1).

    The steps run through one permutation after the other, so that every prompt comes up equally
    often.
    """
    places = range((step - 1) * batch, step * batch)
    orders = {
        epoch: torch.randperm(count, generator=generator(seed, "prompts", epoch)).tolist()
        for epoch in {place // count for place in places}
    }
    return [orders[place // count][place % count] for place in places]
