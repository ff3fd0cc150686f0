"""What jobs on other machines have in common, whoever hands them out: they take their inputs from
the store that machines share and commit there, and what can pass is tried again."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from karma.errors import InputError, RecipeError, SharedStoreError, StageError, ToldError
from karma.pooled import AWAY, HELD, REFUSED, Request
from karma.shared import SharedStore
from karma.store import Store

TRIES = (5.0, 30.0, 120.0)  # seconds before another try of what can pass
LONG = 600.0  # seconds of watching after which servers that were away are forgiven


class LostError(Exception):
    """A job came to nothing, and another try may do better."""


class Elsewhere(ABC):
    """The jobs of one pipeline run that run on other machines."""

    def __init__(self, field: str, store: Store, say: Callable[[str], None]) -> None:
        """``field`` of the recipe wants it. Raises RecipeError if workers cannot see the store."""
        if not isinstance(store, SharedStore):
            raise RecipeError(
                field,
                "the workers take their inputs from a shared store, and none is named",
                "Name one that they see too with --store or KARMA_STORE.",
            )
        self._store: SharedStore = store
        self._say = say

    def run(self, request: Request, started: Callable[[], None]) -> dict[str, Any]:
        """Have a job done; its record. ``started`` is called when a worker has it.

        Raises StageError or ToldError if it failed, or came to nothing each time that it was tried;
        InputError or SharedStoreError if a server stays away.
        """
        pauses = list(TRIES)
        while True:
            began = time.monotonic()
            try:
                return self._once(request, started)
            except (LostError, InputError, SharedStoreError) as error:
                if not isinstance(error, LostError) and time.monotonic() - began > LONG:
                    pauses = list(TRIES)
                if not pauses and isinstance(error, LostError):
                    raise StageError(f"{error}, {len(TRIES) + 1} times") from error
                if not pauses:
                    raise
                pause = pauses.pop(0)
                self._say(f"{request.instance}: {error}; again in {pause:g} s")
                time.sleep(pause)

    def output(self, key: str) -> bytes | None:
        """What the last job of a key printed that failed, as far as it can be had."""
        with suppress(SharedStoreError):
            return self._store.remote.failed(key)
        return None

    @abstractmethod
    def cancel(self) -> None:
        """Cancel the jobs that this run started and that go on. Raises InputError."""

    @abstractmethod
    def _once(self, request: Request, started: Callable[[], None]) -> dict[str, Any]:
        """Have a job done or find it done. Raises LostError if it is lost, else as ``run``."""


def came_to_nothing(why: str, message: str) -> NoReturn:
    """Say how a job ended that did not commit. Raises LostError, ToldError or StageError."""
    if why == REFUSED:
        raise ToldError(message)
    if why in (HELD, AWAY):
        raise LostError(message)
    raise StageError(message)
