"""One job as a Prefect flow: what a work pool's deployment runs on a worker, in its image.

The pipeline run that asked for it (``tasks.pools``) reads how it went from the shared store and the
name of the state.
"""

import os
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.console import Console
from karma.errors import SharedStoreError, StageError, UserError
from karma.lease import HeldError
from karma.pooled import Request, perform
from karma.recipe import check
from karma.remote import connect
from karma.shared import SharedStore
from tasks.pools import AWAY, FAILED, FLOW, HELD, REFUSED


def cache() -> Path:
    """The folder of fetched files and checkpoints, apart from what a run keeps on this machine."""
    return Path(os.environ.get("KARMA_WORKSPACE") or Path.home() / ".karma") / "jobs"


@flow(name=FLOW, persist_result=False, log_prints=True, validate_parameters=False)
def job(request: Request, store: str) -> State[Any]:
    """Make one instance of a stage from the store, and commit it there.

    Args:
        request: The job, its code's digests, its inputs by digest.
        store: The store that machines share: s3://bucket/prefix, or a folder.
    """
    try:
        asked = check(Request, request, "the job's request", "Start workers of the run's version.")
        here = SharedStore(cache(), connect(store))
        here.create()
        with Console() as console:
            record = perform(here, asked, console)
    except HeldError as holder:
        return Completed(name=HELD, message=f"{holder} is at it")
    except SharedStoreError as error:
        return Failed(name=AWAY, message=str(error))
    except UserError as error:
        return Failed(name=REFUSED, message=str(error))
    except StageError as error:
        return Failed(name=FAILED, message=str(error))
    return Completed(message=record["digest"][:16])
