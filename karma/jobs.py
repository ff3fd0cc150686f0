"""A job: the plain function that a stage is.

A job knows neither Prefect nor MLflow. It reads the folders that it is given, writes its files to
``out``, and may keep checkpoints in ``scratch``, which survives an interruption. Started by hand::

    python -m karma.jobs spec.json OUT

with a specification as ``karma logs`` shows it at the head of every log: ``job`` (the function,
``module:name``), ``config``, ``inputs`` (role to path), ``compute``.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from karma.errors import InputError, UserError

Progress = Callable[[float, float, str], None]


def _silent(done: float, total: float, unit: str) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class Job:
    """What a stage's function is given.

    ``config`` is the slice of the recipe that stands in the stage's fingerprint, and all of it that
    the stage may read. ``inputs`` maps a role (``base``, ``dumps/RC_2006-01.zst``) to a path.
    """

    config: dict[str, Any]
    inputs: dict[str, Path]
    out: Path
    scratch: Path
    compute: str = "cpu"
    report: Progress = field(default=_silent, repr=False)

    def metrics(self, step: int, **values: float) -> None:
        """Append one line to ``log/metrics.jsonl``; ``values`` must be numbers."""
        path = self.out / "log" / "metrics.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        line = {"step": step, "time": time.time(), **values}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def progress(self, done: float, total: float, unit: str) -> None:
        """Tell whoever waits how far the job is: ``done`` of ``total`` in ``unit``."""
        self.report(done, total, unit)

    def fan_in(self, stage: str) -> dict[str, Path]:
        """The inputs whose role is ``stage/...``, by the rest of the role, in order."""
        prefix = stage + "/"
        return {
            role.removeprefix(prefix): path
            for role, path in sorted(self.inputs.items())
            if role.startswith(prefix)
        }


def call(spec: dict[str, Any], out: Path, scratch: Path, report: Progress = _silent) -> None:
    """Import the function that ``spec["job"]`` names and run it on a ``Job``."""
    module, name = spec["job"].split(":")
    function = getattr(importlib.import_module(module), name)
    inputs = {role: Path(path) for role, path in spec["inputs"].items()}
    function(Job(spec["config"], inputs, out, scratch, spec["compute"], report))


def write_json(path: Path, document: Any) -> None:
    """Write ``document`` as JSON that is the same bytes for the same content."""
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def new_folder(out: Path) -> None:
    """Make the folder ``out``. Raises InputError if that cannot be, or if it holds something."""
    next_step = "Name a new folder."
    try:
        out.mkdir(parents=True, exist_ok=True)
        used = any(out.iterdir())
    except OSError as error:
        raise InputError(str(out), f"it cannot be made ({error.strerror})", next_step) from error
    if used:
        raise InputError(str(out), "it exists and is not empty", next_step)


def main() -> None:
    """Run one job in this process, its checkpoints beside ``OUT``; 2 for a user's mistake."""
    try:
        if len(sys.argv) != 3:
            raise InputError("python -m karma.jobs", "it takes two paths", "Give spec.json OUT.")
        _by_hand(Path(sys.argv[1]), Path(sys.argv[2]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _by_hand(path: Path, out: Path) -> None:
    spec = _spec(path)
    new_folder(out)
    scratch = out.resolve().with_name(out.resolve().name + ".scratch")
    scratch.mkdir(exist_ok=True)
    call(spec, out, scratch)


def _spec(path: Path) -> dict[str, Any]:
    """The specification in a file. Raises InputError if it is none."""
    try:
        spec = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(str(path), error.strerror or "unreadable", "Check the path.") from error
    except ValueError:
        spec = None
    if not isinstance(spec, dict) or not {"job", "config", "inputs", "compute"} <= spec.keys():
        raise InputError(
            str(path),
            "it is no JSON object with job, config, inputs and compute",
            "Take the first line of what karma logs prints.",
        )
    return spec


if __name__ == "__main__":
    main()
