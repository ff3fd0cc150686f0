"""A dump file as a stream of decompressed blocks: zstd, bzip2, gzip, xz or plain.

The format is told by the file's first bytes. A frame that ends early or is damaged is an error: the
libraries themselves read a truncated zstd frame as a clean end, so ``eof`` is checked here.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import zstandard

from karma.dumps import zstd
from karma.errors import InputError

PIECE = 1 << 16
# What one call may decompress to.
MOST = 8 << 20
PLAIN_PIECE = 1 << 20
# Pushshift's frames ask for a window of 2 GiB.
ZSTD_WINDOW = 1 << 31
# What a piece decompresses to, mostly: joining it of many small parts takes time.
ZSTD_WRITE = 1 << 20
AGAIN = (
    "If it was downloaded, compare its checksum with the publisher's and download it again; else "
    "write it again."
)


class Decoder(Protocol):
    """What the decompressors of zstd, bzip2, gzip and xz have in common: they decode one frame."""

    @property
    def eof(self) -> bool:
        """Whether the frame has ended."""

    @property
    def unused_data(self) -> bytes:
        """What came after the frame's end."""

    def decompress(self, data: bytes, most: int = ..., /) -> bytes:
        """The next decompressed bytes, at most so many."""


@dataclass(frozen=True)
class Codec:
    """A compressed format: how its frames begin, and how one is decoded."""

    name: str
    suffix: str
    magics: tuple[bytes, ...]
    start: Callable[[], Decoder]
    padded: bool
    """Whether zero bytes may stand between frames and after the last."""
    pieces: Callable[[BinaryIO], Iterator[bytes]]
    """The file in pieces as its decoder may be given them."""


class _Zstd:
    """Decodes one frame. How much it makes at most cannot be told to it; its pieces see to that."""

    def __init__(self) -> None:
        # A new one for each frame: it keeps its window for as long as it lives.
        whole = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
        self._decoder = whole.decompressobj(write_size=ZSTD_WRITE)

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, _most: int = MOST, /) -> bytes:
        return self._decoder.decompress(data)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(PIECE):
        yield data


def _zstd_pieces(file: BinaryIO) -> Iterator[bytes]:
    """Pieces that each hold no more blocks than may decompress to ``MOST`` bytes."""
    start = parts = 0
    for _ in zstd.parts(file):
        end = file.tell()
        parts += 1
        if end - start < PIECE and parts < MOST // zstd.BLOCK:
            continue
        file.seek(start)
        # A skippable frame may be as large as it likes.
        while start < end and (data := file.read(min(end - start, MOST))):
            start += len(data)
            yield data
        parts = 0
    file.seek(start)
    yield from _pieces(file)


def _skippable(low: int) -> bytes:
    return bytes([low, 0x2A, 0x4D, 0x18])


CODECS = (
    Codec(
        "zstd",
        ".zst",
        (b"\x28\xb5\x2f\xfd", *(_skippable(low) for low in range(0x50, 0x60))),
        _Zstd,
        False,
        _zstd_pieces,
    ),
    Codec("bzip2", ".bz2", (b"BZh",), bz2.BZ2Decompressor, False, _pieces),
    Codec("gzip", ".gz", (b"\x1f\x8b",), lambda: zlib.decompressobj(31), True, _pieces),
    Codec("xz", ".xz", (b"\xfd7zXZ\x00",), lzma.LZMADecompressor, True, _pieces),
)
DAMAGE = (zstandard.ZstdError, zlib.error, lzma.LZMAError, OSError, EOFError)


def codec(path: Path) -> Codec | None:
    """The format that ``path`` begins like; None for a plain file.

    Raises InputError if the file is missing, unreadable, empty, or named like a compressed format
    that it is not.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except FileNotFoundError:
        raise InputError(str(path), "there is no such file", "Correct its path.") from None
    except OSError as error:
        reason = f"it cannot be read ({error.strerror})"
        raise InputError(str(path), reason, "Give a file that you may read.") from None
    if not head:
        raise InputError(str(path), "the file is empty", AGAIN)
    for one in CODECS:
        if head.startswith(one.magics):
            return one
        if path.suffix == one.suffix:
            raise InputError(str(path), f"it does not begin like {one.name} data", AGAIN)
    return None


def blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Pairs of (bytes of the file read so far, the next decompressed block).

    Raises InputError as ``codec`` does, and where a frame is damaged or ends early, with the
    position in the file.
    """
    kind = codec(path)
    with path.open("rb") as file:
        if kind is None:
            while data := file.read(PLAIN_PIECE):
                yield file.tell(), data
        else:
            yield from _frames(path, file, kind)


def _frames(path: Path, file: BinaryIO, kind: Codec) -> Iterator[tuple[int, bytes]]:
    """Decode frame after frame; there may be any number of them in one file."""
    decoder: Decoder | None = None
    for data in kind.pieces(file):
        while data:
            if decoder is None:
                data = data.lstrip(b"\0") if kind.padded else data
                if not data:
                    break
                decoder = kind.start()
            at = file.tell() - len(data)
            try:
                for block in _decoded(decoder, data):
                    yield file.tell(), block
            except DAMAGE as error:
                whole = path.stat().st_size
                reason = f"damaged {kind.name} data at or after byte {at} of {whole} ({error})"
                raise InputError(str(path), reason, AGAIN) from None
            data = b""
            if decoder.eof:
                data, decoder = decoder.unused_data, None
    if decoder is not None:
        reason = f"the {kind.name} data end in the middle of a frame, at byte {file.tell()}"
        raise InputError(str(path), f"{reason}: the file is cut short", AGAIN)


def _decoded(decoder: Decoder, data: bytes) -> Iterator[bytes]:
    """What ``data`` decompress to, in blocks of at most ``MOST`` bytes."""
    block = decoder.decompress(data, MOST)
    if block:
        yield block
    while len(block) == MOST and not decoder.eof:
        # Others keep what they did not get to; zlib gives it back.
        block = decoder.decompress(getattr(decoder, "unconsumed_tail", b""), MOST)
        if block:
            yield block
