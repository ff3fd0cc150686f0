"""The pipeline runs of a workspace: a line when one begins and one when it ends.

A run without an end whose process is gone was killed; ``journal`` knows whether it is. Lines are
appended whole, so any number of processes can write.
"""

import json
import os
import sys
import time
import uuid
from dataclasses import dataclass
from typing import Any

from karma.journal import goes_on
from karma.store import Store

FILE = "history.jsonl"


@dataclass
class Past:
    """One pipeline run."""

    id: str
    recipe: str
    began: float
    """Seconds since the epoch, as ``ended``."""
    who: str
    """The process: ``pid 7 on host``."""
    ended: float | None = None
    status: str = "KILLED"
    """FINISHED, FAILED, RUNNING or KILLED."""
    ran: int = 0
    cached: int = 0
    failures: dict[str, str] | None = None
    """Instance to message."""


def begin(store: Store, run: str, recipe: str, who: str) -> None:
    """Note that a run begins. Raises OSError."""
    _append(store, {"run": run, "recipe": recipe, "began": time.time(), "who": who})


def end(store: Store, run: str, ran: int, cached: int, failures: dict[str, str]) -> None:
    """Note that a run ended, and what became of its instances. Raises OSError."""
    document = {"ended": time.time(), "ran": ran, "cached": cached, "failures": failures}
    _append(store, {"run": run, **document})


def idle(store: Store, recipe: str, cached: int) -> None:
    """Note a run that found nothing stale. Raises OSError."""
    run = uuid.uuid4().hex
    begin(store, run, recipe, "")
    end(store, run, 0, cached, {})


def _append(store: Store, document: dict[str, Any]) -> None:
    line = json.dumps(document).encode() + b"\n"
    descriptor = os.open(store.root / FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def untold(store: Store, record: dict[str, Any]) -> bool:
    """Whether a work pool's job made a record for a run of this workspace that had ended before: so
    nobody told MLflow of it."""
    if "pool" not in record or store.own_record(record["stage"], record["key"]) is not None:
        return False
    asked = [past for past in last(store, sys.maxsize) if past.id == record["run"]]
    return any(past.status != "RUNNING" for past in asked)


def last(store: Store, count: int) -> list[Past]:
    """The last runs, the latest first."""
    path = store.root / FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found: dict[str, Past] = {}
    for line in lines:
        try:
            document = json.loads(line)
        except ValueError:
            continue  # cut off by a full disk
        run = document.pop("run")
        if "recipe" in document:
            found[run] = Past(run, **document)
        elif run in found:
            past = found[run]
            past.ended, past.ran = document["ended"], document["ran"]
            past.cached, past.failures = document["cached"], document["failures"]
            past.status = "FAILED" if past.failures else "FINISHED"
    latest = list(found.values())[::-1][:count]
    for past in latest:
        if past.ended is None and goes_on(store, past.id):
            past.status = "RUNNING"
    return latest
