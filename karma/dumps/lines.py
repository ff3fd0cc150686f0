"""Cuts a stream of blocks into chunks of whole lines, in bounded memory whatever a line's length.

What counts as a line is everything up to a line feed, and what follows the last one if anything.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

# No row of Reddit's is near this; a longer line is set aside without being kept in memory.
LONGEST = 16 << 20
CHUNK = 15 << 20
HEAD = 4096


class Reject(NamedTuple):
    """A line that cannot be used: its number, its first byte's offset, why, how it begins."""

    line: int
    offset: int
    reason: str
    head: bytes


@dataclass(frozen=True)
class Chunk:
    """Whole lines: the number of the first (from 1), where it begins, and the bytes."""

    line: int
    offset: int
    data: bytes
    offsets: tuple[int, ...] | None = None
    """Where each line's record begins, if the lines were made from records of another format."""
    rejects: tuple[Reject, ...] = ()
    """Records that were set aside already; an empty object stands in the place of each."""


@dataclass(frozen=True)
class LongLine:
    """A line longer than ``LONGEST``: its number, where it begins, and its first bytes."""

    line: int
    offset: int
    head: bytes


def chunks(
    blocks: Iterable[bytes], size: int = CHUNK, longest: int = LONGEST
) -> Iterator[Chunk | LongLine]:
    """Chunks of about ``size`` bytes, and the lines longer than ``longest``, in the stream's order.

    Offsets count bytes of the decompressed stream; ``longest`` is more than ``size``.
    """
    buffer = bytearray()
    line, offset = 1, 0
    skipping = False  # inside a long line that was reported already
    for step in _steps(blocks, longest - size):
        buffer += step
        if skipping:
            end = buffer.find(b"\n")
            skipping = end < 0
            offset += len(buffer) if skipping else end + 1
            del buffer[: len(buffer) if skipping else end + 1]
        if len(buffer) <= size:
            continue
        # Only the first line can be long: without it the buffer is no longer than ``longest``.
        end = buffer.find(b"\n")
        if end < 0 and len(buffer) <= longest:
            continue
        if end < 0 or end > longest:
            skipping = end < 0
            length = len(buffer) if skipping else end
            yield LongLine(line, offset, bytes(buffer[: min(length, HEAD)]))
            cut = length if skipping else end + 1
            line += 1
        else:
            cut = buffer.rfind(b"\n") + 1
            chunk = Chunk(line, offset, bytes(buffer[:cut]))
            yield chunk
            line += chunk.data.count(b"\n")
        offset += cut
        del buffer[:cut]
    if buffer:
        yield Chunk(line, offset, bytes(buffer))


def _steps(blocks: Iterable[bytes], longest: int) -> Iterator[bytes]:
    """The same bytes in steps of at most ``longest``."""
    for block in blocks:
        for start in range(0, len(block), longest):
            yield block[start : start + longest]
