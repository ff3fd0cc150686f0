"""A rollout: sampled replies, and what their tokens were worth to policy, reference and critic.

Prompt and reply are read together, padded on the right, where causal attention needs no mask;
logits are computed where a reply's tokens are predicted and nowhere else. A batch is read in pieces
of like length with a budget of tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, pad
from torch.nn.utils.rnn import pad_sequence

from karma.memory import Budget
from karma.policy import hydra
from karma.policy.models import ActorCritic
from karma.policy.sample import Sampling, sample


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
    states: list[Tensor] = field(default_factory=list, kw_only=True)
    """What the frozen lower layers make of each text, (its tokens but the last, hidden units); none
    without such layers."""

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
    states: dict[int, Tensor] = {}
    for rows in micro_batches(rollout.lengths, range(len(rollout.prompts)), budget):
        device, inside = past.device, rollout.mask[rows]
        ids, where, tokens = _texts(rollout.prompts, rollout.replies, rows, device)
        with model.computing():
            with hydra.caught(model.lower) as caught:
                output = reference(input_ids=ids, logits_to_keep=where, use_cache=False)
            for lines in caught:
                for row, line in zip(rows, lines, strict=True):
                    states[row] = line[: rollout.lengths[row] - 1].clone()
            logits = output.logits.float()
            if model.trunk is not None and not model.half_precision:
                values[rows] = _spread(model.critic(ids, where), inside)
        past[rows] = _spread(_chosen(logits / sampling.temperature, tokens), inside)
        if model.half_precision:
            now = evaluate(model, rollout, rows, sampling.temperature)
            logprobs[rows], values[rows] = (
                _spread(now.logprobs, inside),
                _spread(now.values, inside),
            )
    kept = [states[row] for row in sorted(states)]
    return replace(rollout, logprobs=logprobs, reference=past, values=values, states=kept)


def join(parts: list[Rollout], device: str) -> Rollout:
    """Several rollouts as one, on ``device``."""
    longest = max(part.mask.shape[1] for part in parts)
    states = [state.to(device) for part in parts for state in part.states]

    def tensor(name: str) -> Tensor:
        found: list[Tensor] = [getattr(part, name) for part in parts]
        return torch.cat([pad(one.to(device), (0, longest - one.shape[1])) for one in found])

    return Rollout(
        [prompt for part in parts for prompt in part.prompts],
        [reply for part in parts for reply in part.replies],
        [whole for part in parts for whole in part.ended],
        *(tensor(name) for name in ("logprobs", "reference", "values", "entropy", "mask")),
        states=states,
    )


def evaluate(
    model: ActorCritic, rollout: Rollout, rows: Sequence[int], temperature: float
) -> Tokens:
    """What policy and critic say now about the replies ``rows``, with gradients.

    Token t of a reply is predicted, and valued, at the place before it.
    """
    ids, where, tokens = _texts(rollout.prompts, rollout.replies, rows, rollout.mask.device)
    states = None
    if rollout.states:
        states = pad_sequence([rollout.states[row] for row in rows], batch_first=True)
    with model.computing():
        logits, values = model(ids, where, states)
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
