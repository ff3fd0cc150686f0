"""Lineage as the store's records tell it: of any artefact, across recipes and settings.

A record's fingerprint holds the digests of what went in. A digest that no artefact has is an
input's: the simulator's files are found in its artefact, a file that was hashed here by its path.
"""

from collections import defaultdict
from collections.abc import Iterable
from graphlib import TopologicalSorter
from typing import Any

from karma.lineage.known import Use, uses
from karma.nodes import reached
from karma.store import Store, read_json

Record = dict[str, Any]
Document = dict[str, Any]
Links = dict[str, dict[str, str]]
"""By digest, the digests at the other end, each with its role."""


class Ancestry:
    """All artefacts of a store and the files behind them, joined by what was read."""

    def __init__(self, store: Store) -> None:
        self._uses = uses(store)
        self._records: dict[str, Record] = {}
        self._above: Links = defaultdict(dict)
        self._below: Links = defaultdict(dict)
        self._files: dict[str, Document] = {}
        self._learn_files(store)
        for record in store.records():
            self._learn(record)

    def _learn_files(self, store: Store) -> None:
        """The input files that were hashed here, and the simulator's."""
        for path, entry in (read_json(store.root / "sources.json") or {}).items():
            self._files[entry["sha256"]] = {"path": path, "bytes": entry["stat"][0]}
        for record in store.records():
            for name, file in record["files"].items() if record["stage"] == "world" else ():
                self._files[file["sha256"]] = {"path": f"world/{name}", "bytes": file["size"]}
                self._above[file["sha256"]][record["digest"]] = "world"

    def _learn(self, record: Record) -> None:
        digest = record["digest"]
        self._records[digest] = record
        # Of several records that made the same bytes, the last one says what from.
        self._above[digest] = {}
        for role, above in record["fingerprint"].get("input", {}).items():
            self._above[digest][above] = role
            self._below[above][digest] = role
            for world in self._above[above] if above in self._files else ():
                self._below[world][above] = "world"

    def document(self, digest: str) -> Document:
        """The graph of one artefact: what it was made from, itself, what was made from it."""
        up = reached(digest, self._above.__getitem__)
        down = reached(digest, self._below.__getitem__)
        nodes = [self._node(name, digest, up) for name in self._ordered(up | down)]
        names = {node["digest"]: node["id"] for node in nodes}
        edges = [
            {"from": names[above], "to": names[name], "role": role}
            for name in names
            for above, role in self._above[name].items()
            if above in names
        ]
        return {"schema": 1, "recipe": None, "focus": names[digest], "nodes": nodes, "edges": edges}

    def below(self, digest: str) -> list[Document]:
        """What was made from an artefact, in order, without itself."""
        found = reached(digest, self._below.__getitem__)
        return [self._node(n, digest, set()) for n in self._ordered(found) if n != digest]

    def _ordered(self, digests: set[str]) -> Iterable[str]:
        """Digests, what was made from others after them."""
        graph = {name: sorted(digests & self._above[name].keys()) for name in sorted(digests)}
        return TopologicalSorter(graph).static_order()

    def _node(self, digest: str, focus: str, up: set[str]) -> Document:
        side = "self" if digest == focus else "up" if digest in up else "down"
        record = self._records.get(digest)
        if record is None:
            return self._source(digest, side)
        use = next(iter(self._uses.get(record["key"], [])), Use("", record["stage"], 0.0))
        node = {"id": f"{use.instance}@{digest[:8]}", "stage": record["stage"], "state": None}
        node |= {"key": record["key"], "digest": digest, "side": side, "recipe": use.recipe}
        return {**node, "accepted": record["accepted"]} if "accepted" in record else node

    def _source(self, digest: str, side: str) -> Document:
        """An input: one file, or several that are known by their joint digest only."""
        file = self._files.get(digest)
        roles = sorted(set(self._below[digest].values()))
        name = file["path"].rsplit("/", 1)[-1] if file else roles[0]
        node = {"id": f"source/{name}@{digest[:8]}", "stage": "source", "state": None}
        node |= {"key": None, "digest": digest, "side": side, "recipe": ""}
        return {**node, "files": [{**file, "sha256": digest}] if file else []}
