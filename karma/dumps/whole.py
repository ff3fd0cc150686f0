"""Whether a dump is still being written: what a scheduled run leaves for the next one.

A file that was written to a moment ago is not whole, and neither is a zstd file whose last frame
has no end. The blocks of a frame say how long they are (RFC 8878, section 3.1.1), so the end is
found without decoding. Other formats cannot be asked; for them the time alone counts.
"""

import time
from pathlib import Path
from typing import BinaryIO

MOMENT = 60.0  # seconds without a write after which a file counts as written
FRAME = 0xFD2FB528
SKIPPABLE = range(0x184D2A50, 0x184D2A60)
RLE = 1  # a block of this type holds one byte, however long it says that it is


def unfinished(path: Path, now: float | None = None) -> str | None:
    """Why the file at ``path`` is not whole yet, or None if it is. Raises OSError."""
    age = (time.time() if now is None else now) - path.stat().st_mtime
    if 0 <= age < MOMENT:
        return f"it was written to {age:.0f} s ago"
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(0)
        if _number(head) in (FRAME, *SKIPPABLE) and not _ends(file, path.stat().st_size):
            return "its last zstd frame has no end"
    return None


def _ends(file: BinaryIO, size: int) -> bool:
    """Whether the last frame of a zstd file ends where the file does, or before what is no frame,
    which is damage and not for us to tell."""
    while file.tell() < size:
        magic = _number(file.read(4))
        if magic in SKIPPABLE:
            file.seek(_number(file.read(4)), 1)
        elif magic == FRAME:
            if not _frame_ends(file):
                return False
        else:
            return True
    return file.tell() == size


def _frame_ends(file: BinaryIO) -> bool:
    """Go past one frame whose magic number was read; False if the file ends before it does."""
    (descriptor,) = file.read(1) or b"\0"
    single = descriptor >> 5 & 1
    identity = (0, 1, 2, 4)[descriptor & 3]
    content = (single, 2, 4, 8)[descriptor >> 6]
    file.seek(1 - single + identity + content, 1)
    last = 0
    while not last:
        header = file.read(3)
        if len(header) < 3:
            return False
        block = _number(header)
        last, kind, length = block & 1, block >> 1 & 3, block >> 3
        file.seek(1 if kind == RLE else length, 1)
    if descriptor >> 2 & 1:
        file.seek(4, 1)  # the checksum
    return True


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")
