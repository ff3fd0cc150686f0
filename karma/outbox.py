"""What MLflow is to be told, kept on disk until it has been told.

Each entry is one file, named so that the order of names is the order of events. An entry that a
process began to send is marked first, so that whoever sends it again looks for what arrived before.
This module knows nothing of MLflow, so that ``karma run`` can see an empty outbox at once.
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

    def put(self, entry: dict[str, Any]) -> None:
        """Keep an entry; it survives this process. Gives it an ``entry`` id of its own."""
        document = {"entry": uuid.uuid4().hex, **entry}
        name = f"{time.time_ns():020d}-{document['entry'][:8]}.json"
        write_atomically(self.folder / name, json.dumps(document).encode())

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
