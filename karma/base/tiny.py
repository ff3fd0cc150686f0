"""Trains a tiny language model: a plain loop, short enough to read.

Facts in the text appear in a phase transition over steps, so many small batches beat few large
ones. It runs on the CPU whatever ``compute`` says: a tiny model gains nothing from a card.
"""

import math
import random
from collections.abc import Callable, Iterator

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from karma.base.recipe import TinyRecipe
from karma.errors import StageError
from karma.jobs import Job

WINDOW = 32  # batches whose sequences are sorted by length together, so that little is padded
REPORT = 25  # steps between two lines of metrics
IGNORED = -100  # the label that the loss leaves out


def train(
    job: Job, recipe: TinyRecipe, tokenizer: PreTrainedTokenizerFast, texts: list[str]
) -> tuple[LlamaForCausalLM, dict[str, float]]:
    """A model that has learned ``recipe.sequences`` sequences of ``texts``, and its numbers.

    The numbers: ``loss_first`` and ``loss_last`` (mean cross-entropy in nats of a token over the
    first and last ten steps), ``tokens`` (read in training), ``parameters``.
    """
    torch.manual_seed(recipe.seed)
    model = LlamaForCausalLM(_config(recipe, tokenizer))
    pieces = _pieces(tokenizer, texts, recipe.max_tokens)
    batches = list(_batches(pieces, recipe))
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _shape(len(batches)))
    losses: list[float] = []
    model.train()
    for step, batch in enumerate(batches, start=1):
        loss = model(**_tensors(batch, tokenizer.pad_token_id)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise StageError(f"the loss became {losses[-1]} at step {step}; lower base.tiny.lr")
        if step % REPORT == 0 or step == len(batches):
            job.metrics(step, loss=losses[-1], lr=float(schedule.get_last_lr()[0]))
            job.progress(step, len(batches), "steps")
    model.eval()
    return model, {
        "loss_first": sum(losses[:10]) / len(losses[:10]),
        "loss_last": sum(losses[-10:]) / len(losses[-10:]),
        "tokens": sum(len(piece) for batch in batches for piece in batch),
        "parameters": model.num_parameters(),
    }


def _config(recipe: TinyRecipe, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.intermediate,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.context,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def _pieces(tokenizer: PreTrainedTokenizerFast, texts: list[str], length: int) -> list[list[int]]:
    """The texts as token ids, ``<bos> text <eos>``, in pieces of at most ``length``."""
    pieces = []
    for ids in tokenizer(texts, split_special_tokens=True)["input_ids"]:
        whole = [*ids, tokenizer.eos_token_id]
        pieces += [whole[start : start + length] for start in range(0, len(whole), length)]
    # One token alone has nothing to predict.
    return [piece for piece in pieces if len(piece) > 1]


def _batches(pieces: list[list[int]], recipe: TinyRecipe) -> Iterator[list[list[int]]]:
    """Batches of ``recipe.sequences`` pieces, as often through all of them as that takes."""
    order = random.Random(recipe.seed)
    chosen: list[list[int]] = []
    while len(chosen) < recipe.sequences:
        chosen += order.sample(pieces, min(len(pieces), recipe.sequences - len(chosen)))
    size = recipe.batch * WINDOW
    for start in range(0, len(chosen), size):
        window = sorted(chosen[start : start + size], key=len)
        batches = [window[i : i + recipe.batch] for i in range(0, len(window), recipe.batch)]
        yield from order.sample(batches, len(batches))


def _tensors(batch: list[list[int]], pad: int) -> dict[str, torch.Tensor]:
    """``input_ids``, ``attention_mask`` and ``labels``, each (batch, longest), padded right."""
    longest = max(len(piece) for piece in batch)
    gaps = [longest - len(piece) for piece in batch]
    rows = list(zip(batch, gaps, strict=True))
    return {
        "input_ids": torch.tensor([piece + [pad] * gap for piece, gap in rows]),
        "attention_mask": torch.tensor([[1] * len(piece) + [0] * gap for piece, gap in rows]),
        "labels": torch.tensor([piece + [IGNORED] * gap for piece, gap in rows]),
    }


def _shape(steps: int) -> Callable[[int], float]:
    """The learning rate's share of its highest by step: a linear rise, then a cosine to zero."""
    warmup = max(1, steps // 20)

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return share
