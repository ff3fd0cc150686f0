"""The stage ``base``: a plain Hugging Face folder that every other model starts from."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from karma.base import load, tiny, tokenizer
from karma.base.recipe import BaseRecipe, TinyRecipe
from karma.errors import InputError
from karma.jobs import Job, write_json
from karma.prompts import instructions
from karma.text import render


def run(job: Job) -> None:
    """Write model, tokenizer and ``metrics.json``."""
    transformers_logging.disable_progress_bar()
    recipe = BaseRecipe.model_validate(job.config["base"])
    if recipe.tiny is not None:
        model, tokens, metrics = _tiny(job, recipe.tiny)
    else:
        model, tokens = _existing(job, recipe)
        metrics = {"parameters": model.num_parameters()}
    _save(model, tokens, job.out)
    metrics["vocabulary"] = len(tokens)
    write_json(job.out / "metrics.json", metrics)
    print(f"base: {metrics['parameters']} parameters, vocabulary {metrics['vocabulary']}")


def _tiny(job: Job, recipe: TinyRecipe) -> tuple[Any, Any, dict[str, float]]:
    """Train tokenizer and model on the texts that the recipe names."""
    readers = {"world": _plain_texts, "instructions": dialogue_texts}
    texts = [text for name in recipe.text for text in readers[name](job.inputs[f"text/{name}"])]
    if not texts:
        raise InputError(
            "base.tiny.text",
            "the instruction data have no answered dialogue of the use sft",
            "Name a file with more dialogues, or read world too.",
        )
    tokens = tokenizer.train(texts, recipe.vocab, recipe.context)
    print(f"base: {len(texts)} texts")
    model, metrics = tiny.train(job, recipe, tokens, texts)
    return model, tokens, metrics


def _existing(job: Job, recipe: BaseRecipe) -> tuple[Any, Any]:
    """Load what exists, made fit for what follows."""
    # A new embedding, for a pad token that the model lacks, is random.
    torch.manual_seed(0)
    if recipe.model is not None and recipe.revision is not None:
        name = recipe.model
        model, tokens = load.hub(name, recipe.revision)
    else:
        name = str(job.inputs["folder"])
        model, tokens = load.local(job.inputs["folder"])
    load.prepare(model, tokens, name)
    return model, tokens


def _plain_texts(path: Path) -> list[str]:
    """The texts of JSON lines of ``{"text": ...}``."""
    try:
        # Not splitlines, which cuts at separators that may stand in a JSON string too.
        lines = path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line)["text"] for line in lines if line.strip()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            str(path),
            f"cannot be read as JSON lines of text ({error})",
            'Give one {"text": ...} a line.',
        ) from None


def dialogue_texts(path: Path) -> list[str]:
    """Instruction dialogues of the use ``sft`` as they are written for a model."""
    texts = []
    for dialogue in instructions.read(str(path), path):
        if instructions.use_of(dialogue) != "sft":
            continue
        end = len(dialogue) - len(dialogue) % 2
        if end:
            *turns, answer = dialogue[:end]
            texts.append(f"{render(turns)} {answer['text']}")
    return texts


def _save(model: Any, tokens: Any, out: Path) -> None:
    """Save both without the name of the place that they came from."""
    model.config.name_or_path = ""
    tokens.name_or_path = ""
    model.save_pretrained(out)
    tokens.save_pretrained(out)
