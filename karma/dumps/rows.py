"""The usable rows of one dump, written so that each range of thread ids can be read alone.

One Parquet file whose row groups hold the rows of one range each, or of several small ones in a
row, a range's rows in the dump's order: who asks for a range skips the other row groups by their
statistics, and only as many rows are sorted at a time as memory holds.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from karma.dumps.ranges import RANGE

# So many rows are looked at at a time.
STEP = 1 << 12
# What waits to be put to the rows of its range, in bytes, about.
WAITING = 8 << 20
# What a row group holds, in bytes, about: the file's table of contents has a few KiB for each.
GROUP = 4 << 20
# Columns whose values repeat within a row group; the others are not worth a dictionary.
_REPEATED = [RANGE, "thread_id", "parent_kind", "subreddit", "distinguished"]
# What a row takes beside its texts, about.
_OWN = 100


class RowWriter:
    """Writes one Parquet file; its bytes depend on the rows and their order alone.

    Nothing that decides where a row group ends may depend on the tables in which the rows came.
    """

    def __init__(self, path: Path) -> None:
        self.ranges: Counter[str] = Counter()
        self.days: Counter[int] = Counter()
        """Rows by the day on which they were written, counted from 1970-01-01."""
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._fresh: list[pa.Table] = []
        self._waiting: list[pa.Table] = []
        self._size = 0

    def add(self, table: pa.Table) -> None:
        """Take rows; all tables have the same schema, with a column ``thread_range``."""
        self.ranges.update(_counts(table[RANGE]))
        self.days.update(_counts(pc.divide(table["created_utc"], 86400)))
        self._fresh.append(table)
        if sum(table.num_rows for table in self._fresh) >= STEP:
            rows = pa.concat_tables(self._fresh)
            whole = rows.num_rows - rows.num_rows % STEP
            for start in range(0, whole, STEP):
                self._wait(rows.slice(start, STEP))
            self._fresh = [rows.slice(whole)]

    def _wait(self, rows: pa.Table) -> None:
        """Let rows wait, and write what has become too much."""
        self._waiting.append(rows)
        self._size += _size(rows)
        if self._size > WAITING:
            self._flush(last=False)

    def _flush(self, last: bool) -> None:
        """Write the ranges that fill a row group, and put small ones together if they are many."""
        small: list[tuple[pa.Table, int]] = []
        for part in _parts(pa.concat_tables(self._waiting)):
            size = _size(part)
            if size >= GROUP:
                self._write([part])
            else:
                small.append((part, size))
        if last or sum(size for _, size in small) > WAITING // 2:
            small = self._write_together(small)
        if last and small:
            self._write([part for part, _ in small])
            small = []
        # Copied, or they would keep all that they were cut from.
        self._waiting = [part.take(pa.array(range(part.num_rows))) for part, _ in small]
        self._size = sum(size for _, size in small)

    def _write_together(self, parts: list[tuple[pa.Table, int]]) -> list[tuple[pa.Table, int]]:
        """Write parts, in their order, in row groups; returns the last ones if they fill none."""
        group: list[tuple[pa.Table, int]] = []
        filled = 0
        for part, size in parts:
            group.append((part, size))
            filled += size
            if filled >= GROUP:
                self._write([part for part, _ in group])
                group, filled = [], 0
        return group

    def _write(self, parts: list[pa.Table]) -> None:
        """Write one row group."""
        # In one piece: pages end where pieces do.
        table = pa.concat_tables(parts).combine_chunks()
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._path,
                table.schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=[name for name in _REPEATED if name in table.schema.names],
                write_statistics=[RANGE],
            )
        self._writer.write_table(table, row_group_size=table.num_rows)

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None and self.ranges:
            self._waiting += self._fresh
            self._flush(last=True)
        if self._writer is not None:
            self._writer.close()


def _parts(rows: pa.Table) -> Iterator[pa.Table]:
    """The rows of each range, in the order of the ranges' names and of the rows in each."""
    rows = rows.take(pc.sort_indices(rows[RANGE]))
    start = 0
    for count in _counts(rows[RANGE]).values():
        yield rows.slice(start, count)
        start += count


def _counts(values: pa.ChunkedArray) -> dict[Any, int]:
    """How often each value stands there, in the order of their first appearance."""
    return {found["values"]: found["counts"] for found in pc.value_counts(values).to_pylist()}


def _size(rows: pa.Table) -> int:
    """The bytes of the texts of ``rows``, and something for each row."""
    texts = [column for column in rows.columns if pa.types.is_string(column.type)]
    return rows.num_rows * _OWN + sum(pc.sum(pc.binary_length(t)).as_py() or 0 for t in texts)
