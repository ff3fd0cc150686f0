"""CSV as RFC 4180 has it: quoted fields may hold separators, line breaks and doubled quotes.

Records become JSON lines that hold the mapped columns alone, under the names of a Reddit dump. A
quote within an unquoted field is text, as Python's and pandas' readers take it, and so is a lone
carriage return. In a record that does not fit the header nobody knows which field names an author:
nothing of it is shown.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from karma.dumps.columns import TableMap
from karma.dumps.lines import HEAD, LONGEST
from karma.dumps.quarantine import NOT_UTF8, NUL, TOO_LONG
from karma.dumps.records import Record
from karma.dumps.scanner import after_mark
from karma.errors import InputError

WRONG_COUNT = "wrong number of fields"
WRONG_QUOTE = "text after a closing quote"
# Made once: json.dumps makes one for every call with settings of its own.
_ENCODER = json.JSONEncoder(ensure_ascii=False)


class Row(NamedTuple):
    """One record: where it begins, its fields without their quotes, and whether they are sound."""

    offset: int
    fields: list[bytes]
    sound: bool


def table_records(
    path: Path, blocks: Iterable[bytes], separator: bytes, kind: str, table: TableMap
) -> Iterator[Record]:
    """The records of the CSV file that ``blocks`` are, its header left out.

    ``kind`` is the map's name in the recipe. Raises InputError if the header lacks a column that
    the map names, or the file ends within a quoted field.
    """
    found = rows(path, blocks, separator)
    header = next(found, None)
    names = [field.decode(errors="replace") for field in header.fields] if header else []
    places = _places(path, names, kind, table.columns)
    for row in found:
        yield _record(row, len(names), places, table.constants)


def rows(path: Path, blocks: Iterable[bytes], separator: bytes = b",") -> Iterator[Row]:
    """The rows of a CSV file, header included; ``blocks`` may cut them anywhere.

    Raises InputError naming ``path`` where a quoted field does not end.
    """
    field = _field(separator)
    offset, stream = after_mark(blocks)
    rest, wanted = b"", 0
    for block in _ended(stream):
        rest += block
        # A row that is not whole is looked at again only when there is twice as much of it.
        if block and len(rest) < wanted:
            continue
        at = 0
        while (row := _row(field, rest, at)) is not None:
            end, fields, sound = row
            if end - at > LONGEST:
                raise _endless(path, offset + at)
            yield Row(offset + at, fields, sound)
            at = end
        rest = rest[at:]
        offset += at
        wanted = 2 * len(rest)
        if len(rest) > LONGEST:
            break
    if rest:
        raise _endless(path, offset)


def _field(separator: bytes) -> re.Pattern[bytes]:
    """A field, what follows its closing quote or all of it if it has none, and what ends it."""
    quoted = rb'"([^"]*+(?:""[^"]*+)*+)"'
    return re.compile(rb'(?:%s|(?!"))([^%s\n]*+)(%s|\n)' % (quoted, separator, separator))


def _row(field: re.Pattern[bytes], data: bytes, at: int) -> tuple[int, list[bytes], bool] | None:
    """The row that begins at ``at``: its end, fields, soundness; None if ``data`` end before it."""
    fields = []
    sound = True
    while match := field.match(data, at):
        quoted, bare, end = match.groups()
        at = match.end()
        if end == b"\n":
            bare = bare.removesuffix(b"\r")
        if quoted is None:
            fields.append(bare)
        else:
            fields.append(quoted.replace(b'""', b'"'))
            sound = sound and not bare
        if end == b"\n":
            return at, fields, sound
    return None


def _ended(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same stream with its last line ended, and an empty block for the end."""
    last = b"\n"
    for block in blocks:
        if block:
            last = block[-1:]
            yield block
    if last != b"\n":
        yield b"\n"
    yield b""


def _endless(path: Path, offset: int) -> InputError:
    return InputError(
        str(path),
        f"the record that begins at byte {offset} has a quoted field that does not end "
        f"(or not within {LONGEST >> 20} MiB): the file is cut short, or a quote in it stands "
        "alone",
        'Export the file again; a quote within a quoted field is written "".',
    )


def _places(path: Path, names: list[str], kind: str, columns: dict[str, str]) -> dict[str, int]:
    """Where each mapped column stands. Raises InputError if one is missing or stands twice."""
    wrong = [
        f"{column!r} (for {field})" for field, column in columns.items() if names.count(column) != 1
    ]
    if wrong:
        raise InputError(
            str(path),
            f"its header must have exactly one column {', one '.join(wrong)}; its columns are "
            + ", ".join(map(repr, names)),
            f"Correct dumps.csv.{kind} of the recipe.",
        )
    return {field: names.index(column) for field, column in columns.items()}


def _record(row: Row, width: int, places: dict[str, int], constants: dict[str, str]) -> Record:
    if len(row.fields) == 1 and not row.fields[0].strip():
        return Record(row.offset, b"")
    if not row.sound:
        return Record(row.offset, b"", WRONG_QUOTE)
    if len(row.fields) != width:
        return Record(row.offset, b"", WRONG_COUNT)
    cells = {field: row.fields[place] for field, place in places.items()}
    reason = None
    try:
        values = {field: cell.decode() for field, cell in cells.items()}
    except UnicodeDecodeError:
        reason = NOT_UTF8
        values = {field: cell.decode(errors="replace") for field, cell in cells.items()}
    line = _ENCODER.encode({**constants, **values}).encode()
    if b"\\u0000" in line and any("\0" in value for value in values.values()):
        reason = NUL
    elif len(line) > LONGEST:
        return Record(row.offset, line[:HEAD], TOO_LONG)
    return Record(row.offset, line, reason)
