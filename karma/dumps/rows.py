"""The usable rows of one dump, written so that each range of thread ids can be read alone.

One Parquet file whose row groups hold the rows of one range each, in the dump's order: who asks for
a range skips every other row group by its statistics, and nothing has to be sorted.
"""

from collections import Counter
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

RANGE = "thread_range"
# What waits for a larger row group, in bytes of Arrow memory.
WAITING = 16 << 20
# Columns whose values repeat within a row group; the others are not worth a dictionary.
_REPEATED = [RANGE, "thread_id", "parent_kind", "author", "subreddit", "distinguished"]


class RowWriter:
    """Writes one Parquet file; tables must come in the file's order, the bytes depend on them."""

    def __init__(self, path: Path) -> None:
        self.ranges: dict[str, int] = {}
        self.days: Counter[int] = Counter()
        """Rows by the day on which they were written, counted from 1970-01-01."""
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._waiting: dict[str, list[pa.Table]] = {}
        self._size = 0

    def add(self, table: pa.Table) -> None:
        """Take rows; all tables have the same schema, with a column ``thread_range``."""
        days = pc.value_counts(pc.divide(table["created_utc"], 86400))
        self.days.update({day["values"]: day["counts"] for day in days.to_pylist()})
        names = table[RANGE].unique().to_pylist()
        for name in names:
            part = table if len(names) == 1 else table.filter(pc.equal(table[RANGE], name))
            self._waiting.setdefault(name, []).append(part)
            self.ranges[name] = self.ranges.get(name, 0) + part.num_rows
            self._size += part.nbytes
        if self._size > WAITING:
            self._flush(WAITING // 2)

    def _flush(self, leave: int) -> None:
        """Write the ranges that wait with most rows, until ``leave`` bytes or less wait."""
        for name in sorted(self._waiting, key=lambda name: (-self._rows(name), name)):
            if self._size <= leave:
                break
            table = pa.concat_tables(self._waiting.pop(name))
            self._size -= table.nbytes
            if self._writer is None:
                self._writer = pq.ParquetWriter(
                    self._path,
                    table.schema,
                    compression="zstd",
                    compression_level=1,
                    use_dictionary=[name for name in _REPEATED if name in table.schema.names],
                )
            self._writer.write_table(table, row_group_size=table.num_rows)

    def _rows(self, name: str) -> int:
        return sum(table.num_rows for table in self._waiting[name])

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._flush(-1)
        if self._writer is not None:
            self._writer.close()
