"""A store at one moment: what it holds, what that was used for, and who needs it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from karma.lineage.known import Use, uses
from karma.store import Store, read_json
from karma.upkeep.needed import Needs, Record, roots
from karma.upkeep.verify import size

UNFINISHED = "unfinished"
NOBODY = "?"


@dataclass(frozen=True)
class Item:
    """One record with its artefact, an artefact without a record, or what is left of a try."""

    recipe: str
    """The recipe that used it last, ``?`` if none is known."""
    stage: str
    instance: str
    key: str
    digest: str
    bytes: int
    """Of its files; 0 if they were counted with another key of the same artefact."""
    last_use: float
    """Seconds since the epoch."""
    needed_by: list[str] = field(default_factory=list)
    how: str = ""
    """Of what was searched for, whether it ``holds`` it or is ``made from`` it."""


class Holdings:
    """What a store holds. Raises WorkspaceError if a record or reference is damaged."""

    def __init__(self, store: Store, forgotten: tuple[str, ...] = ()) -> None:
        """``forgotten`` are recipes that nobody will run again."""
        self.store = store
        self.place = str(store.root)
        self.records = list(store.records())
        self.needs = Needs(self.records, roots(store, forgotten), store.kept())
        self.uses = uses(store)
        self._forgotten = forgotten

    def unneeded(self) -> list[Item]:
        """What nobody needs, by recipe, stage and size."""
        found = self.items({id(r): "" for r in self.records if not self.needs.of(r)})
        return sorted([*found, *self.leftovers()], key=_order)

    def leftovers(self) -> list[Item]:
        """What no record points to."""
        found = [unrecorded(p.name, size(p), p.stat().st_mtime) for p in self._without_record()]
        return [*found, *map(_unfinished, self._left_tries())]

    def size(self, digest: str) -> int:
        """The bytes of an artefact with its logs."""
        return size(self.store.path(digest))

    @contextmanager
    def file(self, digest: str, name: str) -> Iterator[Path | None]:
        """A file of an artefact while the block lasts, None if it is not there."""
        path = self.store.path(digest) / name
        yield path if path.exists() else None

    def items(self, how: dict[int, str]) -> list[Item]:
        """The records whose ``id()`` is named, as they are listed."""
        sized: set[str] = set()
        found = []
        for record in self.records:
            if id(record) in how:
                digest = record["digest"]
                whole = 0 if digest in sized else self.size(digest)
                found.append(self._item(record, whole, how[id(record)]))
                sized.add(digest)
        return sorted(found, key=_order)

    def _item(self, record: Record, whole: int, how: str) -> Item:
        unknown = Use(NOBODY, record["stage"], record.get("began", 0.0))
        use = next(iter(self.uses.get(record["key"], [])), unknown)
        return Item(
            recipe=use.recipe,
            stage=record["stage"],
            instance=use.instance,
            key=record["key"],
            digest=record["digest"],
            bytes=whole,
            last_use=use.when,
            needed_by=self.needs.of(record),
            how=how,
        )

    def _without_record(self) -> list[Path]:
        """Artefacts that no record points to, as a crash between the two leaves them."""
        known = {record["digest"] for record in self.records} | set(self.needs.digests)
        folder = self.store.root / "objects"
        return [path for path in folder.iterdir() if path.name not in known]

    def _left_tries(self) -> list[Path]:
        """Folders of jobs that did not end, but those that a recipe tried last or a run is at."""
        last = {
            document["key"]
            for folder in (self.store.root / "tries").glob("*")
            if folder.name not in self._forgotten
            for path in folder.rglob("*.json")
            if (document := read_json(path)) is not None
        }
        folder = self.store.root / "scratch"
        return [p for p in folder.iterdir() if p.name not in last and not self.needs.keys[p.name]]


def _order(item: Item) -> tuple[str, str, int, str, str]:
    return (item.recipe, item.stage, -item.bytes, item.instance, item.key)


def unrecorded(digest: str, whole: int, when: float) -> Item:
    """An artefact that no record points to."""
    return Item(NOBODY, NOBODY, "without a record", "", digest, whole, when)


def _unfinished(path: Path) -> Item:
    when = path.stat().st_mtime if path.exists() else 0.0  # its job may just have ended
    return Item(NOBODY, UNFINISHED, path.name[:16], path.name, "", size(path), when)
