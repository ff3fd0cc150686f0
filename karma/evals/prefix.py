"""Forward passes over a batch of prefixes that are continued in more than one way.

The prefixes go through the model once. Their keys and values are then shared: by the choices of an
item (``karma.evals.scorer``) or by the samples of a prompt (``karma.evals.generate``).

Rows are padded on the right, so in the cache a row's continuation follows its padding. That is
right for models whose positions are told to them (Llama's rotary ones, GPT-2's learnt ones) and
whose attention reaches everything before: the padding is masked, and positions count real tokens.
Others count physical places; the stage ``base`` refuses them (``karma.pretrained.narrow``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel


@dataclass(frozen=True)
class State:
    """Rows that the model has read, ready to be continued.

    ``mask`` [rows, width] is 1 on real tokens, ``lengths`` [rows] counts them, ``logits``
    [rows, vocabulary] (float32) are those of the next token.
    """

    cache: DynamicCache
    mask: torch.Tensor
    lengths: torch.Tensor
    logits: torch.Tensor


def pad(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids [rows, longest] padded on the right, and the mask of the real ones."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    mask = torch.arange(width, device=device)[None, :] < lengths[:, None]
    return ids, mask.long()


def read(model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> State:
    """Let the model read each row, none of which may be empty."""
    ids, mask = pad(rows, model.device)
    lengths = mask.sum(1)
    # The head is a large part of a small model: only the last real place of each row needs it.
    places, which = torch.unique(lengths - 1, return_inverse=True)
    cache = DynamicCache(config=model.config)
    # Padding stands on the right, where no real token looks: causal attention needs no mask, and
    # without one it takes its fast path.
    logits = model(
        input_ids=ids,
        position_ids=_positions(torch.zeros_like(lengths), ids.shape[1]),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=places,
    ).logits
    last = logits[torch.arange(len(rows), device=model.device), which]
    return State(cache, mask, lengths, last.float())


def select(state: State, rows: torch.Tensor) -> State:
    """A state of the rows ``rows`` [n] of another, which stays as it is; rows may repeat."""
    cache = DynamicCache()
    for number, layer in enumerate(state.cache.layers):
        cache.update(layer.keys[rows], layer.values[rows], number)
    return State(cache, state.mask[rows], state.lengths[rows], state.logits[rows])


def extend(
    model: PreTrainedModel, state: State, ids: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, State]:
    """Let the model read ``ids`` [rows, n], padded on the right, after a state, using it up.

    Returns the logits [rows, n, vocabulary] of what follows each token, and the state after the
    last place (whose logits mean something only where no row is padded).
    """
    whole = torch.cat([state.mask, mask], dim=1)
    logits = model(
        input_ids=ids,
        attention_mask=whole,
        position_ids=_positions(state.lengths, ids.shape[1]),
        past_key_values=state.cache,
        use_cache=True,
    ).logits
    lengths = state.lengths + mask.sum(1)
    return logits, State(state.cache, whole, lengths, logits[:, -1].float())


def branch(
    model: PreTrainedModel, state: State, rows: Sequence[Sequence[Sequence[int]]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Let the model read several continuations of each row of a state at once, using it up.

    A row's continuations stand one after the other; each sees the prefix and itself, and its
    positions go on from the prefix, so that it is read as if it stood alone. Returns the logits
    [rows, n, vocabulary] of what follows each token, and [rows, n] which continuation of its row
    a token belongs to (-1: padding).
    """
    ids, mask = pad([[token for tail in row for token in tail] for row in rows], model.device)
    width = ids.shape[1]
    owner = _padded([[i for i, tail in enumerate(row) for _ in tail] for row in rows], width, -1)
    step = _padded([[i for tail in row for i in range(len(tail))] for row in rows], width, 0)
    owner, step = owner.to(model.device), step.to(model.device)
    same = owner[:, :, None] == owner[:, None, :]
    before = torch.ones(width, width, dtype=torch.bool, device=model.device).tril()
    seen = torch.cat([state.mask.bool()[:, None, :].expand(-1, width, -1), same & before], dim=2)
    dtype = model.dtype
    hidden = torch.zeros(seen.shape, dtype=dtype, device=model.device)
    hidden = hidden.masked_fill(~seen, torch.finfo(dtype).min)[:, None]
    logits = model(
        input_ids=ids,
        attention_mask=hidden,
        position_ids=state.lengths[:, None] + step,
        past_key_values=state.cache,
        use_cache=True,
    ).logits
    return logits, torch.where(mask.bool(), owner, -1)


def _padded(rows: Sequence[Sequence[int]], width: int, filler: int) -> torch.Tensor:
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows])


def _positions(start: torch.Tensor, count: int) -> torch.Tensor:
    return start[:, None] + torch.arange(count, device=start.device)[None, :]
