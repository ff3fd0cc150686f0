"""Sampling replies, and what each of their tokens was worth to policy, reference and critic.

The sampler pads prompts on the left, keeps keys and values of all tokens, and drops a reply from
the batch when it ends. Everything else reads prompt and reply together, padded on the right, where
causal attention needs no mask; logits are computed where a reply's tokens are predicted and nowhere
else. A batch is read in pieces of like length with a budget of tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, pad
from transformers.cache_utils import DynamicCache

from karma.policy.faults import NotFiniteError
from karma.policy.memory import Budget
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


@dataclass(frozen=True)
class Rollout:
    """Sampled replies and what is known of each token at sampling, (replies, tokens) each."""

    prompts: list[list[int]]
    replies: list[list[int]]
    ended: list[bool]
    logprobs: Tensor
    reference: Tensor
    values: Tensor
    entropy: Tensor
    mask: Tensor

    @property
    def lengths(self) -> list[int]:
        """The tokens of each prompt and reply together."""
        return lengths(self.prompts, self.replies)


class Tokens(NamedTuple):
    """What the networks say now about the n tokens of some replies, reply by reply."""

    logprobs: Tensor
    values: Tensor
    logits: Tensor

    def entropy(self) -> Tensor:
        """The entropy in nats of each token's distribution, (n,)."""
        logprobs = log_softmax(self.logits, dim=-1)
        return -(logprobs.exp() * logprobs).sum(-1)


def roll_out(
    model: ActorCritic,
    reference: Any,
    prompts: list[list[int]],
    sampling: Sampling,
    budget: Budget,
    draws: Tensor,
) -> Rollout:
    """Sample one reply to each prompt and read it with the reference and the critic.

    The sampler's own log-probabilities and values are kept: in single precision they are those of a
    forward pass over the whole text (to 1e-5). In bfloat16 they are not, and are read again.
    """
    drawn = sample(model, prompts, sampling, draws)
    blank = torch.zeros_like(drawn.logprobs)
    rollout = Rollout(
        prompts,
        drawn.replies,
        drawn.ended,
        drawn.logprobs,
        blank,
        drawn.values if model.trunk is None else blank,
        drawn.entropy,
        drawn.mask,
    )
    longest = max(rollout.lengths)
    return budget.fit(lambda size: _read(model, reference, rollout, sampling, size), longest)


@torch.no_grad()
def _read(
    model: ActorCritic, reference: Any, rollout: Rollout, sampling: Sampling, budget: int
) -> Rollout:
    """The rollout with what the reference says, and what the sampler did not."""
    past, values = torch.zeros_like(rollout.logprobs), rollout.values.clone()
    logprobs = rollout.logprobs.clone()
    for rows in micro_batches(rollout.lengths, range(len(rollout.prompts)), budget):
        device, inside = past.device, rollout.mask[rows]
        ids, where, tokens = _texts(rollout.prompts, rollout.replies, rows, device)
        with model.computing():
            logits = reference(input_ids=ids, logits_to_keep=where, use_cache=False).logits.float()
            if model.trunk is not None and not model.half_precision:
                values[rows] = _spread(model.critic(ids, where), inside)
        past[rows] = _spread(_chosen(logits / sampling.temperature, tokens), inside)
        if model.half_precision:
            now = evaluate(model, rollout, rows, sampling.temperature)
            logprobs[rows], values[rows] = (
                _spread(now.logprobs, inside),
                _spread(now.values, inside),
            )
    return replace(rollout, logprobs=logprobs, reference=past, values=values)


def join(parts: list[Rollout], device: str) -> Rollout:
    """Several rollouts as one, on ``device``."""
    longest = max(part.mask.shape[1] for part in parts)

    def tensor(name: str) -> Tensor:
        found: list[Tensor] = [getattr(part, name) for part in parts]
        return torch.cat([pad(one.to(device), (0, longest - one.shape[1])) for one in found])

    return Rollout(
        [prompt for part in parts for prompt in part.prompts],
        [reply for part in parts for reply in part.replies],
        [whole for part in parts for whole in part.ended],
        *(tensor(name) for name in ("logprobs", "reference", "values", "entropy", "mask")),
    )


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
    with torch.no_grad(), model.computing():
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


def evaluate(
    model: ActorCritic, rollout: Rollout, rows: Sequence[int], temperature: float
) -> Tokens:
    """What policy and critic say now about the replies ``rows``, with gradients.

    Token t of a reply is predicted, and valued, at the place before it.
    """
    ids, where, tokens = _texts(rollout.prompts, rollout.replies, rows, rollout.mask.device)
    with model.computing():
        logits, values = model(ids, where)
    logits = logits / temperature
    return Tokens(_chosen(logits, tokens), values, logits)


def lengths(prompts: list[list[int]], replies: list[list[int]]) -> list[int]:
    """The tokens of each prompt and reply together."""
    return [len(p) + len(r) for p, r in zip(prompts, replies, strict=True)]


def micro_batches(sizes: list[int], rows: Sequence[int], budget: int) -> Iterator[list[int]]:
    """``rows`` in pieces of like length: one row, or at most ``budget`` tokens with padding."""
    piece: list[int] = []
    for row in sorted(rows, key=lambda row: (sizes[row], row)):
        if piece and sizes[row] * (len(piece) + 1) > budget:
            yield piece
            piece = []
        piece.append(row)
    if piece:
        yield piece


def _texts(
    prompts: list[list[int]], replies: list[list[int]], rows: Sequence[int], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Prompts and replies padded on the right, where tokens are predicted, and these tokens.

    ``ids`` and ``where`` (rows, longest), ``tokens`` (n,). The last token predicts nothing that
    counts and is left out.
    """
    texts = [prompts[row] + replies[row][:-1] for row in rows]
    longest = max(len(text) for text in texts)
    # Right of a text any token will do: nothing before it can see it.
    ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts], device=device)
    place = torch.arange(longest)
    first = torch.tensor([len(prompts[row]) - 1 for row in rows])[:, None]
    end = torch.tensor([len(text) for text in texts])[:, None]
    where = ((place >= first) & (place < end)).to(device)
    tokens = torch.tensor([token for row in rows for token in replies[row]], device=device)
    return ids, where, tokens


def _chosen(logits: Tensor, tokens: Tensor) -> Tensor:
    """The log-probability of each token, (n,), from logits (n, vocabulary)."""
    return log_softmax(logits, dim=-1).gather(1, tokens[:, None]).squeeze(1)


def _spread(flat: Tensor, mask: Tensor) -> Tensor:
    """Numbers (n,) back in their places of ``mask`` (rows, tokens), zero elsewhere."""
    full = torch.zeros(mask.shape, dtype=flat.dtype, device=flat.device)
    full[mask] = flat
    return full


def _pad_left(prompts: list[list[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Prompts padded on the left, and where they are not padding, (prompts, longest) each."""
    longest = max(len(prompt) for prompt in prompts)
    gaps = [longest - len(prompt) for prompt in prompts]
    rows = list(zip(prompts, gaps, strict=True))
    ids = torch.tensor([[pad] * gap + prompt for prompt, gap in rows], device=device)
    mask = torch.tensor([[0] * gap + [1] * len(prompt) for prompt, gap in rows], device=device)
    return ids, mask
