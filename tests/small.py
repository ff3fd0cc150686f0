"""The smoke recipe made small, and the command line as a test calls it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.filled import SMOKE

KARMA = Path(sys.executable).parent / "karma"
# Half the size of the recipe: what is tested here is that the parts hold together.
SMALL = [
    "world.threads=300",
    "world.texts=3000",
    "base.tiny.sequences=3000",
    "sft.count=600",
    "policy.episodes=320",
    "policy.variants=[context, random]",
    "evals.items=24",
]
ADDRESSES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")


def command(
    *arguments: str | Path, timeout: float = 1200, **env: str
) -> subprocess.CompletedProcess:
    """A command of karma's that takes no workspace."""
    # MLflow, where a test used it in this process, has left its addresses in the environment.
    inherited = {n: v for n, v in os.environ.items() if n not in ADDRESSES}
    return subprocess.run(
        [KARMA, *arguments],
        capture_output=True,
        text=True,
        env={**inherited, **env},
        timeout=timeout,
    )


def karma(
    *arguments: str, workspace: Path, env: dict | None = None, timeout: float = 1200
) -> subprocess.CompletedProcess:
    whole = (*arguments, "--workspace", str(workspace))
    return command(*whole, timeout=timeout, **(env or {}))


def settings(*more: str) -> list[str]:
    return [word for setting in (*SMALL, *more) for word in ("--set", setting)]


def states(workspace: Path, *more: str) -> dict[str, str]:
    ran = karma("plan", str(SMOKE), *settings(*more), "--json", workspace=workspace)
    return {s["id"]: s["state"] for s in json.loads(ran.stdout)["stages"]}


def wait_until(condition: Callable[[], object], seconds: float) -> None:
    """Wait for a condition; an assertion fails if it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)
