"""The stage ``sft``: the base model becomes the starting policy of one exposure."""

import datasets
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from karma.errors import InputError
from karma.jobs import Job, write_json
from karma.sft import data
from karma.sft.recipe import SftRecipe
from karma.sft.train import train


def run(job: Job) -> None:
    """Write the fine-tuned model, its tokenizer and ``metrics.json``."""
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    recipe = SftRecipe.model_validate(job.config["sft"])
    tokenizer = AutoTokenizer.from_pretrained(job.inputs["base"])
    examples = _examples(job, recipe)
    tokens = data.tokenise(examples, tokenizer, recipe.max_tokens)
    if not tokens.rows:
        raise InputError(
            f"sft/{job.config['exposure']}",
            f"none of {len(examples)} replies can be learned from",
            "Give more data, or raise sft.max_tokens.",
        )
    print(
        f"sft: {len(tokens.rows)} replies, {tokens.shortened} without their oldest turns, "
        f"{tokens.left_out} left out"
    )
    model, numbers = train(job, recipe, job.config["seed"], tokenizer, tokens)
    model.config.name_or_path = ""
    tokenizer.name_or_path = ""
    model.save_pretrained(job.out)
    tokenizer.save_pretrained(job.out)
    counts = {
        "replies": len(tokens.rows),
        "shortened": tokens.shortened,
        "left_out": tokens.left_out,
        "tokens": sum(len(row["input_ids"]) for row in tokens.rows),
    }
    write_json(job.out / "metrics.json", {**counts, **numbers})


def _examples(job: Job, recipe: SftRecipe) -> list[data.Example]:
    """The exposure's replies."""
    if job.config["exposure"] == "reddit":
        return data.reddit(list(job.fan_in("threads").values()), recipe.count)
    path = job.inputs.get("instructions")
    return data.unexposed(job.config.get("instructions", str(path)), path, recipe.count)
