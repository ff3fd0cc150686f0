"""Prefect's server, asked with an error that a person can use."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient

from karma.address import public
from karma.errors import InputError


@contextmanager
def asking() -> Iterator[SyncPrefectClient]:
    """A client of the configured server. Raises InputError if that cannot be used."""
    with get_client(sync_client=True) as client:
        try:
            yield client
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise InputError(
                f"Prefect's server {public(str(client.api_url))}",
                f"it does not answer as it should ({reason})",
                "Start it, correct PREFECT_API_URL, or unset it: then the workspace has its own.",
            ) from error
