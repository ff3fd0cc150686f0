"""A language model as evaluation uses it."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from karma import device
from karma.errors import InputError, StageError
from karma.jobs import Job

# Stands for the user's text while a chat template is rendered.
MARK = "\N{OBJECT REPLACEMENT CHARACTER}karma\N{OBJECT REPLACEMENT CHARACTER}"

# Before a chat template: the day that it is told, Llama 3's own where it has no clock. With the
# real one, models that are asked on two days would get two prompts.
TODAY = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro +%}"


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

    def prompts(self, texts: list[str], chat: bool) -> list[list[int]]:
        """Token ids of each text as a prompt: begun as a text, or with ``chat`` as a user's turn
        up to where the model answers.

        Raises InputError if the model has no chat template.
        """
        if not chat:
            return self.encode(texts)
        head, tail = self._turn()
        added = self.tokenizer.added_tokens_decoder.values()
        special = [token.content for token in added if token.special]
        return [self._turn_ids(head, text.strip(), tail, special) for text in texts]

    def written(self, texts: list[str], chat: bool) -> list[str]:
        """What ``prompts`` makes tokens of: the texts, with ``chat`` in the template."""
        if not chat:
            return texts
        head, tail = self._turn()
        return [head + text.strip() + tail for text in texts]

    def _turn(self) -> tuple[str, str]:
        """What the chat template writes around a user's text."""
        whole = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": MARK}],
            chat_template=self.chat_template(),
            tokenize=False,
            add_generation_prompt=True,
        )
        head, _, tail = whole.partition(MARK)
        return head, tail

    def chat_template(self) -> str:
        """The tokenizer's, which writes the same every day. Raises InputError if there is none."""
        if not self.tokenizer.chat_template:
            raise InputError(
                "evals.chat", "the model's tokenizer has no chat template", "Set evals.chat=false."
            )
        return TODAY + str(self.tokenizer.get_chat_template())

    def _turn_ids(self, head: str, text: str, tail: str, special: list[str]) -> list[int]:
        """A user's turn, tokenised as one text, as the model knows it.

        Only the template's tokens may be special: a text that spells one out is tokenised by
        itself.
        """
        if any(token in text for token in special):
            return [*self._ids(head), *self.encode([text], False)[0], *self._ids(tail)]
        return self._ids(head + text + tail)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def asked(job: Job) -> LanguageModel:
    """The model of a job: its input ``model``, or what that keeps at the KL ``point``.

    Raises StageError if the policy never reached that KL.
    """
    point = job.config.get("point", "")
    folder = job.inputs["model"] / point
    if not folder.is_dir():
        raise StageError(
            f"the policy never reached the KL that is to be evaluated ({point}): lower "
            "policy.evaluate, or let it go further (policy.kl_target, policy.episodes)"
        )
    return kept(folder, job.compute)


@lru_cache(maxsize=1)
def kept(folder: Path, compute: str) -> LanguageModel:
    """``load``, and the last one stays in memory: a model's benchmarks run one after the other.

    ``folder`` lies in the store, so its name says what it holds.
    """
    return load(folder, compute)


def load(folder: Path, compute: str) -> LanguageModel:
    """The model in a Hugging Face folder: float32 on a CPU; on a card bfloat16, but for the head.

    Raises InputError if ``compute`` is cuda and there is no card.
    """
    if compute == "cuda":
        device.enough(torch.cuda.device_count())
    transformers_logging.disable_progress_bar()
    dtype = torch.bfloat16 if compute == "cuda" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(compute).eval()
    return wrap(model, AutoTokenizer.from_pretrained(folder))


def wrap(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> LanguageModel:
    """A model that is already in memory."""
    if model.dtype != torch.float32:
        _single_head(model)
    end = model.generation_config.eos_token_id
    ends = set(end) if isinstance(end, list) else {end}
    ends.add(tokenizer.eos_token_id)
    return LanguageModel(
        model=model,
        tokenizer=tokenizer,
        max_length=model.config.max_position_embeddings,
        ends=frozenset(token for token in ends if token is not None),
    )


def _single_head(model: PreTrainedModel) -> None:
    """Have the head give its logits in single precision: bfloat16 has so few values that the
    logits of two choices are often the same, and a tie is no answer."""
    head = model.get_output_embeddings()
    weight = head.weight.detach().float()
    bias = None if head.bias is None else head.bias.detach().float()

    def forward(states: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(states.float(), weight, bias)

    head.forward = forward
