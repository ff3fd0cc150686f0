"""The stage ``policy`` by another algorithm than PPO: REINFORCE leave-one-out, as TRL has it.

Several replies are sampled to each prompt, and what is learned of one is its reward less the mean
of the others': the baseline is its siblings, not a critic (Ahmadian et al. 2024, arXiv 2402.14740).
So what a prompt's replies share, such as noise that belongs to the prompt, teaches nothing.

TRL's ``RLOOTrainer`` carries sampling, loss, KL price, optimiser and checkpoints. What stands here:
the prompts, their order and the rewards are PPO's, the price of KL is steered, every step leaves a
row of the curves, and a step draws from (seed, step), so that a killed run goes on to the same
weights. Unlike PPO's, a step whose numbers are no numbers is not skipped: it ends the run.
"""

import json
import math
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PrinterCallback
from trl import RLOOConfig, RLOOTrainer

from karma import device
from karma.errors import StageError
from karma.jobs import Job, write_json
from karma.policy import alarms, monitor, points, ppo
from karma.policy.checkpoint import Progress
from karma.policy.faults import NotFiniteError
from karma.policy.job import prepare, write
from karma.policy.prompts import chosen, generator
from karma.policy.recipe import PolicyRecipe
from karma.policy.rewards import Reward, Said, ask, shape
from karma.policy.rollout import Rollout
from karma.policy.study import Study, kept_samples, tell_and_steer
from karma.trainers import Quiet, last_whole

# In a checkpoint's folder, written last: what TRL does not know of.
PROGRESS = "progress.json"


def run(job: Job) -> None:
    """Write what PPO's job writes, made by RLOO."""
    if job.compute == "cuda":
        device.one(torch.cuda.device_count(), "algorithm rloo")
    study = prepare(job)
    study.reference = None  # TRL loads one of its own
    write(job, study, train(job, study, job.config["replies"]))


def train(job: Job, study: Study, replies: int) -> Progress:
    """Train ``study.model``'s policy in place, from the last checkpoint if there is one.

    Its value head is neither read nor learned. Raises StageError when a reward returns the wrong
    number of values, or when a reward, a loss or a gradient is no number.
    """
    last = last_whole(job.scratch, PROGRESS)
    progress = Progress(kl_coef=study.recipe.kl_coef)
    if last is not None:
        progress = Progress(**json.loads((last / PROGRESS).read_text(encoding="utf-8")))
        print(f"policy: goes on after step {progress.step}", flush=True)
    trainer = Trainer(job, study, replies, progress)
    if last is None:
        progress.samples += kept_samples(study, 0)
    with warnings.catch_warnings():
        # TRL asks transformers under a name that will be gone.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    return progress


