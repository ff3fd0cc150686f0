"""What is kept: artefacts that ``karma gc`` leaves alone, with all that they were made from."""

import time
from contextlib import suppress
from typing import Any

from karma.errors import InputError
from karma.lineage.known import find
from karma.store import Store


def kept(store: Store) -> list[dict[str, Any]]:
    """What is kept, oldest first: ``name`` as it was given, stage, key, digest, ``at`` (UTC)."""
    return sorted(store.kept(), key=lambda document: str(document["at"]))


def keep(store: Store, name: str) -> dict[str, Any]:
    """Keep a run, known by its report, or any other artefact. Raises InputError if it is gone."""
    store.claim([find(store, name)["key"]])
    with store.held():
        record = find(store, name)  # karma gc of another machine may have removed it
        if not store.intact(record["digest"]):
            raise InputError(name, "its files are gone", "Run its recipe again, then keep it.")
        document = {part: record[part] for part in ("stage", "key", "digest")}
        document |= {"name": name, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        store.set_kept(document)
    store.release()
    return document


def release(store: Store, name: str) -> dict[str, Any]:
    """Keep something no longer: by the name that it was kept by, by another of its names, or by
    digits of its digest.

    Raises InputError if that is not one that is kept.
    """
    found = [d for d in kept(store) if d["name"] == name or _begins(d["digest"], name)]
    if not found:
        with suppress(InputError):
            digest = find(store, name)["digest"]
            found = [d for d in kept(store) if d["digest"] == digest]
    if len(found) != 1:
        reason = "more than one is kept by it" if found else "nothing is kept by that name"
        raise InputError(name, reason, "karma keep lists what is kept, with its digest.")
    store.unkeep(found[0]["digest"])
    return found[0]


def _begins(digest: str, name: str) -> bool:
    return len(name) >= 6 and digest.startswith(name)
