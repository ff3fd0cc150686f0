"""What is needed of a shared store, told in the store itself, and the gate behind which gc removes.

    needs/<workspace>/<recipe>.json  what a recipe's instances last made or used in one workspace
    claims/<run>.json                the keys that a run at work uses, rewritten every minute
    kept/<digest>.json               what ``karma keep`` protects
    gate.json                        the last collection (at first the store): its id, and whether
                                     it is over

A run writes its claim and then looks at the gate; a collection closes the gate and then reads the
claims. So one of the two sees the other, whichever comes first: a run that finds the gate closed
waits, and looks again for what it has looked up before. Ages are taken between two times of the
storage's own clock, so no machine's has to be right. A run that slept through a day, or a
collection that slept through its lease, can cost work: what is missing is made or shared again.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from karma.errors import BusyError
from karma.lease import HeldError, Leases
from karma.storage import Storage

GRACE = 86_400.0  # seconds for which a run's claim counts after its last beat
POLL = 1.0
GATE = "gate.json"
Document = dict[str, Any]
OPEN: Document = {"id": "first", "over": True}  # of a store that has no gate yet


class Claims:
    """Who needs what of one store."""

    def __init__(self, storage: Storage, leases: Leases) -> None:
        self._storage = storage
        self._leases = leases

    # The gate

    def epoch(self, make: bool = False) -> str:
        """The id of the last collection; waits while one is at work.

        With ``make`` a store without a gate gets one: one that is emptied, or replaced at its
        address, is then another.
        """
        while True:
            mark = self._gate()
            if make and mark == OPEN:
                mark = json.loads(self._storage.create(GATE, _gate(uuid.uuid4().hex, over=True)))
            if mark["over"]:
                return str(mark["id"])
            if self._leases.holder("gc") is None and not self._gate()["over"]:
                self._reopen()
            time.sleep(POLL)

    @contextmanager
    def closed(self) -> Iterator[Callable[[], None]]:
        """Let no run look for anything new while the block lasts.

        What is yielded raises BusyError if others have taken this process for dead meanwhile, and
        is to be called before each removal. Raises BusyError if another collection is at work.
        """
        try:
            with self._leases.hold("gc", uuid.uuid4().hex):
                mine = uuid.uuid4().hex
                self._set_gate(mine, over=False)

                def check() -> None:
                    if self._gate()["id"] != mine:
                        raise BusyError("karma gc was cut off for too long; run it again")

                try:
                    yield check
                finally:
                    if self._gate()["id"] == mine:
                        self._set_gate(mine, over=True)
        except HeldError as other:
            raise BusyError(f"karma gc or verify of {other} is at work on the store") from other

    def _reopen(self) -> None:
        """Open the gate that a collection left closed when it died."""
        with suppress(HeldError), self._leases.hold("gc", uuid.uuid4().hex):
            self._set_gate(uuid.uuid4().hex, over=True)

    def _gate(self) -> Document:
        data = self._storage.read(GATE)
        return OPEN if data is None else json.loads(data)

    def _set_gate(self, name: str, over: bool) -> None:
        self._storage.write(GATE, _gate(name, over))

    # Runs at work

    def claim(self, run: str, holder: str, keys: Iterable[str]) -> None:
        """Tell which keys a run uses, over what it told before."""
        document = {"holder": holder, "keys": sorted(keys)}
        self._storage.write(f"claims/{run}.json", json.dumps(document).encode())

    def release(self, run: str) -> None:
        """A run needs nothing any more but what is told otherwise."""
        self._storage.delete(f"claims/{run}.json")

    def at_work(self, grace: float = GRACE) -> list[Document]:
        """The claims of runs that have beaten within ``grace`` seconds: ``holder``, ``keys``."""
        now = self._storage.now()
        names = self._storage.names("claims")
        fresh = [n for n in names if now - (self._storage.modified(n) or 0.0) < grace]
        return [json.loads(data) for data in self._storage.read_all(fresh).values()]

    def lapsed(self, grace: float = GRACE) -> list[str]:
        """The files of claims that do not count any more, and what failed jobs printed by then."""
        now = self._storage.now()
        names = [*self._storage.names("claims"), *self._storage.names("failed")]
        return [n for n in names if now - (self._storage.modified(n) or now) >= grace]

    # Recipes of workspaces

    def publish(self, document: Document) -> None:
        """Tell what a recipe needs: ``workspace``, ``recipe``, ``host``, ``folder``, ``refs``
        (instance to key) and ``uses`` (key to instance and seconds since the epoch)."""
        self._storage.write(_needs(document), json.dumps(document).encode())

    def forget(self, document: Document) -> None:
        """A recipe of a workspace needs nothing any more."""
        self._storage.delete(_needs(document))

    def needs(self) -> list[Document]:
        """What was published and not forgotten."""
        found = self._storage.read_all(self._storage.names("needs"))
        return [json.loads(found[name]) for name in sorted(found)]

    # What is kept

    def kept(self) -> list[Document]:
        """What ``karma keep`` protects."""
        return [json.loads(d) for d in self._storage.read_all(self._storage.names("kept")).values()]

    def keep(self, document: Document) -> None:
        """Protect the artefact of ``digest``."""
        self._storage.write(f"kept/{document['digest']}.json", json.dumps(document).encode())

    def unkeep(self, digest: str) -> None:
        """Protect it no longer."""
        self._storage.delete(f"kept/{digest}.json")


def _gate(name: str, over: bool) -> bytes:
    return json.dumps({"id": name, "over": over}).encode()


def _needs(document: Document) -> str:
    return f"needs/{document['workspace']}/{document['recipe']}.json"
