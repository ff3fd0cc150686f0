"""Leases: of several hosts on one store, one at a time works on a key.

    leases/<key>/<n>    who holds it and a beat that counts on; n grows with each that takes over

A lease is taken by creating the file that follows the last, which only one can. Its holder rewrites
it every few seconds; one that nobody rewrote for as long as it says, by the watch of who waits, is
dead, and the next may be created; so may one after a holder that died in the same workspace. No two
clocks are compared, so none has to be right. A lease saves work and guarantees nothing: a host that
slept through its lease goes on, and what it commits meets the record that stands (``remote``).
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from karma.errors import SharedStoreError
from karma.storage import Storage

TTL = 60.0  # seconds without a beat after which a holder counts as dead
BEATS = 4  # in that time


class HeldError(Exception):
    """Another host is at work on the key; the message says who."""


class Leases:
    """The leases of one store, as one process sees and holds them."""

    def __init__(self, storage: Storage, ttl: float = TTL) -> None:
        self.ttl = ttl
        self._storage = storage
        self._seen: dict[str, tuple[bytes, float]] = {}

    def holder(self, key: str) -> str | None:
        """Who holds ``key``, or None if nobody does or its holder counts as dead."""
        words = self._look(key)[1]
        return None if words is None else str(words["holder"])

    @contextmanager
    def hold(self, key: str, owner: str) -> Iterator[None]:
        """Hold ``key`` alone while the block lasts. Raises HeldError if another host has it.

        Of one ``owner`` (a workspace) there is one at most that asks, so what it left is dead.
        """
        last, words = self._look(key)
        if words is not None and words["owner"] != owner:
            raise HeldError(words["holder"])
        mine = f"leases/{key}/{last + 1:06d}"
        words = {"holder": myself(), "owner": owner, "token": uuid.uuid4().hex, "ttl": self.ttl}
        stands = json.loads(self._storage.create(mine, json.dumps(words).encode()))
        if stands["token"] != words["token"]:
            raise HeldError(stands["holder"])
        for number in range(1, last + 1):
            self._storage.delete(f"leases/{key}/{number:06d}")
        stop = threading.Event()
        thread = threading.Thread(target=self._keep, args=(mine, words, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            with suppress(SharedStoreError):  # it runs out by itself
                self._storage.delete(mine)

    def _look(self, key: str) -> tuple[int, dict[str, Any] | None]:
        """The number of the last lease (0: there is none), and its words if its holder is alive."""
        names = self._storage.names(f"leases/{key}")
        if not names:
            return 0, None
        name = max(names)
        number = int(name.rpartition("/")[2])
        data = self._storage.read(name)
        if data is None:
            return self._look(key)  # let go just now
        before, since = self._seen.get(name, (b"", 0.0))
        if data != before:
            self._seen[name] = data, since = data, time.monotonic()
        words: dict[str, Any] = json.loads(data)
        return number, words if time.monotonic() - since < words["ttl"] else None

    def _keep(self, name: str, words: dict[str, Any], stop: threading.Event) -> None:
        beat = 0
        while not stop.wait(self.ttl / BEATS):
            beat += 1
            with suppress(SharedStoreError):  # the next beat may get through
                self._storage.write(name, json.dumps({**words, "beat": beat}).encode())


def myself() -> str:
    """This process, for a person on another machine."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"pid {os.getpid()} on {socket.gethostname()} since {since}"
