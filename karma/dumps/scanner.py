"""Cuts a JSON array, or an object, into its elements as the bytes come, without loading it.

Brackets are counted outside strings and nothing else is looked at: whether an element is JSON is
for its reader to say. Each byte is looked at once or twice, and an element longer than ``LONGEST``
is passed over without being kept.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from karma.dumps.decode import AGAIN
from karma.dumps.lines import HEAD, LONGEST
from karma.errors import InputError

BLANK = b" \t\r\n"
BOM = b"\xef\xbb\xbf"
CLOSING = {b"[": b"]", b"{": b"}"}
NAMES = {b"[": "array", b"{": "object"}
# So many blank bytes at the beginning, and nobody looks further for what the file is.
_PEEK = 1 << 20


def _until(signs: bytes) -> re.Pattern[bytes]:
    """Everything up to one of ``signs`` outside a string, or up to a string without an end."""
    plain = rb'[^"%s]*+' % signs
    return re.compile(plain + rb'(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"' + plain + rb")*+", re.DOTALL)


_BETWEEN = _until(rb"\[\]{},")
_WITHIN = _until(rb"\[\]{}")
_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*+")


@dataclass(frozen=True)
class Element:
    """What stands between two commas, without the blanks around it.

    ``text`` is None if it is too long to keep, with the blanks after it; ``head`` is how it begins.
    """

    offset: int
    text: bytes | None
    head: bytes


def begins(blocks: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first byte of a stream that is neither blank nor a byte order mark, and the stream."""
    taken = b""
    rest = iter(blocks)
    for block in rest:
        taken += block
        first = taken.removeprefix(BOM).lstrip(BLANK)[:1]
        if (first and len(taken) >= len(BOM)) or len(taken) > _PEEK:
            break
    return taken.removeprefix(BOM).lstrip(BLANK)[:1], chain([taken], rest)


def after_mark(blocks: Iterable[bytes]) -> tuple[int, Iterator[bytes]]:
    """The length of the byte order mark, if there is one, and the stream after it."""
    stream = iter(blocks)
    taken = b""
    for block in stream:
        taken += block
        if len(taken) >= len(BOM):
            break
    bare = taken.removeprefix(BOM)
    return len(taken) - len(bare), chain([bare], stream)


def elements(
    path: Path, blocks: Iterable[bytes], opening: bytes = b"[", longest: int = LONGEST
) -> Iterator[Element]:
    """The elements of the array that ``blocks`` are, or with ``{`` the members of the object.

    Offsets count bytes of the decompressed stream. Raises InputError naming ``path`` if it begins
    otherwise, ends early, or goes on after its end.
    """
    first, stream = begins(blocks)
    if first != opening:
        reason = f"it does not begin like a JSON {NAMES[opening]}, with {opening.decode()}"
        step = f"Write it as one JSON {NAMES[opening]}; docs/data.md shows the shapes."
        raise InputError(str(path), reason, step)
    cutter = _Cutter(path, opening, longest)
    for block in stream:
        yield from cutter.cut(block)
    cutter.finish()


class _Cutter:
    """Where the scan stands in what came so far: how deep in brackets, and whether in a string."""

    def __init__(self, path: Path, opening: bytes, longest: int) -> None:
        self.path = path
        self.opening = opening
        self.longest = longest
        self.buffer = bytearray()
        self.base = 0  # the offset of the buffer's first byte
        self.start = 0  # in the buffer: where the element begins
        self.at = 0  # in the buffer: how far it was looked at
        self.depth = 0
        self.string = False
        self.opened = False
        self.commas = 0
        self.passed: Element | None = None  # an element that is too long to keep

    def cut(self, block: bytes) -> Iterator[Element]:
        """The elements that end in ``block``."""
        self.buffer += block
        if not self.opened:
            self._open()
        while self.depth and self._advance():
            element = self._element(self.at)
            if element.head or self.commas or self.depth:
                yield element
            self.commas += 1
            self.at += 1
            self.start = self.at
            self.passed = None
        self._drop()

    def finish(self) -> None:
        """Raise InputError if the closing bracket did not come."""
        if self.depth:
            end = self.base + len(self.buffer)
            reason = f"the JSON {NAMES[self.opening]} ends early, at byte {end}"
            raise InputError(str(self.path), f"{reason}: the file is cut short", AGAIN)

    def _open(self) -> None:
        """Go past the opening bracket, which ``begins`` has seen in the first block."""
        self.at = self.start = self.buffer.index(self.opening) + 1
        self.depth = 1
        self.opened = True

    def _advance(self) -> bool:
        """Go on to the next comma between elements or to the closing bracket, if it is there."""
        data = self.buffer
        while self.at < len(data):
            if self.string:
                self.at = _end(_STRING, data, self.at)
                if data[self.at : self.at + 1] != b'"':
                    return False
                self.string = False
                self.at += 1
                continue
            self.at = _end(_BETWEEN if self.depth == 1 else _WITHIN, data, self.at)
            sign = bytes(data[self.at : self.at + 1])
            if sign == b",":
                return True
            if sign == b'"':
                self.string = True
            elif sign:
                self.depth += 1 if sign in CLOSING else -1
                if not self.depth:
                    self._close(sign)
                    return True
            self.at += len(sign)
        return False

    def _close(self, sign: bytes) -> None:
        if sign != CLOSING[self.opening]:
            reason = f"its JSON {NAMES[self.opening]} is closed by {sign.decode()}"
            raise InputError(str(self.path), f"{reason}, at byte {self.base + self.at}", AGAIN)

    def _element(self, end: int) -> Element:
        """What stands between ``start`` and ``end``."""
        if self.passed is not None:
            return self.passed
        start = min(_end(_SPACE, self.buffer, self.start), end)
        text = bytes(self.buffer[start:end])
        kept = text.rstrip(BLANK) if len(text) <= self.longest else None
        return Element(self.base + start, kept, text[:HEAD].rstrip(BLANK))

    def _drop(self) -> None:
        """Forget what is done with, so that memory stays flat."""
        if not self.depth:
            self._require_end()
        elif self.passed is None:
            self.start = min(_end(_SPACE, self.buffer, self.start), self.at)
            if self.at - self.start > self.longest:
                head = bytes(self.buffer[self.start : self.start + HEAD])
                self.passed = Element(self.base + self.start, None, head.rstrip(BLANK))
        done = self.start if self.depth and self.passed is None else self.at
        del self.buffer[:done]
        self.base += done
        self.at -= done
        self.start = 0

    def _require_end(self) -> None:
        """Raise InputError if anything but blanks follows the closing bracket."""
        self.at = _end(_SPACE, self.buffer, self.at)
        if self.at < len(self.buffer):
            reason = f"more follows after its JSON {NAMES[self.opening]}, at byte"
            raise InputError(str(self.path), f"{reason} {self.base + self.at}", AGAIN)


def _end(pattern: re.Pattern[bytes], data: bytearray, at: int) -> int:
    """Where a pattern that may match nothing ends, from ``at`` on."""
    found = pattern.match(data, at)
    assert found is not None
    return found.end()
