"""Log-likelihoods of continuations given a prefix, the prefix read once for all of its own.

Tokens are cut as lm-evaluation-harness cuts them (``HFLM``), so that numbers agree: the prefix is
encoded, prefix and continuation are encoded together, and what exceeds the prefix's tokens is the
continuation. Spaces that end a prefix move to the continuation. An empty prefix is the begin token.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from karma.errors import CheckError
from karma.evals import prefix
from karma.evals.model import LanguageModel


class Request(NamedTuple):
    """What is asked: how likely is each continuation after the prefix?"""

    prefix: str
    continuations: tuple[str, ...]
    chat: bool = False
    """Whether the prefix is a user's turn in the model's chat template."""


class Answer(NamedTuple):
    """The continuations' log-likelihoods (nats, the whole sum) and lengths in tokens."""

    loglikelihoods: tuple[float, ...]
    tokens: tuple[int, ...]
    cut: bool
    """Whether the prefix was too long and lost its beginning."""


@dataclass(frozen=True)
class Encoded:
    """A request in tokens."""

    prefix: list[int]
    continuations: list[list[int]]
    cut: bool


def score(
    model: LanguageModel,
    requests: Sequence[Request],
    batch_tokens: int,
    progress: Callable[[float, float, str], None],
) -> list[Answer]:
    """The answer to each request; which requests share a batch changes nothing but rounding.

    ``batch_tokens`` bounds what goes through the model at once, padding included (a single row may
    exceed it). Raises CheckError if a log-likelihood is not finite.
    """
    encoded = encode(model, requests)
    answers: list[Answer | None] = [None] * len(encoded)
    done = 0
    for batch in _batches(
        [len(e.prefix) + sum(map(len, e.continuations)) for e in encoded], batch_tokens
    ):
        found = _score_batch(model, [encoded[i] for i in batch])
        for i, values in zip(batch, found, strict=True):
            lengths = tuple(len(ids) for ids in encoded[i].continuations)
            answers[i] = Answer(tuple(values), lengths, encoded[i].cut)
        done += len(batch)
        progress(done, len(encoded), "items")
    return [answer for answer in answers if answer is not None]


def encode(model: LanguageModel, requests: Sequence[Request]) -> list[Encoded]:
    """The requests in tokens, prefixes cut from the left where the model has too few positions."""
    if any(request.chat for request in requests):
        return _encode_turns(model, requests)
    split = [_move_spaces(request) for request in requests]
    heads = model.encode([head for head, _ in split])
    wholes = iter(model.encode([head + tail for head, tails in split if head for tail in tails]))
    alone = iter(model.encode([t for head, tails in split if not head for t in tails], False))
    encoded = []
    for (head, tails), head_ids in zip(split, heads, strict=True):
        if head:
            ids = head_ids
            rest = [next(wholes)[len(head_ids) :] for _ in tails]
        else:
            ids = [_begin(model)]
            rest = [next(alone) for _ in tails]
        encoded.append(_fit(model, ids, rest))
    return encoded


def _encode_turns(model: LanguageModel, requests: Sequence[Request]) -> list[Encoded]:
    """Chat turns: what the model would say begins after the template's last token."""
    heads = model.prompts([request.prefix for request in requests], chat=True)
    alone = iter(model.encode([t for request in requests for t in request.continuations], False))
    return [
        _fit(model, head, [next(alone) for _ in request.continuations])
        for request, head in zip(requests, heads, strict=True)
    ]


def _move_spaces(request: Request) -> tuple[str, list[str]]:
    head = request.prefix.rstrip()
    spaces = request.prefix[len(head) :]
    return head, [spaces + tail for tail in request.continuations]


def _begin(model: LanguageModel) -> int:
    """The token that stands for "nothing came before"."""
    begin = model.tokenizer.bos_token_id
    token: int = model.tokenizer.eos_token_id if begin is None else begin
    return token


def _fit(model: LanguageModel, head: list[int], tails: list[list[int]]) -> Encoded:
    """Cut the prefix so that the longest continuation fits too; its last token is never read."""
    longest = max(len(tail) for tail in tails)
    if min(len(tail) for tail in tails) == 0:
        raise CheckError("a choice has no tokens of its own after its prompt")
    room = model.max_length - (longest - 1)
    if room < 1:
        raise CheckError(
            f"a choice of {longest} tokens is longer than the model's {model.max_length} positions"
        )
    return Encoded(head[-room:], tails, cut=len(head) > room)


def _batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices of rows of like length, rows × longest at most ``batch_tokens``, longest first.

    The longest come first so that what does not fit in memory fails at once.
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and (len(batch) + 1) * lengths[batch[0]] > batch_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


@torch.inference_mode()
def _score_batch(model: LanguageModel, batch: Sequence[Encoded]) -> list[list[float]]:
    """The log-likelihoods of each request's continuations."""
    state = prefix.read(model.model, [e.prefix for e in batch])
    tails = [(row, ids) for row, e in enumerate(batch) for ids in e.continuations]
    owner = torch.tensor([row for row, _ in tails], device=model.device)
    first = torch.tensor([ids[0] for _, ids in tails], device=model.device)
    total = state.logits.log_softmax(-1)[owner, first].double()
    # A continuation of one token is answered by the prefix's own logits.
    longer = [row for row, e in enumerate(batch) if any(len(ids) > 1 for ids in e.continuations)]
    if longer:
        if len(longer) < len(batch):
            state = prefix.select(state, torch.tensor(longer, device=model.device))
        found = _rest(model, state, [batch[row].continuations for row in longer])
        total[torch.isin(owner, torch.tensor(longer, device=model.device))] += found
    values = iter(total.tolist())
    if not torch.isfinite(total).all():
        raise CheckError("the model gave a log-likelihood that is not a finite number")
    return [[next(values) for _ in e.continuations] for e in batch]


def _rest(
    model: LanguageModel, state: prefix.State, tails: Sequence[Sequence[list[int]]]
) -> torch.Tensor:
    """The log-likelihood [continuations] of each row's continuations' tokens after their first."""
    read = [[ids[:-1] for ids in row] for row in tails]
    logits, branch = prefix.branch(model.model, state, read)
    targets, _ = prefix.pad([[t for ids in row for t in ids[1:]] for row in tails], model.device)
    logits = logits.float()
    chosen = logits.gather(-1, targets[..., None])[..., 0] - logits.logsumexp(-1)
    counts = [len(row) for row in tails]
    starts = torch.tensor([sum(counts[:row]) for row in range(len(counts))], device=model.device)
    sums = torch.zeros(sum(counts), dtype=torch.float64, device=model.device)
    place, real = (starts[:, None] + branch).clamp(min=0), branch >= 0
    return sums.index_add(0, place[real], chosen[real].double())
