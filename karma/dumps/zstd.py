"""How a zstd file is laid out: its parts say how long they are (RFC 8878, section 3.1), so that
where they end is found without decoding them."""

from collections.abc import Iterator
from typing import BinaryIO

FRAME = 0xFD2FB528
SKIPPABLE = range(0x184D2A50, 0x184D2A60)
# What a block decompresses to at most.
BLOCK = 1 << 17
RLE = 1  # a block of this type holds one byte, however long it says that it is


def begins(head: bytes) -> bool:
    """Whether a file with these first bytes is a zstd file."""
    return _number(head[:4]) in (FRAME, *SKIPPABLE)


def parts(file: BinaryIO) -> Iterator[bool]:
    """Go past one part after another: a frame's header, a block, a skippable frame.

    Yields whether a frame ends where ``file`` then stands, which is beyond its end if that cuts the
    part. Stops at the end, and before what is no frame.
    """
    while True:
        magic = _number(file.read(4))
        if magic in SKIPPABLE:
            file.seek(_number(file.read(4)), 1)
            yield True
        elif magic == FRAME:
            yield from _blocks(file)
        else:
            return


def _blocks(file: BinaryIO) -> Iterator[bool]:
    """The parts of one frame whose magic number was read, as ``parts`` yields them."""
    (descriptor,) = file.read(1) or b"\0"
    single = descriptor >> 5 & 1
    identity = (0, 1, 2, 4)[descriptor & 3]
    content = (single, 2, 4, 8)[descriptor >> 6]
    file.seek(1 - single + identity + content, 1)
    last = 0
    while not last:
        yield False
        header = file.read(3)
        if len(header) < 3:
            return
        block = _number(header)
        last, kind, length = block & 1, block >> 1 & 3, block >> 3
        file.seek(1 if kind == RLE else length, 1)
    if descriptor >> 2 & 1:
        file.seek(4, 1)  # the checksum
    yield True


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")
