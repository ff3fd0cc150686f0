"""A job on a worker of a work pool: what it reads comes from the shared store, what it makes goes
there.

    request ──► same code? ──► a record? ──► lease ──► inputs by digest ──► job ──► object, record

The worker has a workspace of its own, a cache: files that it fetched, checkpoints. It knows neither
the recipe nor the DAG, so the request brings the fingerprint, and the worker holds that against its
own code and libraries: what it makes is committed under the run's key.
"""

import os
import socket
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from karma.cards import cards
from karma.errors import InputError, SharedStoreError, StageError, UserError
from karma.fingerprint import differences, here, key_of
from karma.lease import HeldError
from karma.recipe import check
from karma.remote import connect
from karma.shared import SharedStore
from karma.worker import Pool, keep_log

# Why an attempt made nothing.
HELD, AWAY, REFUSED, FAILED = "Held", "StoreAway", "Refused", "StageFailed"
OUTPUT = 1 << 20  # bytes of a failed job's output that the run that waits for it gets to see


class Input(BaseModel):
    """An input by its artefact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    member: str = ""
    """Its path below the artefact, if it is not all of it."""


class Request(BaseModel):
    """One job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instance: str
    fingerprint: dict[str, Any]
    config: dict[str, Any]
    """What the job is given: the slice of the recipe in its fingerprint, and how it is to run."""
    inputs: dict[str, Input]
    run: str
    """The pipeline run that wants it, which tells MLflow."""
    pool: str
    limit: float | None = None
    """Seconds after which it is ended."""
    cards: int = 1

    @property
    def stage(self) -> str:
        """The stage's word."""
        return str(self.fingerprint["stage"])

    @property
    def key(self) -> str:
        """The key that the run waits for."""
        return key_of(self.fingerprint)


class Watcher(Protocol):
    """What is told how a job goes."""

    def started(self, instance: str) -> None:
        """It has a slot and begins."""

    def progress(self, instance: str, done: float, total: float, unit: str) -> None:
        """It is ``done`` of ``total`` ``unit``."""

    def say(self, words: str) -> None:
        """Anything else."""


class Unwatched:
    """Nobody watches."""

    def started(self, instance: str) -> None:
        """It begins."""

    def progress(self, instance: str, done: float, total: float, unit: str) -> None:
        """It goes on."""

    def say(self, words: str) -> None:
        """To the worker's own output."""
        print(words, flush=True)


def cache() -> Path:
    """The folder of fetched files and checkpoints, apart from what a run keeps on this machine."""
    return Path(os.environ.get("KARMA_WORKSPACE") or Path.home() / ".karma") / "jobs"


class Nothing(NamedTuple):
    """An attempt that made nothing: ``why``, one of the words above, and for a person."""

    why: str
    message: str


def attempt(request: Any, address: str, console: Watcher | None = None) -> dict[str, Any] | Nothing:
    """The record of what a request asks for, made from the store at an address, or why it is not.

    ``request`` is a ``Request`` or its document.
    """
    try:
        asked = check(Request, request, "the job's request", "Start workers of the run's version.")
        store = SharedStore(cache(), connect(address))
        store.create()
        return perform(store, asked, console or Unwatched())
    except HeldError as holder:
        return Nothing(HELD, f"{holder} is at it")
    except SharedStoreError as error:
        return Nothing(AWAY, str(error))
    except UserError as error:
        return Nothing(REFUSED, str(error))
    except StageError as error:
        return Nothing(FAILED, str(error))


def perform(store: SharedStore, request: Request, console: Watcher) -> dict[str, Any]:
    """Make what a request asks for and commit it; the record that stands.

    Raises UserError if this worker cannot do it, HeldError if another machine is at it,
    SharedStoreError if the store cannot be used, StageError if the job failed.
    """
    stage, key = request.stage, request.key
    _require_same(request)

    def waiting(holder: str) -> None:
        console.say(f"{request.instance} waits for {holder}, which is at it too")

    with store.lock(key, waiting):
        record = store.latest(stage, key)
        if record is not None and store.intact(record["digest"]):
            return store.share(record)
        # Before it has a card: the lease says to the run that waits that this worker is alive.
        with store.lease(stage, key):
            return _make(store, request, console)


def _require_same(request: Request) -> None:
    """What is committed under a key must be made by the code that the key stands for."""
    document = request.fingerprint
    causes = differences(document, here(document))
    if not causes:
        return
    told = [f"{c['what']} (run {_short(c['old'])}, worker {_short(c['new'])})" for c in causes[:3]]
    more = f" and {len(causes) - 3} more" if len(causes) > 3 else ""
    raise InputError(
        f"the worker on {socket.gethostname()} of pool {request.pool}",
        f"it is of another version than the run: {', '.join(told)}{more}",
        "Start the pool's workers from the run's image or checkout.",
    )


def _short(value: str | None) -> str:
    return "has none" if value is None else value[:8]


def _make(store: SharedStore, request: Request, console: Watcher) -> dict[str, Any]:
    name, key, document = request.instance, request.key, request.fingerprint
    compute = document.get("compute", "cpu")
    spec = {
        "job": document["job"],
        "config": request.config,
        "inputs": {role: str(_path(store, request, role)) for role in request.inputs},
        "compute": compute,
    }
    pool = Pool(0, cards(request.cards)) if compute == "cuda" else Pool(1)
    folder, began = store.begin(key), time.time()
    try:
        usage = pool.run(
            spec,
            folder,
            document,
            partial(console.progress, name),
            partial(console.started, name),
            limit=request.limit,
            cards=request.cards,
        )
    except (StageError, UserError):
        with suppress(OSError, SharedStoreError):  # the error itself matters more
            store.remote.set_failed(key, (folder / "log.txt").read_bytes()[-OUTPUT:])
        raise
    finally:
        pool.close()
    keep_log(folder)
    facts = {"fingerprint": document, "began": began, "run": request.run}
    return store.commit(request.stage, key, {**facts, "pool": request.pool, **usage})


def _path(store: SharedStore, request: Request, role: str) -> Path:
    """Where the job finds an input, fetched if it was not here."""
    source = request.inputs[role]
    if not store.fetch(source.digest):
        raise InputError(
            f"store {store.remote.address}",
            f"the worker on {socket.gethostname()} does not find {role} of {request.instance}",
            "Name a store that the pool's workers see under the same address.",
        )
    return store.path(source.digest) / source.member
