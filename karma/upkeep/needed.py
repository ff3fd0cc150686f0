"""What of a store somebody needs: the closure of references, kept artefacts and runs at work.

    a recipe's reference ─┐
    karma keep ───────────┼─► record ─► the digests of its inputs ─► their records ─► ...
    a run that goes on ───┤
    MLflow is to be told ─┘

What something needed was made from is needed too: its lineage leads through it, and its bytes may
have to be made again. The simulator's dumps are files of one artefact of ``world`` and are known by
their own digests.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from karma.errors import WorkspaceError
from karma.lineage.known import refs
from karma.store import Store, read_json

Record = dict[str, Any]


class Needs:
    """For each record and artefact of a store, who needs it."""

    def __init__(
        self,
        records: list[Record],
        roots: Iterable[tuple[str, str]],
        kept: Iterable[dict[str, Any]],
    ) -> None:
        """``roots`` are the keys that somebody needs by themselves, and who."""
        self.keys: dict[str, set[str]] = defaultdict(set)
        self.digests: dict[str, set[str]] = defaultdict(set)
        self._by_key: dict[str, list[Record]] = defaultdict(list)
        self._by_digest: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            self._by_key[record["key"]].append(record)
            self._by_digest[record["digest"]].append(record)
            if record["stage"] == "world":
                for file in record["files"].values():
                    self._by_digest[file["sha256"]].append(record)
        for key, who in roots:
            self._need(self._by_key[key], who)
        for document in kept:
            self.digests[document["digest"]].add(f"kept {document['name']}")
            self._need(self._by_digest[document["digest"]], f"kept {document['name']}")

    def of(self, record: Record) -> list[str]:
        """Who needs a record or its artefact; nobody, if the list is empty."""
        return sorted(self.keys[record["key"]] | self.digests[record["digest"]])

    def _need(self, records: Iterable[Record], who: str) -> None:
        waiting = list(records)
        while waiting:
            record = waiting.pop()
            mark = self.keys[record["key"]]
            if who in mark and who in self.digests[record["digest"]]:
                continue
            mark.add(who)
            self.digests[record["digest"]].add(who)
            for digest in record["fingerprint"].get("input", {}).values():
                self.digests[digest].add(who)
                waiting.extend(r for r in self._by_digest[digest] if who not in self.keys[r["key"]])


def roots(store: Store, forgotten: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
    """The keys of a workspace that somebody needs by themselves, and who.

    ``forgotten`` are recipes that nobody will run again.
    """
    # In the order in which a run that ends meanwhile lets go, so that it is seen somewhere.
    for path in (store.root / "open").glob("*/used.txt"):
        with contextlib.suppress(FileNotFoundError):  # the run has just ended
            for key in path.read_text(encoding="utf-8").split():
                yield key, "a run at work"
    for places in ("open/*/*.json", "outbox/*.json*"):
        for path in store.root.glob(places):
            try:
                entry = read_json(path)
            except WorkspaceError:
                continue  # in the midst of being moved
            for key in (entry or {}).get("keys", []):
                yield key, "what MLflow is to be told"
    for (recipe, _), path in refs(store).items():
        ref = read_json(path)
        if ref is not None and recipe not in forgotten:
            yield ref["key"], recipe
