"""Records of formats that are no JSON lines, as chunks of JSON lines that know where they lie.

From here on a record is a line: it is numbered, staged and set aside like one.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from karma.dumps.lines import CHUNK, Chunk, Reject
from karma.dumps.quarantine import BLANK, TOO_LONG, reason_against
from karma.dumps.scanner import elements

_ASIDE = b"{}"
# What a record takes in memory beside its text, roughly: millions of tiny ones must not add up.
_OWN = 256


class Record(NamedTuple):
    """One record: where it begins, and the JSON line that it is, or why it is none."""

    offset: int
    line: bytes
    reason: str | None = None
    """Why the record was set aside; ``line`` is what is known of it then."""


def packed(records: Iterable[Record], size: int = CHUNK) -> Iterator[Chunk]:
    """Chunks of about ``size`` bytes, in the order of the records."""
    number, filled = 1, 0
    waiting: list[Record] = []
    for record in records:
        waiting.append(record)
        filled += len(record.line) + _OWN
        if filled >= size:
            yield _chunk(number, waiting)
            number, filled = number + len(waiting), 0
            waiting = []
    if waiting:
        yield _chunk(number, waiting)


def _chunk(number: int, records: list[Record]) -> Chunk:
    rejects = tuple(
        Reject(line, record.offset, record.reason, record.line)
        for line, record in enumerate(records, number)
        if record.reason is not None
    )
    lines = (_ASIDE if record.reason is not None else record.line for record in records)
    return Chunk(
        line=number,
        offset=records[0].offset,
        parts=tuple(line + b"\n" for line in lines),
        count=len(records),
        offsets=tuple(record.offset for record in records),
        rejects=rejects,
    )


def array_records(path: Path, blocks: Iterable[bytes]) -> Iterator[Record]:
    """The elements of the JSON array that ``blocks`` are; those that are no object set aside.

    Raises InputError as ``elements`` does.
    """
    for element in elements(path, blocks):
        if element.text is None:
            yield Record(element.offset, element.head, TOO_LONG)
            continue
        # Between tokens a carriage return is as blank as a line feed; within a string it is as
        # wrong as one.
        line = element.text.replace(b"\n", b"\r")
        reason = None
        if line and not line.startswith(b"{"):
            reason = reason_against(line)
        if reason == BLANK:
            line, reason = b"", None
        yield Record(element.offset, line, reason)
