"""What our uses of TRL's trainers have in common."""

import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from karma.jobs import Job


class Quiet:
    """Mixed in before a trainer of TRL's: it sends nothing, and writes no card beside the model."""

    def _send_telemetry(self) -> None:
        """Send nothing."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: the artefact has a card of its own."""


class Steps(TrainerCallback):
    """Passes on how far a training is."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def on_step_end(
        self,
        _args: TrainingArguments,
        state: TrainerState,
        _control: TrainerControl,
        **_: Any,
    ) -> None:
        """Report the steps that are done."""
        self.job.progress(state.global_step, state.max_steps, "steps")


def last_whole(folder: Path, last_file: str = "trainer_state.json") -> Path | None:
    """The latest ``checkpoint-*`` of a folder that was written to its end; None if none was.

    ``last_file`` is the JSON that is written last. It is written in its place, so a process that
    dies meanwhile leaves half of it.
    """
    steps = {int(p.name.removeprefix("checkpoint-")): p for p in folder.glob("checkpoint-*")}
    newest = (steps[step] for step in sorted(steps, reverse=True))
    return next((path for path in newest if _is_json(path / last_file)), None)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
