"""Jobs on a Dask cluster, ``runner: dask``: the requests that work pools' workers get, handed out
by Dask's scheduler, which gives those of a worker that died to another one.

Not the tasks of the flow themselves: they share the run's journal, console and outcomes, which
stay in one process.
"""

import logging
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from karma.errors import InputError, RecipeError, StageError
from karma.pooled import HELD, Nothing, Request, attempt
from karma.store import Store
from tasks.elsewhere import Elsewhere, LostError, came_to_nothing

SCHEDULER = "DASK_SCHEDULER_ADDRESS"  # Dask's own name for it
WAIT = 10.0  # seconds in which the scheduler must answer
LOOKS = (1.0, 15.0)  # seconds between looks at whether a worker has begun
POOL = "dask"


class Cluster(Elsewhere):
    """A cluster that exists, by the address of its scheduler, or one on this machine."""

    def __init__(self, slots: int, store: Store, say: Callable[[str], None]) -> None:
        """With ``slots`` processes if it is on this machine.

        Raises RecipeError if Dask is missing or workers cannot see the store, InputError if the
        scheduler does not answer.
        """
        super().__init__("runner: dask", store, say)
        try:
            from dask.distributed import Client, LocalCluster
        except ImportError:
            raise RecipeError(
                "runner: dask",
                "Dask is not installed",
                "Run pip install -e '.[dask]' in the checkout, here and on the workers.",
            ) from None
        # Prefect's handlers would show all that its loggers tell.
        logging.getLogger("distributed").setLevel(logging.WARNING)
        address = os.environ.get(SCHEDULER)
        self._local = None
        if address is None:
            self._local = LocalCluster(
                n_workers=slots,
                threads_per_worker=1,
                dashboard_address=None,
                env={"KARMA_WORKSPACE": str(store.root.resolve())},
            )
        try:
            self._client = Client(self._local or address, timeout=WAIT)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{SCHEDULER}={address}",
                f"Dask's scheduler does not answer there ({error})",
                "Start it (dask scheduler), correct the address, or unset it for a cluster here.",
            ) from None

    def cancel(self) -> None:
        """Let go of the cluster; what a worker of another machine is at, it commits."""
        self._client.close()
        if self._local is not None:
            self._local.close()

    def _once(self, request: Request, started: Callable[[], None]) -> dict[str, Any]:
        from dask.distributed import CancelledError, KilledWorker, wait

        # Workers of a cluster here share its cards by their locks, as slots do.
        cuda = request.fingerprint.get("compute") == "cuda" and self._local is None
        future = self._client.submit(
            attempt,
            request.model_dump(mode="json"),
            self._store.remote.address,
            key=f"{request.instance} {uuid.uuid4().hex}",
            resources={"GPU": request.cards} if cuda else None,
        )
        pause = LOOKS[0]
        while not future.done():
            with suppress(TimeoutError):
                wait(future, timeout=pause)
            pause = min(1.5 * pause, LOOKS[1])
            if self._store.remote.leases.holder(request.key) is not None:
                started()
                break
        try:
            made = future.result()
        except KilledWorker as error:
            raise LostError(f"Dask's workers died of it ({error})") from error
        except CancelledError:
            raise StageError("its job on Dask was cancelled") from None
        if isinstance(made, Nothing):
            if made.why == HELD:  # by a machine that may take hours, or by a worker that died
                self._store.wait(request.stage, request.key)
            came_to_nothing(*made)
        return dict(made)
