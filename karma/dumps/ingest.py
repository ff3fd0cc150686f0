"""One batch of lines into typed rows: as a whole if it parses strictly, else piece by piece.

DuckDB reads a batch from its file and types it by the staging statement of its format, one file of
``sql/dumps`` each. It is the judge of what parses: lines that it calls JSON and does not take all
the same are found by halving.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from karma import sql
from karma.dumps.batches import Batch
from karma.dumps.lines import Chunk, Reject, chunks
from karma.dumps.quarantine import (
    AROUND,
    BLANK,
    NOT_JSON,
    NOT_OBJECT,
    NOT_STRICT,
    reason_against,
)
from karma.dumps.ranges import with_ranges
from karma.dumps.scanner import BOM
from karma.errors import CheckError

# A line that was set aside or is blank; keeps every other line's number right.
_EMPTY = b"{}"
# What is parsed again at a time if a batch does not parse.
_PIECE = 4 << 20

# Columns of a staging statement that are about the line and no part of its row.
_REASON = "reason"
_LOST = "_lost"


@dataclass(frozen=True)
class Staging:
    """How lines are read as rows of one kind: the parameters of the kind's staging statement."""

    kind: str
    width: int
    """Thread ids per range."""
    parameters: dict[str, Any]
    shape: str | None = None
    """The statement that first brings lines of another format into the shape of a dump."""


@dataclass
class Part:
    """What became of one batch."""

    lines: int
    blank: int = 0
    rejects: list[Reject] = field(default_factory=list)
    rows: dict[str, pa.Table] = field(default_factory=dict)
    """The usable lines, typed, by their kind; none of a kind without any."""
    lost: dict[str, int] = field(default_factory=dict)
    """Of the usable lines, how many values of an optional field did not convert."""


def ingest(connection: duckdb.DuckDBPyConnection, staging: Staging, batch: Batch) -> Part:
    """The rows of ``batch``, and which of its lines were not used.

    ``connection`` must be this call's own: several run at a time.
    """
    aside = {reject.line: reject.reason for reject in batch.rejects}
    reasons: dict[int, str] = {}
    table = _stage(connection, staging, batch.line, batch.file)
    if table is None or table.num_rows != batch.count:
        table = pa.concat_tables(_pieces(connection, staging, batch, reasons))
        if table.num_rows != batch.count:
            raise CheckError(f"line {batch.line}: {table.num_rows} rows of {batch.count} lines")
    usable = table
    if table[_REASON].null_count < table.num_rows:
        unusable = table.filter(pc.is_valid(table[_REASON])).select(["line", _REASON])
        staged = {row["line"]: row[_REASON] for row in unusable.to_pylist()}
        reasons = {line: staged[line] for line in staged if line not in aside} | reasons
        usable = table.filter(pc.is_null(table[_REASON]))
    rejects = sorted([*batch.rejects, *_rejects(batch, reasons)]) if reasons else batch.rejects
    blank = sum(reason == BLANK for reason in reasons.values())
    lost = [name for name in usable.schema.names if name.endswith(_LOST)]
    counts = {name.removesuffix(_LOST): pc.sum(usable[name]).as_py() or 0 for name in lost}
    rows = {}
    if usable.num_rows:
        rows[staging.kind] = with_ranges(usable.drop_columns([_REASON, *lost]), staging.width)
    return Part(batch.count, blank, rejects, rows, counts)


def _rejects(batch: Batch, reasons: dict[int, str]) -> Iterator[Reject]:
    """The lines of ``batch`` that ``reasons`` tells of by their number, less the blank ones."""
    offset = batch.offset
    with batch.file.open("rb") as file:
        for number, line in enumerate(file, batch.line):
            reason = reasons.get(number, BLANK)
            if reason != BLANK:
                # DuckDB takes null for an object without any field.
                reason = NOT_OBJECT if line.strip() == b"null" else reason
                place = batch.offsets[number - batch.line] if batch.offsets else offset
                yield Reject(number, place, reason, line.removesuffix(b"\n"))
            offset += len(line)


def _stage(
    connection: duckdb.DuckDBPyConnection, staging: Staging, line: int, file: Path
) -> pa.Table | None:
    """One row a line of ``file``, typed, the first being ``line``; None if it does not parse."""
    # DuckDB takes a byte order mark before the only line of a file, and before no other.
    with file.open("rb") as beginning:
        if beginning.read(len(BOM)) == BOM:
            return None
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


def _pieces(
    connection: duckdb.DuckDBPyConnection, staging: Staging, batch: Batch, reasons: dict[int, str]
) -> Iterator[pa.Table]:
    """The rows of ``batch``, piece by piece; ``reasons`` is told of the unreadable lines."""
    with batch.file.open("rb") as file:
        for piece in chunks(iter(lambda: file.read(_PIECE), b""), _PIECE):
            assert isinstance(piece, Chunk)
            lines = b"".join(piece.parts).split(b"\n")[: piece.count]
            first = batch.line + piece.line - 1
            table = _stage_lines(connection, staging, first, lines, batch.file)
            if table is None or table.num_rows != piece.count:
                unreadable = _unreadable(connection, staging, lines, batch.file)
                reasons |= {first + index: reason for index, reason in unreadable.items()}
                lines = [_EMPTY if i in unreadable else line for i, line in enumerate(lines)]
                table = _stage_lines(connection, staging, first, lines, batch.file)
            if table is None:
                raise CheckError(f"line {first}: {piece.count} lines do not parse")
            yield table


def _unreadable(
    connection: duckdb.DuckDBPyConnection, staging: Staging, lines: list[bytes], file: Path
) -> dict[int, str]:
    """The indices of the lines that are blank or no JSON objects, with the reason.

    A line that DuckDB takes is none of them, whatever Python says: it is taken where no other line
    of its batch is at fault.
    """
    judged = {index: reason_against(line) for index, line in enumerate(lines)}
    # Each says no to some lines that the other takes.
    asked = [index for index, reason in judged.items() if reason in (None, NOT_JSON)]
    texts = [lines[index].strip(AROUND).decode() for index in asked]
    [(valid,)] = connection.execute(sql.statement("dumps/valid"), {"texts": texts}).fetchall()
    for index, is_valid in zip(asked, valid, strict=True):
        judged[index] = None if is_valid else judged[index] or NOT_STRICT
    found = {index: reason for index, reason in judged.items() if reason is not None}
    left = [_EMPTY if index in found else line for index, line in enumerate(lines)]
    refused = _refused(connection, staging, left, 0, len(left), file)
    return found | dict.fromkeys(refused, NOT_STRICT)


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
