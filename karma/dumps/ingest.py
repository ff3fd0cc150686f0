"""One chunk of lines into typed rows: as a whole if it parses strictly, else line by line.

DuckDB reads a chunk from a file in ``scratch`` and types it by the staging statement of its format,
one file of ``sql/dumps`` each. It is the judge of what parses: lines that Python's ``json`` takes
and DuckDB does not are found by halving.
"""

from dataclasses import dataclass, field
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
    connection: duckdb.DuckDBPyConnection, staging: Staging, chunk: Chunk, scratch: Path
) -> Part:
    """The rows of ``chunk``, and which of its lines were not used.

    ``connection`` and the file ``scratch`` must be this call's own: several run at a time.
    """
    count = chunk.count
    part = Part(count, rejects=list(chunk.rejects))
    aside = {reject.line for reject in chunk.rejects}
    table = _stage(connection, staging, chunk.line, chunk.data, scratch)
    if table is None or table.num_rows != count:
        lines = chunk.data.split(b"\n")[:count]
        aside |= _line_by_line(connection, staging, chunk, lines, part, scratch)
        table = _stage(connection, staging, chunk.line, b"\n".join(lines), scratch)
        rows = 0 if table is None else table.num_rows
        if rows != count:
            raise CheckError(f"line {chunk.line}: {rows} rows of {count} lines, {len(aside)} aside")
    assert table is not None
    _separate(part, staging.kind, table, chunk, aside)
    return part


def _separate(part: Part, kind: str, table: pa.Table, chunk: Chunk, aside: set[int]) -> None:
    """Enter the usable rows of ``table`` in ``part``, and the lines that it gives a reason for."""
    usable = table
    if table[_REASON].null_count < table.num_rows:
        unusable = table.filter(pc.is_valid(table[_REASON]))
        places = _places(chunk)
        part.rejects += [
            _reject(chunk, places, line, reason)
            for line, reason in zip(
                unusable["line"].to_pylist(), unusable[_REASON].to_pylist(), strict=True
            )
            if line not in aside
        ]
        usable = table.filter(pc.is_null(table[_REASON]))
    part.rejects.sort()
    lost = [name for name in usable.schema.names if name.endswith(_LOST)]
    part.lost = {name.removesuffix(_LOST): pc.sum(usable[name]).as_py() or 0 for name in lost}
    if usable.num_rows:
        part.rows[kind] = usable.drop_columns([_REASON, *lost])


def _stage(
    connection: duckdb.DuckDBPyConnection, staging: Staging, line: int, data: bytes, scratch: Path
) -> pa.Table | None:
    """One row a line of ``data``, typed; None if it does not parse."""
    scratch.write_bytes(data)
    shaped = scratch if staging.shape is None else scratch.with_suffix(".shaped")
    parameters = {"chunk": sql.plain(shaped), "line": line, **staging.parameters}
    try:
        if staging.shape is not None:
            files = {"chunk": sql.plain(scratch), "shaped": sql.plain(shaped)}
            connection.execute(sql.statement(staging.shape), files)
        query = connection.sql(sql.statement(f"dumps/stg_{staging.kind}"), params=parameters)
        return query.to_arrow_table()
    except duckdb.InvalidInputException:
        return None
    finally:
        scratch.unlink()
        shaped.unlink(missing_ok=True)


def _line_by_line(
    connection: duckdb.DuckDBPyConnection,
    staging: Staging,
    chunk: Chunk,
    lines: list[bytes],
    part: Part,
    scratch: Path,
) -> set[int]:
    """Set the unreadable lines aside in ``part``, empty them in ``lines``, return their numbers."""
    aside: set[int] = set()
    offsets = [offset for offset, _ in _places(chunk)]
    for index, line in enumerate(lines):
        if not line.strip(b" \t\r"):
            part.blank += 1
        elif reason := reason_against(line):
            part.rejects.append(Reject(chunk.line + index, offsets[index], reason, line[:HEAD]))
        else:
            continue
        aside.add(chunk.line + index)
        lines[index] = _EMPTY
    for index in _refused(connection, staging, lines, 0, len(lines), scratch):
        line = lines[index]
        part.rejects.append(Reject(chunk.line + index, offsets[index], NOT_STRICT, line[:HEAD]))
        aside.add(chunk.line + index)
        lines[index] = _EMPTY
    return aside


def _refused(
    connection: duckdb.DuckDBPyConnection,
    staging: Staging,
    lines: list[bytes],
    start: int,
    end: int,
    scratch: Path,
) -> list[int]:
    """The indices from ``start`` to ``end`` of the lines that DuckDB refuses, found by halving."""
    table = _stage(connection, staging, 1, b"\n".join(lines[start:end]), scratch)
    if table is not None and table.num_rows == end - start:
        return []
    if end - start == 1:
        return [start]
    middle = (start + end) // 2
    return [
        *_refused(connection, staging, lines, start, middle, scratch),
        *_refused(connection, staging, lines, middle, end, scratch),
    ]


def _places(chunk: Chunk) -> list[tuple[int, bytes]]:
    """For every line of ``chunk`` its offset in the stream and its first bytes."""
    lines = chunk.data.split(b"\n")
    if chunk.offsets is not None:
        return [(offset, line[:HEAD]) for offset, line in zip(chunk.offsets, lines, strict=False)]
    places = []
    offset = chunk.offset
    for line in lines:
        places.append((offset, line[:HEAD]))
        offset += len(line) + 1
    return places


def _reject(chunk: Chunk, places: list[tuple[int, bytes]], line: int, reason: str) -> Reject:
    offset, head = places[line - chunk.line]
    return Reject(line, offset, reason, head)
