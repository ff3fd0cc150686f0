"""Sampled texts, each from random numbers of its own.

A text's random numbers come from (seed, its prompt's key, its number), so they are the same
whatever else is in the batch. The prompt is read once for all of its samples, and a text that has
ended leaves the batch.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from karma.errors import InputError
from karma.evals import prefix
from karma.evals.benchmark import stable
from karma.evals.model import LanguageModel
from karma.evals.settings import EvalsSettings


class Prompt(NamedTuple):
    """What is continued; ``key`` names it among the prompts of its benchmark."""

    key: str
    text: str


class Sampled(NamedTuple):
    """The texts of one prompt, without special tokens and outer spaces."""

    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    """Tokens of each text, the end token not counted."""
    cut: bool
    """Whether the prompt was too long and lost its beginning."""


def generate(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    settings: EvalsSettings,
    seed: int,
    progress: Callable[[float, float, str], None],
    chat: bool = False,
) -> list[Sampled]:
    """``settings.generations`` texts for each prompt, of at most ``settings.max_new_tokens``.

    With ``chat`` each prompt is a user's turn in the model's chat template. Raises InputError if
    the model has no room for so long a text.
    """
    room = model.max_length - settings.max_new_tokens
    if room < 1:
        raise InputError(
            "evals.max_new_tokens",
            f"{settings.max_new_tokens} leaves no room for a prompt in the model's "
            f"{model.max_length} positions",
            "Set it lower.",
        )
    whole = model.prompts([prompt.text for prompt in prompts], chat)
    order = sorted(range(len(prompts)), key=lambda i: (len(whole[i]), i))
    found: dict[int, Sampled] = {}
    while order:
        batch = _next_batch([min(len(whole[i]), room) for i in order], settings)
        now, order = order[:batch], order[batch:]
        numbers = np.stack(
            [
                _uniform(f"{seed}/{prompts[i].key}/{k}", settings.max_new_tokens)
                for i in now
                for k in range(settings.generations)
            ]
        )
        tokens = _sample(model, [whole[i][-room:] for i in now], numbers, settings)
        texts = [t.strip() for t in model.tokenizer.batch_decode(tokens, skip_special_tokens=True)]
        for place, i in enumerate(now):
            own = slice(place * settings.generations, (place + 1) * settings.generations)
            lengths = tuple(len(ids) for ids in tokens[own])
            found[i] = Sampled(tuple(texts[own]), lengths, len(whole[i]) > room)
        progress(len(found), len(prompts), "prompts")
    return [found[i] for i in range(len(prompts))]


def _next_batch(lengths: Sequence[int], settings: EvalsSettings) -> int:
    """How many of the next prompts, sorted by length, fit the token budget; at least one."""
    count = 1
    for place, length in enumerate(lengths, start=1):
        rows = place * settings.generations
        if rows * (length + settings.max_new_tokens) > settings.batch_tokens:
            break
        count = place
    return count


def _uniform(key: str, count: int) -> np.ndarray:
    return np.random.default_rng(int(stable(key)[:16], 16)).random(count)


@torch.inference_mode()
def _sample(
    model: LanguageModel, rows: list[list[int]], numbers: np.ndarray, settings: EvalsSettings
) -> list[list[int]]:
    """Tokens of ``generations`` texts for each row of prompt tokens.

    ``numbers`` [rows × generations, max_new_tokens] in [0, 1) pick each token: the first whose
    cumulative probability exceeds the number.
    """
    uniform = torch.from_numpy(numbers).to(model.device)
    owner = torch.arange(len(rows), device=model.device).repeat_interleave(settings.generations)
    state = prefix.select(prefix.read(model.model, rows), owner)
    alive = torch.arange(len(owner), device=model.device)
    ends = torch.tensor(sorted(model.ends), device=model.device)
    texts: list[list[int]] = [[] for _ in owner]
    for step in range(settings.max_new_tokens):
        tokens = _pick(state.logits / settings.temperature, uniform[alive, step])
        going = ~torch.isin(tokens, ends)
        for row, token, goes in zip(alive.tolist(), tokens.tolist(), going.tolist(), strict=True):
            if goes:
                texts[row].append(token)
        if not going.any() or step + 1 == settings.max_new_tokens:
            break
        if not going.all():
            kept = going.nonzero()[:, 0]
            state, alive, tokens = prefix.select(state, kept), alive[kept], tokens[kept]
        _, state = prefix.extend(
            model.model, state, tokens[:, None], torch.ones_like(tokens[:, None])
        )
    return texts


def _pick(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """One token [rows] from each row of ``logits`` [rows, vocabulary], by inverse sampling."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    # Rounding may leave the last sum a little off one.
    sought = uniform[:, None] * cumulative[:, -1:]
    picked = torch.searchsorted(cumulative, sought, right=True)[:, 0]
    return picked.clamp(max=logits.shape[-1] - 1)
