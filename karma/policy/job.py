"""The stage ``policy``: a starting policy becomes one tuned on a reward model."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from karma.errors import InputError, StageError
from karma.jobs import Job, write_json
from karma.policy import models, monitor
from karma.policy.checkpoint import Progress
from karma.policy.prompts import encode, generator, read
from karma.policy.recipe import PolicyRecipe
from karma.policy.train import Study, train
from karma.reward import score


def run(job: Job) -> None:
    """Write the final policy as a Hugging Face folder, and how it came about.

    Beside it ``curves.json`` (a row a step), ``samples.jsonl`` (replies to fixed prompts over time)
    and ``metrics.json``. The value head is no part of the artefact.
    """
    transformers_logging.disable_progress_bar()
    study = _study(job)
    progress = train(job, study)
    if not progress.curves:
        raise StageError("every step was skipped, so nothing was learned")
    _write(job.out, study, progress)


def _study(job: Job) -> Study:
    """Load everything and check it before the first step."""
    recipe = PolicyRecipe.model_validate(job.config["policy"])
    seed, name = job.config["seed"], f"sft/{job.config['exposure']}/{job.config['seed']}"
    device = _device(job.compute)
    sft, reward = job.inputs["sft"], job.inputs["reward"]
    tokenizer = AutoTokenizer.from_pretrained(sft)
    policy = models.load_policy(sft)
    models.check(policy, tokenizer, name)
    window = policy.config.max_position_embeddings
    prompts = encode(read(job.inputs["prompts"]), tokenizer, recipe, window)
    trunk = None
    if recipe.critic == "separate":
        trunk, origin = models.load_trunk(sft, reward, tokenizer)
        print(f"policy: the critic starts from the {origin}")
    head = generator("cpu", seed, "value head")
    return Study(
        recipe=recipe,
        seed=seed,
        model=models.ActorCritic(policy, trunk, head).to(device),
        reference=models.load_reference(sft).to(device),
        tokenizer=tokenizer,
        prompts=prompts,
        reward=score.load(reward, device).score,
        gold=score.load(job.inputs["gold"], device).score,
        device=device,
    )


def _device(compute: str) -> str:
    if compute == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "compute", "cuda is asked for, and no card is there", "Set compute: cpu, or find one."
        )
    return compute


def _write(out: Path, study: Study, progress: Progress) -> None:
    """Write the artefact: the same bytes for the same weights and numbers."""
    policy: Any = study.model.policy
    policy.config.name_or_path = ""
    study.tokenizer.name_or_path = ""
    policy.save_pretrained(out)
    study.tokenizer.save_pretrained(out)
    write_json(out / "curves.json", progress.curves)
    lines = [json.dumps(line, sort_keys=True, ensure_ascii=False) for line in progress.samples]
    (out / "samples.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    write_json(out / "metrics.json", monitor.summary(progress.curves, progress.skipped))
