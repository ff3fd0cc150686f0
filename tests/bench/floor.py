"""The floor under ``dumps``: DuckDB reads plain JSON lines and writes Parquet, and nothing else.

    python -m tests.bench.floor RC.ndjson RC.parquet

The columns are those that ``sql/dumps/stg_comments.sql`` reads; no type is checked and no line is
accounted for.
"""

import sys

import duckdb

COLUMNS = (
    "id link_id parent_id author subreddit body score created_utc retrieved_on retrieved_utc _meta "
    "edited stickied distinguished over_18"
)


def main() -> None:
    """Turn the first file into the second."""
    source, out = sys.argv[1:]
    columns = ", ".join(f"{name}: 'VARCHAR'" for name in COLUMNS.split())
    duckdb.execute(
        f"COPY (SELECT * FROM read_ndjson($source, columns = {{{columns}}})) "
        "TO $out (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)",
        {"source": source, "out": out},
    )


if __name__ == "__main__":
    main()
