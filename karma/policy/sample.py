"""Sampling replies, one to each prompt.

Prompts are padded on the left, keys and values of all tokens are kept, and a reply leaves the batch
when it ends. Which token comes next is decided by a number that belongs to the reply and its place,
drawn before: so a reply does not depend on what is sampled beside it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import log_softmax
from transformers.cache_utils import DynamicCache

from karma.policy.faults import NotFiniteError
from karma.policy.models import ActorCritic


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn."""

    eos: int
    pad: int
    temperature: float
    max_new_tokens: int


class Sample(NamedTuple):
    """Replies as the sampler leaves them.

    ``replies`` hold their end-of-text token where ``ended``. The rest is (replies, tokens), zero
    where there is no token; ``values`` mean something only with a shared critic.
    """

    replies: list[list[int]]
    ended: list[bool]
    logprobs: Tensor
    values: Tensor
    entropy: Tensor
    mask: Tensor


def uniform(count: int, tokens: int, generator: torch.Generator) -> Tensor:
    """Numbers from [0, 1) that decide what is sampled, (count, tokens).

    They are drawn for all replies of a step at once, so that a reply's tokens do not depend on
    which others are sampled beside it, nor on where.
    """
    return torch.rand(count, tokens, generator=generator, dtype=torch.float64)


def sample(
    model: ActorCritic, prompts: list[list[int]], sampling: Sampling, draws: Tensor
) -> Sample:
    """One reply to each prompt, drawn from the policy at ``sampling.temperature``.

    ``draws`` as ``uniform`` gives them, (prompts, max_new_tokens). Raises NotFiniteError when the
    policy gives no probabilities.
    """
    with torch.no_grad(), model.computing(), model.cast_once():
        return _sample(model, prompts, sampling, draws)


def _sample(
    model: ActorCritic, prompts: list[list[int]], sampling: Sampling, draws: Tensor
) -> Sample:
    device = model.head.weight.device
    draws = draws.to(device)
    ids, mask = _pad_left(prompts, sampling.pad, device)
    # Padding must not count: the first real token stands at position 0 in every row.
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.policy.config)
    size = (len(prompts), sampling.max_new_tokens)
    tokens = torch.zeros(size, dtype=torch.long, device=device)
    logprobs, values, entropy = (torch.zeros(size, device=device) for _ in range(3))
    count = torch.zeros(len(prompts), dtype=torch.long, device=device)
    alive = torch.arange(len(prompts), device=device)
    for t in range(sampling.max_new_tokens):
        output = model.policy(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            output_hidden_states=model.trunk is None,
        )
        every = log_softmax(output.logits[:, -1].float() / sampling.temperature, dim=-1)
        if not every.max(1).values.isfinite().all():
            raise NotFiniteError("the policy's log-probability is not finite")
        chances = every.exp()
        drawn = _draw(chances, draws[alive, t])
        tokens[alive, t] = drawn.squeeze(1)
        logprobs[alive, t] = every.gather(1, drawn).squeeze(1)
        entropy[alive, t] = torch.special.entr(chances).sum(1)
        if model.trunk is None:
            values[alive, t] = model.head(output.hidden_states[-1][:, -1]).squeeze(1).float()
        count[alive] += 1
        going = (drawn.squeeze(1) != sampling.eos).nonzero().squeeze(1)
        if not len(going):
            break
        if len(going) < len(alive):
            cache.batch_select_indices(going)
            alive, mask, positions, drawn = (
                alive[going],
                mask[going],
                positions[going],
                drawn[going],
            )
        ids, positions = drawn, positions[:, -1:] + 1
        mask = torch.cat([mask, torch.ones_like(drawn)], dim=1)
    longest = int(count.max())
    inside = torch.arange(longest, device=device) < count[:, None]
    replies = [row[:n] for row, n in zip(tokens.tolist(), count.tolist(), strict=True)]
    ended = [row[-1] == sampling.eos for row in replies]
    return Sample(
        replies,
        ended,
        logprobs[:, :longest],
        values[:, :longest],
        entropy[:, :longest],
        inside,
    )


def _draw(chances: Tensor, draws: Tensor) -> Tensor:
    """The token of each row at which its probabilities (rows, vocabulary) add up to its draw."""
    # Double precision, or the sum over a large vocabulary would never reach a draw near 1.
    sums = chances.cumsum(1, dtype=torch.float64)
    return torch.searchsorted(sums, (draws * sums[:, -1])[:, None], right=True)


def _pad_left(prompts: list[list[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Prompts padded on the left, and where they are not padding, (prompts, longest) each."""
    longest = max(len(prompt) for prompt in prompts)
    gaps = [longest - len(prompt) for prompt in prompts]
    rows = list(zip(prompts, gaps, strict=True))
    ids = torch.tensor([[pad] * gap + prompt for prompt, gap in rows], device=device)
    mask = torch.tensor([[0] * gap + [1] * len(prompt) for prompt, gap in rows], device=device)
    return ids, mask
