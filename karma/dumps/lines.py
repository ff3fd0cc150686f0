"""Cuts a stream of blocks into chunks of whole lines, in bounded memory whatever a line's length.

What counts as a line is everything up to a line feed, and what follows the last one if anything.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# No row of Reddit's is near this; a longer line is set aside without being kept in memory.
LONGEST = 16 << 20
CHUNK = 1 << 20
HEAD = 4096


class Reject(NamedTuple):
    """A line that cannot be used: its number, its first byte's offset, why, and the line itself.

    Of one that is too long only the beginning is there.
    """

    line: int
    offset: int
    reason: str
    text: bytes


@dataclass(frozen=True)
class Chunk:
    """Whole lines: the number of the first (from 1), where it begins, and the bytes, in pieces."""

    line: int
    offset: int
    parts: tuple[bytes, ...]
    count: int
    """How many lines these are."""
    offsets: tuple[int, ...] = ()
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
    blocks: Iterable[bytes], size: int = CHUNK, longest: int = LONGEST, offset: int = 0
) -> Iterator[Chunk | LongLine]:
    """Chunks of about ``size`` bytes, and the lines longer than ``longest``, in the stream's order.

    Offsets count bytes of the decompressed stream, the first block of which begins at ``offset``;
    ``longest`` is more than ``size``.
    """
    parts: list[bytes] = []  # no longer than ``size`` together, or without a line's end
    length = 0
    line = 1
    skipping = False  # inside a long line that was reported already
    for step in _steps(blocks, longest - size):
        if skipping:
            end = step.find(b"\n")
            skipping = end < 0
            offset += len(step) if skipping else end + 1
            step = b"" if skipping else step[end + 1 :]
        parts.append(step)
        length += len(step)
        if length <= size:
            continue
        if length > longest or b"\n" not in step:
            step = b"".join(parts)
            parts = [step]
            end = step.find(b"\n")
            if end < 0 and length <= longest:
                continue
            if end < 0 or end > longest:
                skipping = end < 0
                cut = length if skipping else end + 1
                yield LongLine(line, offset, step[: min(cut, HEAD)].removesuffix(b"\n"))
                parts, length = [step[cut:]], length - cut
                line, offset = line + 1, offset + cut
                continue
        cut = step.rfind(b"\n") + 1
        whole = (*parts[:-1], step[:cut])
        count = _ends(whole)
        yield Chunk(line, offset, whole, count)
        parts, left = [step[cut:]], len(step) - cut
        line, offset, length = line + count, offset + length - left, left
    if length:
        whole = tuple(part for part in parts if part)
        yield Chunk(line, offset, whole, _ends(whole) + (not whole[-1].endswith(b"\n")))


def _ends(parts: Iterable[bytes]) -> int:
    """The number of line feeds; several times as fast as ``bytes.count``."""
    arrays = (np.frombuffer(part, np.uint8) for part in parts)
    return sum(int(np.count_nonzero(array == ord("\n"))) for array in arrays)


def _steps(blocks: Iterable[bytes], longest: int) -> Iterator[bytes]:
    """The same bytes in steps of at most ``longest``."""
    for block in blocks:
        for start in range(0, len(block), longest):
            yield block[start : start + longest]
