"""Training one reward model from the backbone, or from where its training was interrupted."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers.trainer_callback import PrinterCallback
from trl import RewardConfig

from karma import device
from karma.errors import InputError
from karma.jobs import Job
from karma.reward.backbone import adapters, classifier, source, tokenizer_of
from karma.reward.data import Split
from karma.reward.head import keep_single
from karma.reward.objectives import Step, normal_scores, schedule
from karma.reward.recipe import RewardRecipe
from karma.reward.trainer import Collator, Reporter, ValuationTrainer
from karma.reward.views import View
from karma.trainers import last_whole


@dataclass(frozen=True)
class Trained:
    """What a training leaves beside its weights: counts for the card."""

    rows: int
    pairs: int
    steps: int
    counts: Counter[str]
    pad: str | None
    """The pad token that the tokenizer was given, if it had none of its own."""
    backbone: str | None
    """The hub model that the weights started from; None for a folder or the recipe's base."""


def fit(
    job: Job, recipe: RewardRecipe, view: View, train: Split, seed: int, folder: Path, scratch: Path
) -> Trained:
    """Train a reward model on ``train`` and write it, with its tokenizer, to ``folder``.

    Checkpoints go to ``scratch``; training goes on from the last whole one there. Raises StageError
    if the loss is no number.
    """
    start = source(job, recipe)
    tokenizer, padded = tokenizer_of(start, view.max_tokens)
    if padded:
        print(f"the tokenizer has no pad token of its own and is given {tokenizer.pad_token}")
    rows = train.rows
    ids, counts = view.encode(
        tokenizer, [r.context for r in rows], [r.reply for r in rows], [r.slot for r in rows]
    )
    steps = _steps(recipe, train, [len(row) for row in ids], seed)
    model = classifier(start, tokenizer, seed)
    trainer = ValuationTrainer(
        model=model,
        args=arguments(job, recipe, seed, scratch),
        peft_config=adapters(model, recipe.lora),
        train_dataset=Dataset.from_dict(
            {"rows": [step.rows for step in steps], "pairs": [step.pairs for step in steps]}
        ),
        processing_class=tokenizer,
        data_collator=Collator(ids, _targets(train), tokenizer.pad_token_id),
        callbacks=[Reporter(job)],
    )
    keep_single(trainer.model)
    trainer.plan(recipe.objective, steps)
    trainer.remove_callback(PrinterCallback)
    last = last_whole(scratch)
    if last is not None:
        print(f"resuming from {last.name}")
    trainer.train(resume_from_checkpoint=last and str(last))
    model = trainer.accelerator.unwrap_model(trainer.model)
    if recipe.lora is not None:
        model = model.merge_and_unload()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    seen = sum(len(step.rows) for step in steps) // recipe.epochs
    pairs = sum(len(step.pairs) for step in steps) // recipe.epochs
    pad = tokenizer.pad_token if padded else None
    hub = start.name if start.revision else None
    return Trained(seen, pairs, trainer.state.global_step, counts, pad, hub)


def _targets(train: Split) -> np.ndarray:
    """The regression targets: normal scores, mean 0 and deviation 1 over the training rows."""
    scores = normal_scores([row.valuation for row in train.rows])
    if scores.std() == 0:
        raise InputError(
            "reward",
            "all training replies have the same valuation, so there is nothing to learn",
            "Look at the profile of labels: karma may be missing from the dumps.",
        )
    return (scores - scores.mean()) / scores.std()


def _steps(recipe: RewardRecipe, train: Split, lengths: list[int], seed: int) -> list[Step]:
    """The schedule; a reply that no term of the objective touches is left out of it."""
    objective = recipe.objective
    pairs = train.pairs if objective.pairs else []
    if not pairs and not objective.regression:
        raise InputError(
            "reward.objective",
            "it learns from pairs alone, and the training threads have none",
            "Give regression a weight, or loosen labels.pairs.",
        )
    return schedule(
        lengths,
        pairs,
        unpaired=objective.regression > 0,
        rows_a_step=max(1, recipe.batch // recipe.accumulate),
        epochs=recipe.epochs,
        seed=seed,
    )


def arguments(job: Job, recipe: RewardRecipe, seed: int, scratch: Path) -> RewardConfig:
    """The trainer's settings. Raises InputError if a card is asked for and not one is there."""
    cuda = job.compute == "cuda"
    if cuda:
        device.one(torch.cuda.device_count(), "reward")
    return RewardConfig(
        output_dir=str(scratch),
        seed=seed,
        data_seed=seed,
        # The schedule holds all epochs, and each of its items is a whole batch.
        num_train_epochs=1,
        per_device_train_batch_size=1,
        train_sampling_strategy="sequential",
        gradient_accumulation_steps=recipe.accumulate,
        remove_unused_columns=False,
        max_length=None,
        learning_rate=recipe.lr,
        lr_scheduler_type="linear",
        warmup_steps=0.05,
        # Slower by a multiple on a CPU, so only with a card.
        use_cpu=not cuda,
        bf16=cuda,
        activation_checkpointing=cuda,
        gradient_checkpointing=None,  # its old name, which TRL would set
        dataloader_pin_memory=cuda,
        save_strategy="steps",
        save_steps=recipe.checkpoint_steps,
        save_total_limit=2,
        logging_steps=20,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
    )
