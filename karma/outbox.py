"""What MLflow is to be told, kept on disk until it has been told.

Each entry is one file, named so that the order of names is the order of events. An entry that a
process began to send is marked first, so that whoever sends it again looks for what arrived before.
One that the server refuses is set aside in ``refused/``; moved back, it is sent again. This module
knows nothing of MLflow, so that ``karma run`` can see an empty outbox at once.
"""

import json
import time
import uuid
from pathlib import Path
from typing import Any

from karma.store import write_atomically

SENDING = ".sending"


class Outbox:
    """The entries that wait below a workspace."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "outbox"

    def put(self, path: Path) -> None:
        """Take in the entry that ``write`` left at ``path``, in one step. Raises OSError."""
        waiting = self.waiting()
        # A clock that was set back must not put this before what was told earlier.
        after = int(waiting[-1].name.partition("-")[0]) + 1 if waiting else 0
        name = f"{max(time.time_ns(), after):020d}-{uuid.uuid4().hex[:8]}.json"
        path.rename(self.folder / name)

    def waiting(self) -> list[Path]:
        """The entries that wait, oldest first, begun ones included."""
        found = (p for p in self.folder.glob("*.json*") if not p.name.startswith("."))
        return sorted(found, key=lambda path: path.name)

    def begin(self, path: Path) -> tuple[Path, dict[str, Any], bool]:
        """Mark an entry as begun; its new path, the entry, and whether it was begun before."""
        again = path.suffix == SENDING
        if not again:
            path = path.rename(path.with_name(path.name + SENDING))
        return path, json.loads(path.read_bytes()), again

    def refuse(self, path: Path) -> Path:
        """Set a begun entry aside; its new path."""
        folder = self.folder / "refused"
        folder.mkdir(exist_ok=True)
        return path.rename(folder / path.name.removesuffix(SENDING))


def write(path: Path, entry: dict[str, Any]) -> None:
    """Keep an entry at ``path``, with an ``entry`` id of its own. Raises OSError."""
    document = {"entry": uuid.uuid4().hex, **entry}
    write_atomically(path, json.dumps(document).encode())
