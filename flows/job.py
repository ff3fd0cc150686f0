"""One job as a Prefect flow: what a work pool's deployment runs on a worker, in its image.

The pipeline run that asked for it (``tasks.pools``) reads how it went from the shared store and the
name of the state.
"""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.console import Console
from karma.pooled import HELD, Nothing, Request, attempt
from tasks.pools import FLOW


@flow(name=FLOW, persist_result=False, log_prints=True, validate_parameters=False)
def job(request: Request, store: str) -> State[Any]:
    """Make one instance of a stage from the store, and commit it there.

    Args:
        request: The job, its code's digests, its inputs by digest.
        store: The store that machines share: s3://bucket/prefix, or a folder.
    """
    with Console() as console:
        made = attempt(request, store, console)
    if not isinstance(made, Nothing):
        return Completed(message=made["digest"][:16])
    # Nothing is wrong with a job that another machine is at.
    state = Completed if made.why == HELD else Failed
    return state(name=made.why, message=made.message)
