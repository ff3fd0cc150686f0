"""One chunk of lines into typed rows: as a whole if it parses strictly, else line by line.

DuckDB reads a chunk from a file in ``scratch`` and types it by the staging statement of its format,
one file of ``sql/dumps`` each. It is the judge of what parses: lines that Python's ``json`` takes
and DuckDB does not are found by halving.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from karma import sql
from karma.dumps.lines import HEAD, Chunk, Reject
from karma.dumps.quarantine import NOT_STRICT, reason_against
from karma.errors import CheckError

# A line that was set aside or is blank; keeps every other line's number right.
_EMPTY = b"{}"

# Columns of a staging statement that are about the line and no part of its row.
_REASON = "reason"
_LOST = "_lost"


@dataclass(frozen=True)
class Staging:
    """How lines are read as rows of one kind: the parameters of the kind's staging statement."""

    kind: str
    parameters: dict[str, Any]
    shape: str | None = None
    """The statement that first brings lines of another format into the shape of a dump."""


@dataclass
class Part:
    """What became of one chunk."""

    lines: int
    blank: int = 0
    rejects: list[Reject] = field(default_factory=list)
    rows: dict[str, pa.Table] = field(default_factory=dict)
    """The usable lines, typed, by their kind; none of a kind without any."""
    lost: dict[str, int] = field(default_factory=dict)
    """Of the usable lines, how many values of an optional field did not convert."""


def ingest(
    connection: duckdb.DuckDBPyConnection, staging: Staging, chunk: Chunk, file: Path
) -> Part:
    """The rows of ``chunk``, whose bytes lie in ``file``, and which of its lines were not used.

    ``connection`` must be this call's own: several run at a time.
    """
    part = Part(chunk.count, rejects=list(chunk.rejects))
    aside = {reject.line for reject in chunk.rejects}
    table = _stage(connection, staging, chunk.line, file)
    if table is None or table.num_rows != chunk.count:
        lines = _lines(chunk, file)
        aside |= _line_by_line(connection, staging, chunk, lines, part, file)
        table = _stage_lines(connection, staging, chunk.line, lines, file)
        rows = 0 if table is None else table.num_rows
        if rows != chunk.count:
            raise CheckError(
                f"line {chunk.line}: {rows} rows of {chunk.count} lines, {len(aside)} aside"
            )
    assert table is not None
    usable = table
    if table[_REASON].null_count < table.num_rows:
        part.rejects += _unusable(table, chunk, file, aside)
        usable = table.filter(pc.is_null(table[_REASON]))
    part.rejects.sort()
    lost = [name for name in usable.schema.names if name.endswith(_LOST)]
    part.lost = {name.removesuffix(_LOST): pc.sum(usable[name]).as_py() or 0 for name in lost}
    if usable.num_rows:
        part.rows[staging.kind] = usable.drop_columns([_REASON, *lost])
    return part


def _unusable(table: pa.Table, chunk: Chunk, file: Path, aside: set[int]) -> list[Reject]:
    """The lines that a staging statement gives a reason for, less those set aside before."""
    lines = _lines(chunk, file)
    offsets = _offsets(chunk, lines)
    unusable = table.filter(pc.is_valid(table[_REASON])).select(["line", _REASON])
    found = []
    for row in unusable.to_pylist():
        place = row["line"] - chunk.line
        if row["line"] not in aside:
            head = lines[place][:HEAD]
            found.append(Reject(row["line"], offsets[place], row[_REASON], head))
    return found


def _stage(
    connection: duckdb.DuckDBPyConnection, staging: Staging, line: int, file: Path
) -> pa.Table | None:
    """One row a line of ``file``, typed, the first being ``line``; None if it does not parse."""
    shaped = file if staging.shape is None else file.with_suffix(".shaped")
    parameters = {"chunk": sql.plain(shaped), "line": line, **staging.parameters}
    try:
        if staging.shape is not None:
            files = {"chunk": sql.plain(file), "shaped": sql.plain(shaped)}
            connection.execute(sql.statement(staging.shape), files)
        query = connection.sql(sql.statement(f"dumps/stg_{staging.kind}"), params=parameters)
        return query.to_arrow_table()
    except duckdb.InvalidInputException:
        return None
    finally:
        if staging.shape is not None:
            shaped.unlink(missing_ok=True)


def _stage_lines(
    connection: duckdb.DuckDBPyConnection,
    staging: Staging,
    line: int,
    lines: list[bytes],
    file: Path,
) -> pa.Table | None:
    """As ``_stage``, for lines that are put beside ``file`` first."""
    beside = file.with_suffix(".mended")
    beside.write_bytes(b"\n".join(lines))
    try:
        return _stage(connection, staging, line, beside)
    finally:
        beside.unlink()


def _lines(chunk: Chunk, file: Path) -> list[bytes]:
    return file.read_bytes().split(b"\n")[: chunk.count]


def _offsets(chunk: Chunk, lines: list[bytes]) -> Sequence[int]:
    """Where each line, or the record that it was made from, begins in the stream."""
    if chunk.offsets is not None:
        return chunk.offsets
    return list(accumulate((len(line) + 1 for line in lines[:-1]), initial=chunk.offset))


def _line_by_line(
    connection: duckdb.DuckDBPyConnection,
    staging: Staging,
    chunk: Chunk,
    lines: list[bytes],
    part: Part,
    file: Path,
) -> set[int]:
    """Set the unreadable lines aside in ``part``, empty them in ``lines``, return their numbers."""
    aside: set[int] = set()
    offsets = _offsets(chunk, lines)

    def set_aside(index: int, reason: str) -> None:
        head = lines[index][:HEAD]
        part.rejects.append(Reject(chunk.line + index, offsets[index], reason, head))
        aside.add(chunk.line + index)
        lines[index] = _EMPTY

    for index, line in enumerate(lines):
        if not line.strip(b" \t\r"):
            part.blank += 1
            aside.add(chunk.line + index)
            lines[index] = _EMPTY
        elif reason := reason_against(line):
            set_aside(index, reason)
    for index in _refused(connection, staging, lines, 0, len(lines), file):
        set_aside(index, NOT_STRICT)
    return aside


def _refused(
    connection: duckdb.DuckDBPyConnection,
    staging: Staging,
    lines: list[bytes],
    start: int,
    end: int,
    file: Path,
) -> list[int]:
    """The indices from ``start`` to ``end`` of the lines that DuckDB refuses, found by halving."""
    table = _stage_lines(connection, staging, 1, lines[start:end], file)
    if table is not None and table.num_rows == end - start:
        return []
    if end - start == 1:
        return [start]
    middle = (start + end) // 2
    return [
        *_refused(connection, staging, lines, start, middle, file),
        *_refused(connection, staging, lines, middle, end, file),
    ]
