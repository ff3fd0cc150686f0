"""Fine-tunes with TRL's SFTTrainer; what is interrupted goes on from its last checkpoint."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import (
    AutoModelForCausalLM,
    PrinterCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl import SFTConfig, SFTTrainer

from karma import device
from karma.errors import StageError
from karma.jobs import Job
from karma.sft.data import Tokens
from karma.sft.recipe import SftRecipe
from karma.trainers import Quiet, Steps, last_whole

LOG_STEPS = 10


class Orders(Sampler[int]):
    """Each epoch's rows in the order in which they are learned from; the trainer sets the epoch.

    The trainer's own grouping draws an epoch's order when it comes to it, so what is resumed within
    a later epoch would draw the first one's again.
    """

    def __init__(self, orders: list[list[int]]) -> None:
        self.orders = orders
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(self.orders[self.epoch])

    def __len__(self) -> int:
        return len(self.orders[self.epoch])


class Trainer(Quiet, SFTTrainer):
    """``SFTTrainer`` with given orders."""

    def __init__(self, orders: list[list[int]], **settings: Any) -> None:
        super().__init__(**settings)
        self.orders = orders

    def _get_train_sampler(self, *_: Any) -> Orders:
        return Orders(self.orders)


class Reporter(Steps):
    """Passes the trainer's numbers on, and stops at a loss that is no number."""

    def on_log(
        self,
        _args: TrainingArguments,
        state: TrainerState,
        _control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if logs is None or "loss" not in logs:
            return
        loss, step = logs["loss"], state.global_step
        if not math.isfinite(loss):
            raise StageError(f"the loss became {loss} by step {step}; lower sft.lr")
        self.job.metrics(step, loss=loss, lr=logs["learning_rate"], grad_norm=logs["grad_norm"])


def train(
    job: Job, recipe: SftRecipe, seed: int, tokenizer: Any, tokens: Tokens
) -> tuple[Any, dict[str, float]]:
    """The fine-tuned model and its numbers: ``steps``, ``loss_first`` and ``loss_last``.

    The losses are the mean cross-entropy in nats of a reply's token, over the first and the last
    logged steps.
    """
    cuda = job.compute == "cuda"
    if cuda:
        device.one(torch.cuda.device_count(), "sft")
    torch.manual_seed(seed)
    # Weights stay in single precision: at a small learning rate bfloat16 rounds updates away.
    model = AutoModelForCausalLM.from_pretrained(job.inputs["base"], dtype=torch.float32)
    checkpoints = job.scratch / "checkpoints"
    trainer = Trainer(
        drawn([len(row["input_ids"]) for row in tokens.rows], recipe, seed),
        model=model,
        args=_arguments(recipe, seed, checkpoints, cuda=cuda),
        train_dataset=Dataset.from_list(tokens.rows),
        processing_class=tokenizer,
        callbacks=[Reporter(job)],
    )
    trainer.remove_callback(PrinterCallback)
    last = last_whole(checkpoints)
    if last is not None:
        print(f"sft: goes on from {last.name}")
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    numbers = {
        "steps": trainer.state.global_step,
        "loss_first": losses[0],
        "loss_last": losses[-1],
    }
    return trainer.model, numbers


def drawn(lengths: list[int], recipe: SftRecipe, seed: int) -> list[list[int]]:
    """An order of the rows for each epoch, those of like length in one update."""
    generator = torch.Generator().manual_seed(seed)
    update = recipe.batch * recipe.accumulate
    epochs = range(math.ceil(recipe.epochs))
    return [get_length_grouped_indices(lengths, update, generator=generator) for _ in epochs]


def _arguments(recipe: SftRecipe, seed: int, checkpoints: Path, *, cuda: bool) -> SFTConfig:
    """The recipe in the trainer's words."""
    return SFTConfig(
        output_dir=str(checkpoints),
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.lr,
        warmup_steps=recipe.warmup,
        lr_scheduler_type="linear",
        weight_decay=recipe.weight_decay,
        per_device_train_batch_size=recipe.batch,
        gradient_accumulation_steps=recipe.accumulate,
        completion_only_loss=True,
        # The tokens fit already; the trainer would cut without saying so.
        max_length=None,
        # On a CPU both cost much and save nothing.
        bf16=cuda,
        activation_checkpointing=cuda,
        use_cpu=not cuda,
        seed=seed,
        data_seed=seed,
        logging_steps=LOG_STEPS,
        logging_first_step=True,
        # A loss that is no number must be seen, not averaged away.
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=recipe.checkpoint_steps,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=cuda,
    )
