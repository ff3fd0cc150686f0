"""Runs the statements of ``sql/`` in a DuckDB that can reach nothing but the folders it is given.

One statement a file, named ``<stage>/<name>``. Whatever comes from a recipe or a dump enters a
statement as a bound parameter (``$name``), paths included. A bound path still globs, so ``connect``
and ``plain`` refuse the characters that would make it do so.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from karma.errors import CheckError, InputError

SQL = Path(__file__).parents[1] / "sql"
# DuckDB's own account leaves out the process and some of what it allocates.
ACCOUNTED = 0.85


def statement(name: str) -> str:
    """The text of ``sql/<name>.sql``."""
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")


def plain(path: Path) -> str:
    """``path`` as text for a bound parameter. Raises InputError if DuckDB would take it as a glob.

    DuckDB has no escape for these characters.
    """
    text = str(path.resolve())
    if any(sign in text for sign in "*?["):
        raise InputError(text, "the path holds one of * ? [", "Rename the file or its folder.")
    return text


def connect(
    folders: Sequence[Path], temp: Path, *, threads: int = 1, memory_mb: int = 2048
) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB locked down to ``folders`` (read and write) and ``temp`` (spilling).

    ``threads`` and ``memory_mb`` (MiB, of the process) bound what it uses; the order of rows is
    only what a statement's ORDER BY says.
    """
    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
        },
    )
    connection.execute("SET threads = $n", {"n": threads})
    connection.execute("SET memory_limit = $m", {"m": f"{int(memory_mb * ACCOUNTED)}MiB"})
    connection.execute("SET temp_directory = $t", {"t": plain(temp)})
    connection.execute("SET TimeZone = 'UTC'")
    allowed = [plain(folder) for folder in [*folders, temp]]
    connection.execute("SET allowed_directories = $a", {"a": allowed})
    # In this order: nothing can be widened again once the configuration is locked.
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def check(connection: duckdb.DuckDBPyConnection, name: str, parameters: dict[str, Any]) -> None:
    """Run ``sql/checks/<name>.sql``, which returns no rows if what it checks holds.

    Raises CheckError with the first rows that contradict it.
    """
    rows = connection.execute(statement(f"checks/{name}"), parameters).fetchmany(5)
    if rows:
        raise CheckError(f"check {name} failed; the first rows that contradict it: {rows}")
