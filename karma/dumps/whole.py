"""Whether a dump is still being written: what a scheduled run leaves for the next one.

A file that was written to a moment ago is not whole, and neither is a zstd file whose last frame
has no end. Other formats cannot be asked; for them the time alone counts.
"""

import time
from collections import deque
from pathlib import Path
from typing import BinaryIO

from karma.dumps import zstd

MOMENT = 60.0  # seconds without a write after which a file counts as written


def unfinished(path: Path, now: float | None = None) -> str | None:
    """Why the file at ``path`` is not whole yet, or None if it is. Raises OSError."""
    age = (time.time() if now is None else now) - path.stat().st_mtime
    if 0 <= age < MOMENT:
        return f"it was written to {age:.0f} s ago"
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(0)
        if zstd.begins(head) and not _ends(file, path.stat().st_size):
            return "its last zstd frame has no end"
    return None


def _ends(file: BinaryIO, size: int) -> bool:
    """Whether the last frame of a zstd file ends where the file does, or before what is no frame,
    which is damage and not for us to tell."""
    return any(deque(zstd.parts(file), maxlen=1)) and file.tell() <= size