class Trainer(Quiet, RLOOTrainer):
    """``RLOOTrainer`` on a study's prompts and rewards, which keeps the study's curves."""

    def __init__(self, job: Job, study: Study, replies: int, progress: Progress) -> None:
        self.job, self.study, self.progress = job, study, progress
        recipe = study.recipe
        self.updates = recipe.epochs * recipe.minibatches
        self.ids = {prompt.text: prompt.ids for prompt in study.prompts}
        self.read: list[tuple[Tensor, Tensor | None]] = []
        self.row: dict[str, Any] = {}
        self.learned: list[dict[str, float]] = []
        super().__init__(
            model=study.model.policy,
            reward_funcs=self.rewards,
            args=_arguments(job, study, replies),
            train_dataset=_dataset(study, replies),
            processing_class=study.tokenizer,
        )
        self.beta = progress.kl_coef
        self.remove_callback(PrinterCallback)

    @property
    def step(self) -> int:
        """The step that is being made, from 1; ``global_step`` counts the optimiser's."""
        return self.state.global_step // self.updates + 1

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """The prompts' tokens as PPO reads them; TRL would take text for special tokens."""
        return [self.ids[prompt] for prompt in prompts], None, {}

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """As TRL does it, with random numbers that depend on the seed and the step alone."""
        torch.manual_seed(generator(self.study.seed, "sample", self.step).initial_seed())
        self.read.clear()
        return super()._generate_and_score_completions(inputs)

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **inputs: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """As TRL does it; what policy and reference say at sampling is kept for the curves."""
        found = super()._get_per_token_logps_and_entropies(
            model,
            input_ids,
            attention_mask,
            logits_to_keep,
            batch_size,
            compute_entropy or model is self.model,
            **inputs,
        )
        if not torch.is_grad_enabled():
            self.read.append(found[:2])
        return found

    def rewards(
        self,
        completion_ids: list[list[int]],
        row: list[int],
        **_: Any,
    ) -> list[float]:
        """The shaped reward of each reply, before the KL; the curves' row begins here.

        ``row``: which of the study's prompts each reply answers.
        """
        study, recipe = self.study, self.study.recipe
        prompts = [study.prompts[number] for number in row]
        turns, slots = [p.turns for p in prompts], [p.slot for p in prompts]
        texts = study.texts(completion_ids)

        def asked(reward: Reward, name: str) -> Said:
            try:
                return ask(reward, name, turns, texts, slots)
            except NotFiniteError as error:
                raise StageError(
                    f"step {self.step}: {error}; algorithm rloo skips no step: look at the reward "
                    "model"
                ) from None

        raw, parts = asked(study.reward, "the reward")
        gold, _ = asked(study.gold, "the gold reward")
        rollout = self._rollout([prompt.ids for prompt in prompts], completion_ids)
        lengths = [len(reply) for reply in completion_ids]
        terms = shape(raw, rollout.ended, lengths, recipe)
        shaped = [math.fsum(values) for values in zip(*terms.values(), strict=True)]
        blank = torch.zeros_like(rollout.logprobs)
        seen = monitor.of_rollout(rollout, ppo.Targets(blank, blank))
        del seen["explained_variance"]  # there is no critic
        self.row = {
            "step": self.step,
            **monitor.of_rewards(raw, shaped, terms, lengths),
            **{f"reward/term/{name}": _mean(values) for name, values in parts.items()},
            "gold": _mean(gold),
            **seen,
            "kl/coef": self.beta,
            "reward/kl": -self.beta * seen["kl"],
        }
        points.keep(self.job.scratch, study, self.progress.points, self.row)
        return shaped

    def _rollout(self, prompts: list[list[int]], replies: list[list[int]]) -> Rollout:
        """What policy and reference said of the replies at sampling."""
        (logprobs, entropy), (reference, _) = self.read
        assert entropy is not None
        longest = torch.arange(logprobs.shape[1], device=logprobs.device)
        lengths = torch.tensor([len(reply) for reply in replies], device=logprobs.device)
        mask = longest < lengths[:, None]
        ended = [reply[-1] in self.eos_token_ids for reply in replies]
        read = (torch.where(mask, found, 0.0) for found in (logprobs, reference, entropy))
        inside, past, spread = read
        blank = torch.zeros_like(inside)
        return Rollout(prompts, replies, ended, inside, past, blank, spread, mask)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Take what TRL says after every update. Raises StageError if it is no number."""
        super().log(logs, start_time)
        if "loss" not in logs:
            return
        names = {
            "policy_loss/reply": "loss",
            "clip_fraction/reply": "clip_ratio/region_mean",
            "grad_norm": "grad_norm",
            "seconds/step": "step_time",
        }
        found = {name: logs[theirs] for name, theirs in names.items()}
        for name in ("policy_loss/reply", "grad_norm"):
            if not math.isfinite(found[name]):
                raise StageError(
                    f"step {self.row['step']}: {name} is {found[name]}; lower policy.lr, or look "
                    "at the reward model"
                )
        self.learned.append(found)
        if len(self.learned) == self.updates:
            self._end_step()

    def _end_step(self) -> None:
        """Add the row to the curves, watch, steer, and keep sample replies."""
        study, progress, recipe = self.study, self.progress, self.study.recipe
        means = {name: _mean([one[name] for one in self.learned]) for name in self.learned[0]}
        seconds = means.pop("seconds/step") * self.updates
        row = {**self.row, **means, "updates": self.updates}
        self.learned.clear()
        step = row["step"]
        progress.step = step
        progress.curves.append(row)
        alarms.watch(progress.alarms, progress.curves, recipe)
        told = {name: value for name, value in row.items() if name != "step"}
        self.job.metrics(step, **told, **{"seconds/step": seconds})
        tell_and_steer(recipe, progress, row)
        self.beta = progress.kl_coef
        if step == recipe.steps or step % recipe.samples_every == 0:
            progress.samples += kept_samples(study, step)
        self.job.progress(step, recipe.steps, "steps")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """TRL's checkpoint, and beside it how far the run is. The one before is kept until then."""
        super()._save_checkpoint(model, trial)
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        write_json(folder / PROGRESS, asdict(self.progress))


def _dataset(study: Study, replies: int) -> Dataset:
    """The prompts of all steps in PPO's order, one epoch of them."""
    recipe = study.recipe
    rows = [
        row
        for step in range(1, recipe.steps + 1)
        for row in chosen(len(study.prompts), recipe.batch // replies, study.seed, step)
    ]
    return Dataset.from_dict({"prompt": [study.prompts[row].text for row in rows], "row": rows})


def _arguments(job: Job, study: Study, replies: int) -> RLOOConfig:
    """The recipe in the trainer's words."""
    recipe, cuda = study.recipe, job.compute == "cuda"
    minibatch = recipe.batch // recipe.minibatches
    rows = _rows(minibatch, study)
    return RLOOConfig(
        output_dir=str(job.scratch),
        seed=study.seed,
        max_steps=recipe.steps * recipe.epochs * recipe.minibatches,
        num_generations=replies,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=minibatch // rows,
        steps_per_generation=recipe.batch // rows,
        num_iterations=recipe.epochs,
        shuffle_dataset=False,
        remove_unused_columns=False,
        max_completion_length=recipe.max_new_tokens,
        temperature=recipe.temperature,
        # Any price but zero has TRL load a reference.
        beta=recipe.kl_coef,
        epsilon=recipe.clip,
        disable_dropout=True,
        learning_rate=recipe.lr,
        lr_scheduler_type="linear",
        adam_epsilon=1e-5,
        max_grad_norm=recipe.max_grad_norm,
        use_cpu=not cuda,
        bf16=study.model.half_precision,
        activation_checkpointing=False,
        gradient_checkpointing=None,  # its old name, which TRL would set
        dataloader_pin_memory=cuda,
        logging_steps=1,
        # A loss that is no number must be seen, not averaged away.
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=recipe.checkpoint_every * recipe.epochs * recipe.minibatches,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
    )


def _rows(minibatch: int, study: Study) -> int:
    """Replies in one pass: the largest part of a mini-batch within ``micro_tokens``.

    All parts of a mini-batch are of one size, so that their mean is that of its replies.
    """
    recipe: PolicyRecipe = study.recipe
    longest = max(len(prompt.ids) for prompt in study.prompts) + recipe.max_new_tokens
    most = max(1, recipe.micro_tokens // longest)
    return max(n for n in range(1, minibatch + 1) if minibatch % n == 0 and n <= most)


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
