"""One chunk of lines into one Parquet part: as a whole if it parses strictly, else line by line.

DuckDB reads a chunk from a file in ``scratch`` and types it by the staging statement of its format,
one file of ``sql/dumps`` each. It is the judge of what parses: lines that Python's ``json`` takes
and DuckDB does not are found by halving.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from karma import sql
from karma.dumps.lines import HEAD, Chunk, Reject
from karma.dumps.quarantine import NOT_STRICT, reason_against
from karma.errors import CheckError

# A line that was set aside or is blank; keeps every other line's number right.
_EMPTY = b"{}"


@dataclass(frozen=True)
class Staging:
    """How the lines of one kind of file are read: the statement, and the keys of its hashes."""

    statement: str
    inner: bytes
    outer: bytes
    shape: str | None = None
    """The statement that first gives lines of another format the shape that ``statement`` reads."""
    shape_parameters: dict[str, str] = field(default_factory=dict)


@dataclass
class Part:
    """What became of one chunk."""

    path: Path
    lines: int
    blank: int = 0
    rejects: list[Reject] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Lines that can be used."""
        return self.lines - self.blank - len(self.rejects)


def ingest(
    connection: duckdb.DuckDBPyConnection, staging: Staging, chunk: Chunk, path: Path
) -> Part:
    """Write the rows of ``chunk`` to ``path`` and say which lines were not used.

    ``connection`` must be this call's own: several run at a time.
    """
    count = chunk.data.count(b"\n") + (not chunk.data.endswith(b"\n"))
    part = Part(path, count, rejects=list(chunk.rejects))
    aside = {reject.line for reject in chunk.rejects}
    if _stage(connection, staging, chunk.line, chunk.data, path) != count:
        lines = chunk.data.split(b"\n")[:count]
        aside |= _line_by_line(connection, staging, chunk, lines, part)
        rows = _stage(connection, staging, chunk.line, b"\n".join(lines), path)
        if rows != count:
            raise CheckError(f"{path.name}: {rows} rows out of {count} lines, {len(aside)} aside")
    unusable = connection.execute(
        sql.statement("dumps/unusable"), {"part": sql.plain(path)}
    ).fetchall()
    fresh = [(line, reason) for line, reason in unusable if line not in aside]
    if fresh:
        places = _places(chunk)
        part.rejects += [_reject(chunk, places, line, reason) for line, reason in fresh]
    part.rejects.sort()
    return part


def _stage(
    connection: duckdb.DuckDBPyConnection, staging: Staging, line: int, data: bytes, path: Path
) -> int | None:
    """The number of rows that ``data`` gave, written to ``path``; None if it does not parse."""
    source = path.with_suffix(".ndjson")
    source.write_bytes(data)
    shaped = source if staging.shape is None else path.with_suffix(".shaped")
    parameters: dict[str, Any] = {
        "chunk": sql.plain(shaped),
        "part": sql.plain(path),
        "line": line,
        "inner": staging.inner,
        "outer": staging.outer,
    }
    try:
        if staging.shape is not None:
            shaping = {**staging.shape_parameters, "chunk": sql.plain(source)}
            shaping["shaped"] = sql.plain(shaped)
            connection.execute(sql.statement(staging.shape), shaping)
        written = connection.execute(sql.statement(staging.statement), parameters).fetchone()
    except duckdb.InvalidInputException:
        return None
    finally:
        source.unlink()
        shaped.unlink(missing_ok=True)
    assert written is not None
    return int(written[0])


def _line_by_line(
    connection: duckdb.DuckDBPyConnection,
    staging: Staging,
    chunk: Chunk,
    lines: list[bytes],
    part: Part,
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
    probe = part.path.with_suffix(".probe")
    for index in _refused(connection, staging, lines, 0, len(lines), probe):
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
    probe: Path,
) -> list[int]:
    """The indices from ``start`` to ``end`` of the lines that DuckDB refuses, found by halving."""
    rows = _stage(connection, staging, 1, b"\n".join(lines[start:end]), probe)
    if rows == end - start:
        return []
    if end - start == 1:
        return [start]
    middle = (start + end) // 2
    return [
        *_refused(connection, staging, lines, start, middle, probe),
        *_refused(connection, staging, lines, middle, end, probe),
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
