"""The benchmark of ``policy``: a step of PPO against the last PPOTrainer that TRL had.

    make bench-ppo
    .venv/bin/python -m tests.bench.ppo --steps 5

TRL 1.12.0 is installed into a folder of its own and runs on the same torch and transformers as
everything else. Same models, prompts, losses and hyperparameters; one thread; seconds are of the
processor, of the best step of all rounds; ratios are TRL's seconds over ours. With the critic
``hydra`` the lower half of ours is frozen, which TRL has no setting for: it learns less.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.measure import Row, child, conclude, python

TRL = "trl==1.12.0"
PROJECT = Path(__file__).parents[2]
TARGETS = {
    ("separate", "A"): 1.5,
    ("separate", "B"): 1.0,
    ("shared", "A"): 2.5,
    ("hydra", "A"): 4.0,
}
CELLS = [*TARGETS, ("shared", "B"), ("hydra", "B")]


@dataclass(frozen=True)
class Run:
    """What one child told: the best step, the largest memory, all that it printed."""

    seconds: float
    peak_mib: float
    told: dict[str, Any]


def say(words: str) -> None:
    """Tell how far the benchmark is; standard output is the table's."""
    print(words, file=sys.stderr, flush=True)


def installed(cache: Path) -> Path:
    """The folder that holds TRL, installed if it is not."""
    folder = cache / TRL.replace("==", "-")
    if not (folder / "trl").is_dir():
        say(f"installing {TRL} into {folder}")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--target", str(folder), TRL], check=True)
    return folder


def measured(module: str, *arguments: str | Path, path: tuple[Path, ...] = ()) -> Run:
    """Run a module of the benchmark that prints one line of JSON at its end."""
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (*path, PROJECT)))
    with tempfile.TemporaryFile() as output:
        command = [sys.executable, "-m", f"tests.bench.{module}", *map(str, arguments)]
        used = child(command, output)
        output.seek(0)
        told = json.loads(output.read().splitlines()[-1])
    return Run(min(told["steps"]), used.peak_mib, told)


def best(one: Run | None, other: Run) -> Run:
    """The run with the faster step."""
    return other if one is None or other.seconds < one.seconds else one


def compared(work: Path, trl: Path, steps: int, rounds: int) -> dict[tuple[str, str], Run]:
    """The best of several rounds, in which all take turns, by critic (or ``trl``) and workload."""
    found: dict[tuple[str, str], Run] = {}
    for workload in ("A", "B"):
        python("tests.bench.ppo_work", work / workload, workload)
    for number in range(rounds):
        for workload in ("A", "B"):
            say(f"workload {workload}, round {number + 1} of {rounds}")
            stock = measured("ppo_stock", work / workload, str(steps), path=(trl,))
            found["trl", workload] = best(found.get(("trl", workload)), stock)
            for critic in ("separate", "shared", "hydra"):
                ours = measured("ppo_ours", work / workload, critic, str(steps))
                found[critic, workload] = best(found.get((critic, workload)), ours)
    return found


def rows(found: dict[tuple[str, str], Run]) -> list[Row]:
    """Time and memory of each critic and workload, beside TRL's."""
    table = []
    for critic, workload in CELLS:
        ours, stock = found[critic, workload], found["trl", workload]
        name, target = f"{critic}_vs_trl_{workload}", TARGETS.get((critic, workload))
        pair = (f"{ours.seconds:.2f} s", f"{stock.seconds:.2f} s")
        table.append(Row(name, *pair, stock.seconds / ours.seconds, target, at_least=True))
    for critic, workload in CELLS:
        ours, stock = found[critic, workload], found["trl", workload]
        pair = (f"{ours.peak_mib:.0f} MiB", f"{stock.peak_mib:.0f} MiB")
        ratio = stock.peak_mib / ours.peak_mib
        table.append(Row(f"{critic}_memory_{workload}", *pair, ratio, 1.0, at_least=True))
    return table


def notes(found: dict[tuple[str, str], Run]) -> list[str]:
    """Where a step's seconds go, and how long its replies are."""
    lines = []
    for (critic, workload), run in found.items():
        if critic != "trl":
            parts = ", ".join(f"{name} {value:.2f}" for name, value in run.told["parts"].items())
            lines.append(
                f"{critic}, {workload}: {parts} s; replies of {run.told['length']:.1f} tokens"
            )
    return lines


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="A step of PPO against TRL's last PPOTrainer.")
    parser.add_argument("--steps", type=int, default=3, help="steps of a run (after one to warm)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "karma-bench")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    os.environ |= {"TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1"}
    trl = installed(options.cache)
    with tempfile.TemporaryDirectory() as work:
        found = compared(Path(work), trl, options.steps, options.rounds)
    conclude("ppo", rows(found), notes(found))


if __name__ == "__main__":
    main()
