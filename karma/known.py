"""The store's records by the digest of what they made.

Several records may have made the same bytes; any of them says truly what those can be made of.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from karma.store import Store, read_json


def records(store: Store) -> Iterator[dict[str, Any]]:
    """Every record of a store, those that a forced run replaced before the ones that stand."""
    paths = sorted((store.root / "records").rglob("*.json"), key=lambda path: -len(path.parts))
    for path in paths:
        record = read_json(path)
        if record is not None:  # another process may have removed it
            yield record


class Known:
    """What the store knows of artefacts, read when it is first asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @cached_property
    def _by_digest(self) -> dict[str, dict[str, Any]]:
        return {record["digest"]: record for record in records(self._store)}

    def fingerprint(self, digest: str) -> dict[str, Any] | None:
        """What an artefact was made of, if its record is there."""
        record = self._by_digest.get(digest)
        return record["fingerprint"] if record else None
