"""The loop over steps: sample, score, learn, watch, and keep a checkpoint now and then."""

import math
import time
from dataclasses import dataclass
from typing import Any

import torch

from karma.errors import StageError
from karma.jobs import Job
from karma.policy import checkpoint, monitor, ppo
from karma.policy.faults import NotFiniteError, Skips
from karma.policy.models import ActorCritic
from karma.policy.prompts import Prompt, chosen, generator
from karma.policy.recipe import PolicyRecipe
from karma.policy.rewards import Reward, ask, shape
from karma.policy.rollout import Rollout, Sampling, roll_out, sample

ADAM_EPS = 1e-5  # Huang et al. 2022, detail 3


@dataclass
class Study:
    """All that a run works with; ``reward`` is learned from, ``gold`` only reported."""

    recipe: PolicyRecipe
    seed: int
    model: ActorCritic
    reference: Any
    tokenizer: Any
    prompts: list[Prompt]
    reward: Reward
    gold: Reward
    device: str = "cpu"

    @property
    def sampling(self) -> Sampling:
        """How replies are drawn."""
        return Sampling(
            self.tokenizer.eos_token_id,
            self.tokenizer.pad_token_id,
            self.recipe.temperature,
            self.recipe.max_new_tokens,
        )

    def texts(self, replies: list[list[int]]) -> list[str]:
        """Replies as the rewards read them."""
        decoded = self.tokenizer.batch_decode(replies, skip_special_tokens=True)
        return [text.strip() for text in decoded]


def train(job: Job, study: Study) -> checkpoint.Progress:
    """Train ``study.model`` in place, from the last checkpoint if there is one.

    Raises StageError when a reward returns the wrong number of values, or three steps in a row had
    to be skipped.
    """
    recipe = study.recipe
    optimizer = torch.optim.Adam(study.model.parameters(), lr=recipe.lr, eps=ADAM_EPS)
    _try_rewards(study)
    progress = checkpoint.load(job.scratch, study.model, optimizer)
    if progress is None:
        progress = checkpoint.Progress(kl_coef=recipe.kl_coef)
        progress.samples += _samples(study, 0)
    else:
        print(f"policy: goes on after step {progress.step}", flush=True)
    skips = Skips(progress.skipped, progress.skipped_in_a_row)
    for step in range(progress.step + 1, recipe.steps + 1):
        fault = _try_step(job, study, optimizer, progress, skips, step)
        if step in (math.ceil(recipe.steps / 2), recipe.steps):
            progress.samples += _samples(study, step)
        progress.step = step
        progress.skipped, progress.skipped_in_a_row = skips.total, skips.row
        if fault is not None and skips.too_many:
            # Another run tries on from here, and is allowed as many skips again.
            progress.skipped_in_a_row = 0
            checkpoint.save(job.scratch, study.model, optimizer, progress)
            raise skips.end(step, fault)
        if step % recipe.checkpoint_every == 0 or step == recipe.steps:
            checkpoint.save(job.scratch, study.model, optimizer, progress)
        job.progress(step, recipe.steps, "steps")
    return progress


def _try_step(
    job: Job,
    study: Study,
    optimizer: torch.optim.Optimizer,
    progress: checkpoint.Progress,
    skips: Skips,
    step: int,
) -> NotFiniteError | None:
    """One step; the reason why, if it had to be skipped."""
    try:
        row, log = _step(study, optimizer, progress.kl_coef, step)
    except NotFiniteError as error:
        skips.skipped(step, error)
        return error
    skips.learned()
    progress.curves.append(row)
    job.metrics(step, **{k: v for k, v in row.items() if k != "step"}, **log)
    if step % max(1, study.recipe.steps // 20) == 0:
        shown = ("reward/raw", "gold", "kl", "kl/coef", "length")
        line = ", ".join(f"{name} {row[name]:.3f}" for name in shown)
        print(f"policy: step {step} of {study.recipe.steps}: {line}", flush=True)
    if study.recipe.kl_target is not None:
        progress.kl_coef = ppo.next_coefficient(
            progress.kl_coef,
            row["kl"],
            study.recipe.kl_target,
            study.recipe.kl_horizon,
            study.recipe.batch,
        )
    return None


def _step(
    study: Study, optimizer: torch.optim.Optimizer, kl_coef: float, step: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """One step of PPO: a row of the curves, and what depends on the machine."""
    recipe, started = study.recipe, time.perf_counter()
    rows = chosen(len(study.prompts), recipe.batch, study.seed, step)
    prompts = [study.prompts[row] for row in rows]
    rollout = roll_out(
        study.model,
        study.reference,
        [prompt.ids for prompt in prompts],
        study.sampling,
        recipe.micro_tokens,
        generator(study.device, study.seed, "sample", step),
    )
    sampled = time.perf_counter()
    raw, gold = _scores(study, prompts, rollout)
    shaped = shape(raw, rollout.ended, recipe)
    scored = time.perf_counter()
    goal = ppo.targets(rollout, torch.tensor(shaped, device=rollout.mask.device), kl_coef, recipe)
    for group in optimizer.param_groups:
        # Linear to zero over the run (Huang et al. 2024).
        group["lr"] = recipe.lr * (1 - (step - 1) / recipe.steps)
    order = generator("cpu", study.seed, "order", step)
    learned = ppo.update(study.model, optimizer, rollout, goal, recipe, order)
    ended = time.perf_counter()
    lengths = [len(reply) for reply in rollout.replies]
    row = {
        "step": step,
        **monitor.of_rewards(raw, shaped, lengths),
        "gold": math.fsum(gold) / len(gold),
        **monitor.of_rollout(rollout, goal),
        "kl/coef": kl_coef,
        **learned,
    }
    return row, {
        "tokens_per_second": sum(lengths) / (ended - started),
        "seconds/rollout": sampled - started,
        "seconds/reward": scored - sampled,
        "seconds/update": ended - scored,
    }


def _scores(
    study: Study, prompts: list[Prompt], rollout: Rollout
) -> tuple[list[float], list[float]]:
    """The reward and the gold reward of each reply."""
    turns = [prompt.turns for prompt in prompts]
    slots = [prompt.slot for prompt in prompts]
    texts = study.texts(rollout.replies)
    raw = ask(study.reward, "the reward", turns, texts, slots)
    return raw, ask(study.gold, "the gold reward", turns, texts, slots)


def _samples(study: Study, step: int) -> list[dict[str, Any]]:
    """Replies to a fixed set of prompts, drawn with the same random numbers at every step."""
    prompts = study.prompts[: study.recipe.samples]
    draw = generator(study.device, study.seed, "samples")
    try:
        drawn = sample(study.model, [prompt.ids for prompt in prompts], study.sampling, draw)
    except NotFiniteError as error:
        print(f"policy: no sample replies after step {step}: {error}", flush=True)
        return []
    texts = study.texts(drawn.replies)
    return [
        {"step": step, "prompt": prompt.text, "reply": text}
        for prompt, text in zip(prompts, texts, strict=True)
    ]


def _try_rewards(study: Study) -> None:
    """Ask both rewards for two replies before the first step, so that a wrong one ends it there."""
    prompts = [study.prompts[0], study.prompts[-1]]
    turns, slots = [prompt.turns for prompt in prompts], [prompt.slot for prompt in prompts]
    for name, reward in (("the reward", study.reward), ("the gold reward", study.gold)):
        try:
            ask(reward, name, turns, ["Yes.", "No, not at all."], slots)
        except NotFiniteError as error:
            raise StageError(f"{error}, before the first step") from None
