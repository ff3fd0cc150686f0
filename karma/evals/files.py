"""Reading benchmark files: rows with their lines, and one message where a file is wrong."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from karma.errors import InputError

REPLACE = "Put the benchmark's original file there (docs/benchmarks.md)."


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


def records(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str] | None]]:
    """The rows of a CSV file with a header, by column; None for a row with more or fewer fields.

    Raises InputError if one of ``columns`` is missing.
    """
    rows = table(path)
    header = rows[0][1] if rows else []
    missing = [name for name in columns if name not in header]
    if missing:
        reason = f"it has no column {', '.join(missing)}"
        raise InputError(f"benchmark file {path}", reason, REPLACE)
    for line, row in rows[1:]:
        yield line, dict(zip(header, row, strict=True)) if len(row) == len(header) else None


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
            yield number, value if isinstance(value, dict) else None
