"""The stage ``policy``: a starting policy becomes one tuned on a reward model."""

import json
import shutil

import torch
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from karma.device import enough
from karma.errors import StageError
from karma.jobs import Job, write_json
from karma.policy import models, monitor, parallel, points
from karma.policy.checkpoint import Progress
from karma.policy.prompts import encode, read
from karma.policy.recipe import PolicyRecipe
from karma.policy.study import Study
from karma.policy.team import ALONE, Team
from karma.policy.train import train
from karma.reward import score


def run(job: Job) -> None:
    """Write the final policy as a plain Hugging Face folder, and how it came about.

    Beside it ``curves.json`` (a row a step), ``kl.json`` (reward and gold against KL, and the
    policies kept in ``kl/``), ``alarms.json``, ``samples.jsonl`` (replies to fixed prompts over
    time) and ``metrics.json``. Neither value head nor adapter is part of the artefact.
    """
    processes = PolicyRecipe.model_validate(job.config["policy"]).processes
    if processes > 1:
        parallel.run(job, processes)
        return
    study = prepare(job)
    write(job, study, train(job, study))


def prepare(job: Job, team: Team = ALONE) -> Study:
    """Load everything and check it before the first step. Raises InputError."""
    transformers_logging.disable_progress_bar()
    recipe = PolicyRecipe.model_validate(job.config["policy"])
    seed, name = job.config["seed"], f"sft/{job.config['exposure']}/{job.config['seed']}"
    device = _device(job.compute, team)
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
    model = models.actor_critic(policy, trunk, recipe, seed, half=_half(recipe, job.compute))
    model = model.to(device)
    return Study(
        recipe=recipe,
        seed=seed,
        model=model,
        reference=models.reference(model.policy, sft, device, model.lower),
        tokenizer=tokenizer,
        prompts=prompts,
        reward=score.load(reward, device).explained,
        gold=score.load(job.inputs["gold"], device).explained,
        device=device,
        team=team,
    )


def _device(compute: str, team: Team) -> str:
    if compute != "cuda":
        return compute
    enough(torch.cuda.device_count(), team.size)
    return f"cuda:{team.rank}"


def _half(recipe: PolicyRecipe, compute: str) -> bool:
    if recipe.precision == "auto":
        return compute == "cuda"
    return recipe.precision == "bfloat16"


def write(job: Job, study: Study, progress: Progress) -> None:
    """Write the artefact: the same bytes for the same weights and numbers."""
    if not progress.curves:
        raise StageError("every step was skipped, so nothing was learned")
    out = job.out
    points.save(study, out)
    for point in progress.points:
        shutil.copytree(job.scratch / point["folder"], out / point["folder"])
    write_json(out / "curves.json", progress.curves)
    curve = points.against_kl(progress.curves)
    write_json(out / "kl.json", {"curve": curve, "points": progress.points})
    write_json(out / "alarms.json", progress.alarms)
    lines = [json.dumps(line, sort_keys=True, ensure_ascii=False) for line in progress.samples]
    (out / "samples.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    write_json(out / "metrics.json", monitor.summary(progress.curves, progress.skipped))
