"""What a reward model starts from: any Hugging Face model that can be made a sequence classifier.

Causal models (Llama, Qwen, GPT-2 and their kind) are read at their last token, encoders (BERT and
its kind) at their first. No code from the model is run and no pickle is read.
"""

from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, TaskType
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    set_seed,
)
from transformers.pytorch_utils import Conv1D

from karma.base.load import give_pad
from karma.errors import InputError
from karma.jobs import Job
from karma.pretrained import SAFE, SAVED, WEIGHTS, loading, positions
from karma.reward.recipe import Lora, RewardRecipe


@dataclass(frozen=True)
class Source:
    """Where the weights come from: a local folder or a hub id, and its revision."""

    name: str
    revision: str | None


def source(job: Job, recipe: RewardRecipe) -> Source:
    """The backbone that the recipe names, or ``base``."""
    if recipe.backbone is not None and recipe.backbone.model is not None:
        return Source(recipe.backbone.model, recipe.backbone.revision)
    return Source(str(job.inputs["base" if recipe.backbone is None else "backbone"]), None)


def tokenizer_of(start: Source, max_tokens: int) -> tuple[PreTrainedTokenizerBase, bool]:
    """The backbone's tokenizer, and whether it had to be given a pad token of its own: with the end
    token as pad, the reward would be read at the wrong token.

    Raises InputError if the backbone cannot be loaded, or cannot hold ``max_tokens``.
    """
    with loading(start.name, SAVED):
        tokenizer = AutoTokenizer.from_pretrained(start.name, revision=start.revision, **SAFE)
        config = AutoConfig.from_pretrained(start.name, revision=start.revision, **SAFE)
    given = give_pad(tokenizer)
    limit = positions(config)
    if limit is not None and max_tokens > limit:
        raise InputError(
            "reward.max_tokens",
            f"{max_tokens} is more than the {limit} positions of the model",
            f"Set it to {limit} or less.",
        )
    tokenizer.padding_side = "right"
    return tokenizer, given


def classifier(start: Source, tokenizer: PreTrainedTokenizerBase, seed: int) -> Any:
    """The backbone with a score head of one output, drawn from ``seed``, in float32.

    Raises InputError if it cannot be loaded so.
    """
    set_seed(seed)
    with loading(start.name, SAVED):
        model, report = AutoModelForSequenceClassification.from_pretrained(
            start.name,
            revision=start.revision,
            num_labels=1,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # the head of another classifier gives way to ours
            output_loading_info=True,
            **WEIGHTS,
        )
    heads = tuple(f"{name}." for name in _heads(model))
    body = [str(key) for key, *_ in report["mismatched_keys"] if not str(key).startswith(heads)]
    if body:
        raise InputError(
            start.name, f"its weights are of another size than its config says ({body[0]})", SAVED
        )
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    return model


def _heads(model: Any) -> list[str]:
    """The modules that are no part of the backbone and hold weights."""
    return [
        name
        for name, module in model.named_children()
        if name != model.base_model_prefix and any(True for _ in module.parameters())
    ]


def adapters(model: Any, lora: Lora | None) -> LoraConfig | None:
    """What ``lora`` asks for, the head trained whole beside the adapters; None for all weights."""
    if lora is None:
        return None
    return LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules=lora.targets,
        # GPT-2 keeps its linear layers the other way round.
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        modules_to_save=_heads(model),
    )
