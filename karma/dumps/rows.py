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
# So many rows are divided by their range at a time.
STEP = 1 << 12
# What waits for a larger row group, in bytes, about.
WAITING = 8 << 20
# Columns whose values repeat within a row group; the others are not worth a dictionary.
_REPEATED = [RANGE, "thread_id", "parent_kind", "author", "subreddit", "distinguished"]
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
        self._waiting: dict[str, list[pa.Table]] = {}
        self._sizes: Counter[str] = Counter()

    def add(self, table: pa.Table) -> None:
        """Take rows; all tables have the same schema, with a column ``thread_range``."""
        days = pc.value_counts(pc.divide(table["created_utc"], 86400))
        self.days.update({day["values"]: day["counts"] for day in days.to_pylist()})
        self._fresh.append(table)
        if sum(table.num_rows for table in self._fresh) >= STEP:
            rows = pa.concat_tables(self._fresh)
            whole = rows.num_rows - rows.num_rows % STEP
            for start in range(0, whole, STEP):
                self._divide(rows.slice(start, STEP))
            self._fresh = [rows.slice(whole)]

    def _divide(self, rows: pa.Table) -> None:
        """Put rows to those of their ranges, and write what has become too much."""
        # In one piece: pages end where pieces do, and what the rows came in can be freed.
        rows = rows.combine_chunks()
        names = rows[RANGE].unique().to_pylist()
        for name in names:
            part = rows if len(names) == 1 else rows.filter(pc.equal(rows[RANGE], name))
            self._waiting.setdefault(name, []).append(part)
            self.ranges[name] += part.num_rows
            self._sizes[name] += _size(part)
        if self._sizes.total() > WAITING:
            self._flush(WAITING // 2)

    def _flush(self, leave: int) -> None:
        """Write the largest of the ranges that wait, until ``leave`` bytes or less wait."""
        for name in sorted(self._sizes, key=lambda name: (-self._sizes[name], name)):
            if self._sizes.total() <= leave:
                break
            del self._sizes[name]
            table = pa.concat_tables(self._waiting.pop(name))
            if self._writer is None:
                self._writer = pq.ParquetWriter(
                    self._path,
                    table.schema,
                    compression="zstd",
                    compression_level=1,
                    use_dictionary=[name for name in _REPEATED if name in table.schema.names],
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
        if error is None:
            if self._fresh:
                self._divide(pa.concat_tables(self._fresh))
            self._flush(-1)
        if self._writer is not None:
            self._writer.close()


def _size(rows: pa.Table) -> int:
    """The bytes of the texts of ``rows``, and something for each row."""
    texts = [column for column in rows.columns if pa.types.is_string(column.type)]
    return rows.num_rows * _OWN + sum(pc.sum(pc.binary_length(t)).as_py() or 0 for t in texts)
