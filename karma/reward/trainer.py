"""TRL's ``RewardTrainer`` with a regression term, every reply seen once.

TRL carries the model, the optimiser, checkpoints and resumption. What differs from it: a step holds
families of replies and not pairs (``objectives.py`` says why), nothing is dropped for its length
(``views.py`` has cut it), and the card and telemetry that TRL would send are left out.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import TrainerControl, TrainerState, TrainingArguments
from trl import RewardTrainer

from karma.errors import StageError
from karma.reward.objectives import Step, centre_loss, pad, pair_loss, passes, regression_loss
from karma.reward.recipe import Objective
from karma.trainers import Quiet, Steps


@dataclass(frozen=True)
class Collator:
    """Makes the tensors of one step; the dataset holds positions only."""

    ids: list[list[int]]
    targets: np.ndarray
    pad_token: int

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """``passes``: ``input_ids`` and ``attention_mask`` (rows of the pass, its longest) of each
        forward pass, rows in the step's order; ``targets`` (rows,), ``pairs`` (pairs, 2)."""
        (step,) = examples
        rows = step["rows"]
        ids = [self.ids[row] for row in rows]
        padded = [pad(ids[a:b], self.pad_token) for a, b in passes([len(row) for row in ids])]
        return {
            "passes": [{"input_ids": t, "attention_mask": m} for t, m in padded],
            "targets": torch.tensor(self.targets[rows], dtype=torch.float32),
            "pairs": torch.tensor(step["pairs"], dtype=torch.long).reshape(-1, 2),
        }


class ValuationTrainer(Quiet, RewardTrainer):
    """``RewardTrainer`` whose step is a family of replies and whose loss has a regression term."""

    def plan(self, objective: Objective, steps: list[Step]) -> None:
        """Set the objective, and the mean numbers of rows and pairs in a step.

        The losses are sums over these means: each reply and each pair weighs the same over an
        epoch, however the steps fell.
        """
        self.objective = objective
        self.mean_rows = sum(len(step.rows) for step in steps) / len(steps)
        self.mean_pairs = max(1.0, sum(len(step.pairs) for step in steps) / len(steps))

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,  # noqa: ARG002 - the trainer passes it
    ) -> Any:
        """The weighted sum of the terms. Raises StageError if it is no number."""
        weights, pairs, targets = self.objective, inputs["pairs"], inputs["targets"]
        read = [model(**part, use_cache=False).logits for part in inputs["passes"]]
        rewards = torch.cat(read).squeeze(-1).float()
        # Siblings of different ages may be valued the other way round than their scores.
        margins = weights.margin * (targets[pairs[:, 0]] - targets[pairs[:, 1]]).clamp(min=0)
        terms = {
            "pair_loss": pair_loss(rewards, pairs, margins) / self.mean_pairs,
            "regression_loss": regression_loss(rewards, targets) / self.mean_rows,
            "centre_loss": centre_loss(rewards, pairs) / self.mean_pairs,
        }
        loss = (
            weights.pairs * terms["pair_loss"]
            + weights.regression * terms["regression_loss"]
            + weights.center * terms["centre_loss"]
        )
        if not torch.isfinite(loss):
            raise StageError(
                f"the loss is {loss.item()} at step {self.state.global_step}: "
                "lower reward.lr, or look for broken weights in the backbone"
            )
        for name, value in terms.items():
            self._metrics["train"][name].append(value.item())
        return (loss, {"logits": rewards}) if return_outputs else loss

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        """The schedule as it is; TRL would tokenize, and drop what is too long."""
        return dataset


class Reporter(Steps):
    """Passes the trainer's steps and metrics on to the job."""

    def on_log(
        self,
        _args: TrainingArguments,
        state: TrainerState,
        _control: TrainerControl,
        logs: dict[str, float],
        **_: Any,
    ) -> None:
        """Record the losses of the last steps."""
        names = ("loss", "pair_loss", "regression_loss", "centre_loss", "grad_norm")
        values = {name: logs[name] for name in names if name in logs}
        if values and all(math.isfinite(value) for value in values.values()):
            self.job.metrics(state.global_step, **values)
            shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
            print(f"step {state.global_step}/{state.max_steps}: {shown}")
