"""Reading benchmark files: rows with their lines, and one message where a file is wrong.

A table may come as CSV, as a JSON list, as JSON lines or as Parquet: the file's ending says which.
"""

import csv
import io
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from karma.errors import InputError, words
from karma.evals.formats import FORMATS, held

REPLACE = "Put the benchmark's original file there (docs/benchmarks.md)."
PARTIAL = "more, fewer or other fields than columns"

Numbered = Iterator[tuple[int, dict[str, Any] | None]]
"""Rows with the number of their line (in JSON lists and Parquet: their place, from 1); None for a
row that cannot be read."""


def find(folder: Path, name: str) -> Path:
    """The file ``name`` with one of the endings of ``FORMATS``.

    Raises InputError if there is none, or more than one: which of them counts would be a guess.
    """
    return every(folder, name)[0]


def every(folder: Path, pattern: str) -> list[Path]:
    """The files of a glob without an ending, in any of the formats, sorted.

    Raises InputError if there are none, or one of them in two formats.
    """
    found = held(folder, pattern)
    if not found:
        thing = f"benchmark file {folder / pattern}"
        raise InputError(thing, f"no such file with an ending of {', '.join(FORMATS)}", REPLACE)
    seen: dict[str, Path] = {}
    for path in found:
        other = seen.setdefault(path.stem, path)
        if other is not path:
            thing = f"benchmark file {path}"
            raise InputError(thing, f"{other.name} lies beside it", "Keep one of them.")
    return found


def text(path: Path) -> str:
    """The whole file as text, line ends as they are. Raises InputError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return file.read()
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise InputError(f"benchmark file {path}", reason, REPLACE) from error
    except UnicodeDecodeError as error:
        raise InputError(f"benchmark file {path}", "it is no UTF-8 text", REPLACE) from error


def table(path: Path) -> list[tuple[int, list[str]]]:
    """The rows of a CSV file that are not blank, each with the number of its last line.

    Quotes may hold line breaks.
    """
    # Not str.splitlines, which cuts at separators that are part of a text too.
    reader = csv.reader(io.StringIO(text(path), newline=""))
    try:
        return [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        reason = f"line {reader.line_num} is no CSV: {error}"
        raise InputError(f"benchmark file {path}", reason, REPLACE) from error


def records(path: Path, columns: tuple[str, ...], *shapes: tuple[str, ...]) -> Numbered:
    """The rows of a table by column; None for a row that is none, or lacks one of ``columns``.

    ``shapes`` are other names of the same columns; rows get the names of ``columns``. Raises
    InputError if the file cannot be read, or neither its head nor any row has the columns of a
    shape.
    """
    read = list(rows(path))
    heads = [_head(path)] if path.suffix == ".csv" else [row for _, row in read if row is not None]
    named = next((shape for head in heads if (shape := _shape(head, (columns, *shapes)))), None)
    if heads and named is None:
        missing = ", ".join(name for name in columns if name not in heads[0])
        raise InputError(f"benchmark file {path}", f"it has no column {missing}", REPLACE)
    for line, row in read:
        whole = row is not None and named is not None and all(name in row for name in named)
        yield line, {(named or {}).get(k, k): v for k, v in row.items()} if row and whole else None


def _head(path: Path) -> list[str]:
    """The names of a CSV file's columns."""
    return next((row for row in csv.reader(io.StringIO(text(path), newline="")) if row), [])


def _shape(row: Collection[str], shapes: tuple[tuple[str, ...], ...]) -> dict[str, str] | None:
    """The names that the columns have here, each with the one that it gets."""
    for shape in shapes:
        if all(name in row for name in shape):
            return dict(zip(shape, shapes[0], strict=True))
    return None


def rows(path: Path) -> Numbered:
    """The rows of a table in whichever format. Raises InputError if it cannot be read as that."""
    match path.suffix:
        case ".csv":
            yield from _csv(path)
        case ".json":
            found = document(path)
            if not isinstance(found, list):
                raise InputError(f"benchmark file {path}", "it is no list of rows", REPLACE)
            for number, row in enumerate(found, start=1):
                yield number, _object(row)
        case ".parquet":
            yield from _parquet(path)
        case _:
            yield from json_lines(path)


def _csv(path: Path) -> Numbered:
    read = table(path)
    header = read[0][1] if read else []
    for line, row in read[1:]:
        yield line, dict(zip(header, row, strict=True)) if len(row) == len(header) else None


def _parquet(path: Path) -> Numbered:
    try:
        read = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        reason = f"it is no Parquet: {words(error)}"
        raise InputError(f"benchmark file {path}", reason, REPLACE) from error
    yield from enumerate(read, start=1)


def said(value: Any) -> str:
    """A cell as text without the space around it; nothing for a cell that is empty."""
    return "" if value is None else str(value).strip()


def document(path: Path) -> Any:
    """A JSON file's content. Raises InputError."""
    try:
        return json.loads(text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"benchmark file {path}", f"it is no JSON: {error}", REPLACE) from error


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """The objects of a JSON lines file with their line numbers; None for a line that is none."""
    for number, line in enumerate(text(path).split("\n"), start=1):
        if line.strip():
            try:
                value = json.loads(line)
            except json.JSONDecodeError:
                value = None
            yield number, _object(value)


def _object(value: Any) -> dict[str, Any] | None:
    """A row of JSON; None for what is no object, or holds half a character (a lone surrogate),
    which no tokenizer takes."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return None
    return value if isinstance(value, dict) else None
