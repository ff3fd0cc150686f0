"""What a stage printed: a try that goes on or failed here, else what the artefact in use says.

A log travels with its artefact. What failed on another machine has none, so it is to be read there.
"""

from collections.abc import Iterator

from karma.acceptance import origin
from karma.nodes import STAGES
from karma.shared import SharedStore
from karma.store import Store


def find(store: Store, instance: str) -> str | None:
    """What an instance printed the last time that it ran, or None if it never did.

    ``RECIPE:INSTANCE`` is the instance of that recipe alone. Raises SharedStoreError.
    """
    recipe, _, instance = instance.rpartition(":")
    stage = instance.split("/")[0]
    for key in _keys(store, recipe, instance):
        text = _text(store, stage, key)
        if text is not None:
            return text
    return None


def tried(store: Store, stage: str) -> list[str]:
    """The instances of a stage that this workspace ran or found; none if it is no stage."""
    if stage not in STAGES:
        return []
    kept = [
        (path, store.root / kind / recipe)
        for recipe in store.recipes()
        for kind in ("tries", "refs")
        for path in (store.root / kind / recipe / stage).rglob("*.json")
    ]
    return sorted({path.relative_to(root).as_posix().removesuffix(".json") for path, root in kept})


def _keys(store: Store, wanted: str, instance: str) -> Iterator[str]:
    """The keys under which an instance was run or found, of this workspace first; for any recipe,
    or for the ``wanted`` one."""
    stage = instance.split("/")[0]
    for recipe in store.recipes() if not wanted else [wanted]:
        tried, ref = store.last_try(recipe, instance), store.ref(recipe, instance)
        if tried is not None and store.latest(stage, tried) is None:
            yield tried
        if ref is not None:
            yield ref["key"]
        if tried is not None:
            yield tried
    if isinstance(store, SharedStore):
        needs = store.remote.claims.needs()
        mine = [document for document in needs if wanted in ("", document["recipe"])]
        found = [document for document in mine if instance in document["refs"]]
        keys = [document["refs"][instance] for document in found]
        last = {k: max(d["uses"].get(k, ("", 0.0))[1] for d in found) for k in keys}
        yield from sorted(last, key=lambda key: last[key], reverse=True)


def _text(store: Store, stage: str, key: str) -> str | None:
    record = store.latest(stage, key)
    made = key if record is None else origin(record)
    folder = store.log_folder(stage, made)
    for name in ("output.txt", "log.txt"):
        if folder is not None and (folder / name).exists():
            return (folder / name).read_text(encoding="utf-8", errors="replace")
    if record is None or not isinstance(store, SharedStore):
        return None
    data = store.remote.log(record["digest"], made)
    return None if data is None else data.decode(errors="replace")
