"""A language model as evaluation uses it."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from karma.errors import StageError


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model, its tokenizer, and what it takes to ask it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    """Most positions that it has."""
    ends: frozenset[int]
    """The tokens that end a text."""

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        device: torch.device = self.model.device
        return device

    def encode(self, texts: list[str], special: bool = True) -> list[list[int]]:
        """Token ids of each text, begun as the tokenizer begins a text if ``special``.

        Special tokens that are spelt out in a text are plain text.
        """
        if not texts:
            return []
        encoded: list[list[int]] = self.tokenizer(
            texts,
            add_special_tokens=special,
            split_special_tokens=True,
            return_attention_mask=False,
            verbose=False,
        )["input_ids"]
        return encoded


def load(folder: Path, compute: str) -> LanguageModel:
    """The model in a Hugging Face folder: float32 on a CPU, bfloat16 on a card.

    Raises StageError if ``compute`` is cuda and there is no card.
    """
    if compute == "cuda" and not torch.cuda.is_available():
        raise StageError("compute is cuda, but this machine has no usable CUDA card")
    transformers_logging.disable_progress_bar()
    dtype = torch.bfloat16 if compute == "cuda" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(compute).eval()
    return wrap(model, AutoTokenizer.from_pretrained(folder))


def wrap(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> LanguageModel:
    """A model that is already in memory."""
    end = model.generation_config.eos_token_id
    ends = set(end) if isinstance(end, list) else {end}
    ends.add(tokenizer.eos_token_id)
    return LanguageModel(
        model=model,
        tokenizer=tokenizer,
        max_length=model.config.max_position_embeddings,
        ends=frozenset(token for token in ends if token is not None),
    )
