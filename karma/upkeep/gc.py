"""Removes from a store what nobody needs, beside a pipeline that runs on it.

1. While nobody else may add or look up (``Store.held``), what nobody needs is found again, records
   are taken away, and artefacts are moved aside, in one rename each.
2. When the store is free again, what was moved aside is deleted.

A run tells under the same lock which key it will use before it looks for its record: what it has
found is not removed, and what it has just committed is known to be in use. Cut off anywhere, the
next ``karma gc`` finds what is left.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from karma.locks import try_lock
from karma.store import NOTES, Store
from karma.upkeep.holdings import UNFINISHED, Holdings, Item


def remove(store: Store, items: list[Item], forgotten: tuple[str, ...] = ()) -> list[Item]:
    """Remove those of ``items`` that nobody needs, and all notes about forgotten recipes.

    Returns what was removed. Waits while a run adds to the store.
    """
    with store.held(alone=True):
        holdings = Holdings(store, forgotten)
        # A run may have come to need some of it since it was listed.
        free = {(item.key, item.digest) for item in holdings.unneeded()}
        aside = store.root / "scratch" / f"removed-{time.time_ns()}"
        for notes in NOTES:
            (aside / notes).mkdir(parents=True)
            for recipe in forgotten:
                _move(store.root / notes / recipe, aside / notes / recipe)
        chosen = [item for item in items if (item.key, item.digest) in free]
        taken = [item for item in chosen if _take(holdings, item, aside)]
    # Another gc may have found it and be at it too; what is left the next one finds.
    shutil.rmtree(aside, ignore_errors=True)
    return taken


def _take(holdings: Holdings, item: Item, aside: Path) -> bool:
    """Take an item out of the store; False for a try that a job is at."""
    store = holdings.store
    if item.stage == UNFINISHED:
        with _unlocked(store, item.key) as free:
            if free:
                _move(store.root / "scratch" / item.key, aside / item.key)
            return free
    if item.key:
        folder = store.root / "records" / item.stage
        replaced = folder / "replaced" / f"{item.key}-{item.digest[:16]}.json"
        record = store.record(item.stage, item.key)
        if record is not None and record["digest"] == item.digest:
            (folder / f"{item.key}.json").unlink()
            _forget(holdings, item.key)
        replaced.unlink(missing_ok=True)
    _move(store.path(item.digest), aside / item.digest)
    return True


def _forget(holdings: Holdings, key: str) -> None:
    """Drop the small notes about a key."""
    root = holdings.store.root
    (root / "runs" / f"{key}.json").unlink(missing_ok=True)
    for use in holdings.uses.get(key, []):
        (root / "uses" / use.recipe / use.instance / key).unlink(missing_ok=True)


def _move(source: Path, target: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # moved with another key, or gone long ago
        source.rename(target)


@contextmanager
def _unlocked(store: Store, key: str) -> Iterator[bool]:
    """Whether no job is at a key; while the block lasts none can begin."""
    with (store.root / "locks" / key).open("ab") as file:
        yield try_lock(file)
