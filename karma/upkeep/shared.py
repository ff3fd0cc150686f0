"""``karma gc`` and ``karma verify`` of a store that machines share.

What is needed is what every workspace has published, what is kept, and what runs at work have
claimed (``claims``). A collection closes the gate, finds anew what nobody needs, and removes the
records, then the artefacts. An artefact without a record may be one that is being uploaded, so it
stays for a day after it was last written to.

Verification reads every file there, piece by piece, and holds it against its manifest. What is
damaged it takes away, because a machine that has not read it would count on it: from then on it
counts as missing, and is made again, or shared again by a workspace that has it whole.
"""

import hashlib
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from karma.claims import GRACE
from karma.lineage.known import Use
from karma.remote import Remote
from karma.shared import SharedStore
from karma.upkeep.holdings import Holdings, Item, unrecorded
from karma.upkeep.needed import Needs, Record
from karma.upkeep.verify import THREADS, Finding, Progress, Verified, contradictions, silent

AT_ONCE = 16  # artefacts between two looks at whether the gate is still closed
Document = dict[str, Any]


class SharedHoldings(Holdings):
    """What a shared store holds, and who needs it."""

    def __init__(
        self, store: SharedStore, forgotten: tuple[str, ...] = (), grace: float = GRACE
    ) -> None:
        """``forgotten`` are recipes as ``recipes`` names them; ``grace`` is in seconds."""
        self.store = store
        self.place = store.remote.address
        self._remote = store.remote
        self._grace = grace
        self.records = store.remote.records()
        claims = store.remote.claims
        # A run that ends publishes its needs, then drops its claim: read the other way round.
        at_work = claims.at_work(grace)
        self.recipes = recipes(store)
        needed = {name: d for name, d in self.recipes.items() if name not in forgotten}
        roots = [(key, name) for name, d in needed.items() for key in d["refs"].values()]
        for claim in at_work:
            roots += [(key, f"a run at work, {claim['holder']}") for key in claim["keys"]]
        self.needs = Needs(self.records, roots, claims.kept())
        self.uses = uses_of(self.recipes)
        self._sizes = sizes(store.remote)

    def leftovers(self) -> list[Item]:
        """Artefacts that no record points to and that nobody has written to for a day."""
        known = {record["digest"] for record in self.records} | set(self.needs.digests)
        found = []
        now = self._remote.storage.now()
        for digest in self._sizes.keys() - known:
            names = [f"objects/{digest}/{name}" for name in self._sizes[digest]]
            when = max(self._remote.storage.modified(name) or now for name in names)
            if now - when >= self._grace:
                found.append(unrecorded(digest, self.size(digest), when))
        return found

    def size(self, digest: str) -> int:
        """The bytes of an artefact with its logs."""
        return sum(self._sizes.get(digest, {}).values())

    @contextmanager
    def file(self, digest: str, name: str) -> Iterator[Path | None]:
        """A file of an artefact, here while the block lasts, None if it is not there."""
        with tempfile.TemporaryDirectory() as temp:
            path = Path(temp) / "file.parquet"
            if name in self._sizes.get(digest, {}):
                self._remote.storage.download(f"objects/{digest}/{name}", path)
            yield path if path.exists() else None


def recipes(store: SharedStore) -> dict[str, Document]:
    """What each recipe of each workspace needs: ``smoke``, or of others ``smoke@1a2b3c4d``."""
    mine = store.name()
    found = {document["recipe"]: document for document in store.needs()}
    for document in store.remote.claims.needs():
        if document["workspace"] != mine:
            found[f"{document['recipe']}@{document['workspace'][:8]}"] = document
    return found


def uses_of(found: dict[str, Document]) -> dict[str, list[Use]]:
    """By key, what it was used for in any workspace, the latest use first."""
    those: dict[str, list[Use]] = defaultdict(list)
    for name, document in found.items():
        for key, (instance, when) in document["uses"].items():
            those[key].append(Use(name, instance, when))
    return {key: sorted(each, key=lambda use: -use.when) for key, each in those.items()}


