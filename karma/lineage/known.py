"""All that a store knows: its records, what they were used for, and what is kept.

Several records may have made the same bytes; any of them says truly what those can be made of.
"""

import contextlib
import re
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from karma.errors import InputError
from karma.store import Store


class Use(NamedTuple):
    """That an instance of a recipe needed what a key made."""

    recipe: str
    instance: str
    when: float
    """Seconds since the epoch."""


def uses(store: Store) -> dict[str, list[Use]]:
    """By key, what it was used for, the latest use first."""
    found: dict[str, list[Use]] = defaultdict(list)
    root = store.root / "uses"
    for path in root.rglob("*"):
        if re.fullmatch(r"[0-9a-f]{64}", path.name) and path.is_file():
            recipe, *parts = path.relative_to(root).parts[:-1]
            with contextlib.suppress(FileNotFoundError):  # gc has just removed it
                found[path.name].append(Use(recipe, "/".join(parts), path.stat().st_mtime))
    return {key: sorted(those, key=lambda use: -use.when) for key, those in found.items()}


def refs(store: Store) -> dict[tuple[str, str], Path]:
    """The references of a store by recipe and instance."""
    root = store.root / "refs"
    found = {}
    for path in sorted(root.rglob("*.json")):
        recipe, *parts = path.relative_to(root).with_suffix("").parts
        found[recipe, "/".join(parts)] = path
    return found


def find(store: Store, name: str) -> dict[str, Any]:
    """The record that a person means: a recipe (its last report), ``RECIPE:INSTANCE``, or six or
    more digits of a key or a digest.

    Raises InputError if there is none, or more than one artefact.
    """
    recipe, _, instance = name.partition(":")
    # Neither part may lead out of the folder of references.
    plain = re.fullmatch(r"\w[\w.-]*(:\w[\w./-]*)?", name) and ".." not in instance.split("/")
    ref = store.ref(recipe, instance or "report") if plain else None
    if ref is not None:
        found = [store.record((instance or "report").split("/")[0], ref["key"])]
    elif re.fullmatch(r"[0-9a-f]{6,64}", name):
        found = [
            record
            for record in store.records()
            if record["key"].startswith(name) or record["digest"].startswith(name)
        ]
    else:
        found = []
    there = {record["digest"]: record for record in found if record is not None}
    if len(there) == 1:
        return next(iter(there.values()))
    raise InputError(
        name,
        f"{len(there)} artefacts begin with it" if there else f"{store.root} has no such artefact",
        "Name a recipe that ran here, RECIPE:INSTANCE, or digits of a digest (karma lineage).",
    )


class Known:
    """What the store knows of artefacts, read when it is first asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @cached_property
    def _by_digest(self) -> dict[str, dict[str, Any]]:
        return {record["digest"]: record for record in self._store.records()}

    def fingerprint(self, digest: str) -> dict[str, Any] | None:
        """What an artefact was made of, if its record is there."""
        record = self._by_digest.get(digest)
        return record["fingerprint"] if record else None
