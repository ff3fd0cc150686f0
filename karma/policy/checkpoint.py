"""Checkpoints from which a killed run goes on to the same weights.

One file holds everything that changes: what is learned of the networks, the optimiser, the KL
coefficient, the step, the curves so far. Random states are not in it, because every step draws from
its own (``prompts.generator``), nor is the learning rate, which follows from the step, nor what is
frozen. A new file replaces the old one only when it is whole and on the disk.
"""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from karma.policy.models import ActorCritic

NAME = "checkpoint.pt"


@dataclass
class Progress:
    """How far a run has come, beside its weights."""

    kl_coef: float
    step: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    curves: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    points: list[dict[str, Any]] = field(default_factory=list)
    alarms: list[dict[str, Any]] = field(default_factory=list)
    stopped: bool = False


def save(
    scratch: Path, model: ActorCritic, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write the checkpoint; the one before stands until this one is whole."""
    document = {
        "model": {name: weight.detach() for name, weight in model.learned()},
        "optimizer": optimizer.state_dict(),
        "progress": asdict(progress),
    }
    part = scratch / f"{NAME}.part"
    with part.open("wb") as file:
        torch.save(document, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(scratch / NAME)


def load(scratch: Path, model: ActorCritic, optimizer: torch.optim.Optimizer) -> Progress | None:
    """Put networks and optimiser back to the checkpoint; None if there is none."""
    path = scratch / NAME
    if not path.is_file():
        return None
    device = model.head.weight.device
    document = torch.load(path, map_location=device, weights_only=True)
    with torch.no_grad():
        for name, weight in model.learned():
            weight.copy_(document["model"][name])
    optimizer.load_state_dict(document["optimizer"])
    return Progress(**document["progress"])