def sizes(remote: Remote) -> dict[str, dict[str, int]]:
    """By digest, the bytes of each file."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for path, size in remote.storage.sizes("objects").items():
        _, digest, name = path.split("/", 2)
        found[digest][name] = size
    return dict(found)


def remove(
    store: SharedStore, items: list[Item], forgotten: tuple[str, ...] = (), grace: float = GRACE
) -> list[Item]:
    """Remove those of ``items`` that nobody needs, and what forgotten recipes need.

    Returns what was removed. Raises BusyError if another collection is at work.
    """
    with store.remote.closed() as check:
        holdings = SharedHoldings(store, forgotten, grace)
        free = {(item.key, item.digest) for item in holdings.unneeded()}
        chosen = [item for item in items if (item.key, item.digest) in free]
        for name in forgotten:
            store.remote.claims.forget(holdings.recipes[name])
            if "@" not in name:
                store.forget(name)
        digests = list(dict.fromkeys(item.digest for item in chosen))
        for first in range(0, len(digests), AT_ONCE):
            check()
            some = digests[first : first + AT_ONCE]
            keys = [(item.stage, item.key) for item in chosen if item.digest in some and item.key]
            store.remote.remove(keys, some)
        store.remote.storage.delete_all(store.remote.claims.lapsed(grace))
    return chosen


def verify(store: SharedStore, progress: Progress = silent) -> Verified:
    """Read everything there again, and take away what is damaged.

    ``progress`` is told how many artefacts are done, of how many. Raises BusyError if a collection
    is at work.
    """
    began = time.monotonic()
    remote = store.remote
    named = recipes(store)
    names = {k: tuple(f"{u.recipe}:{u.instance}" for u in us) for k, us in uses_of(named).items()}
    there = sizes(remote)
    records, damaged = _records(remote, names)
    findings = _references(remote, named)
    whole = {digest for digest, files in there.items() if "manifest.json" in files}
    broken = _broken(remote, whole | {r["digest"] for r in records.values()}, progress)
    if broken or damaged:
        with remote.closed():
            # Once more: a machine may have uploaded it again meanwhile, or gc removed it.
            records, damaged = _records(remote, names)
            stand = sizes(remote).keys() | {record["digest"] for record in records.values()}
            broken = _broken(remote, broken.keys() & stand, silent)
            remote.storage.delete_all(damaged)
            remote.take(list(broken))
    findings += damaged.values()
    for digest, wrong in broken.items():
        keys = [record["key"] for record in records.values() if record["digest"] == digest]
        instances = tuple(name for key in keys for name in names.get(key, ()))
        findings += [Finding(instances, f"objects/{digest}", what) for what in wrong]
    return Verified(
        artefacts=len(whole),
        bytes=sum(sum(there[digest].values()) for digest in whole),
        records=len(records) + len(damaged),
        accepted=sum(bool(record.get("accepted")) for record in records.values()),
        references=sum(len(document["refs"]) for document in named.values()),
        findings=findings,
        seconds=time.monotonic() - began,
    )


def _broken(remote: Remote, digests: set[str], progress: Progress) -> dict[str, list[str]]:
    """Those of some artefacts with which something is wrong, and what."""
    with ThreadPoolExecutor(THREADS) as pool:
        broken = {}
        looked = pool.map(partial(_damage, remote), digests)
        for done, (digest, wrong) in enumerate(zip(digests, looked, strict=True), 1):
            progress(done, len(digests))
            if wrong:
                broken[digest] = wrong
    return broken


def _records(
    remote: Remote, names: dict[str, tuple[str, ...]]
) -> tuple[dict[str, Record], dict[str, Finding]]:
    """The records by the names of their files, and what is wrong with those that are damaged."""
    found = remote.storage.read_all(remote.storage.names("records"))
    records: dict[str, Record] = {}
    for name, data in found.items():
        with suppress(ValueError):
            records[name] = json.loads(data)

    def look_up(stage: str, key: str) -> Record | None:
        return records.get(f"records/{stage}/{key}.json")

    damaged: dict[str, Finding] = {}
    for name in found:
        path = PurePosixPath(name)
        try:
            wrong = contradictions(records[name], path.parent.name, path.stem, look_up)
        except (KeyError, TypeError):
            wrong = ["it is no record"]
        if wrong:
            damaged[name] = Finding(names.get(path.stem, ()), name, "; ".join(wrong))
    return {name: r for name, r in records.items() if name not in damaged}, damaged


def _references(remote: Remote, named: dict[str, Document]) -> list[Finding]:
    """References of any workspace that point to no record."""
    stand = set(remote.storage.names("records"))
    return [
        Finding((f"{name}:{instance}",), f"needs/{document['workspace']}", "it points to no record")
        for name, document in named.items()
        for instance, key in document["refs"].items()
        if f"records/{instance.split('/')[0]}/{key}.json" not in stand
    ]


def _damage(remote: Remote, digest: str) -> list[str]:
    """One sentence for each thing that is not as it was made; none if the artefact is whole.

    Files that no manifest names are no machine's, and left alone.
    """
    manifest = remote.storage.read(f"objects/{digest}/manifest.json")
    if manifest is None:
        return ["its files are gone"]
    if hashlib.sha256(manifest).hexdigest() != digest:
        return ["manifest.json is not what it was made with"]
    files = json.loads(manifest)
    looked = (_file(remote, digest, name, files[name]["sha256"]) for name in files)
    return [what for what in looked if what]


def _file(remote: Remote, artefact: str, name: str, digest: str) -> str:
    """What is wrong with a file, if something is."""
    try:
        found = remote.storage.sha256(f"objects/{artefact}/{name}")
    except FileNotFoundError:
        return f"{name} is gone"
    return "" if found == digest else f"{name} holds other bytes than were written"
