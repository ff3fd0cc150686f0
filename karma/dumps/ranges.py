"""The range of thread ids that a row falls into: on a grid over the ids, which grow with time."""

import re

import pyarrow as pa
import pyarrow.compute as pc

RANGE = "thread_range"
# What is longer is no id of Reddit's.
_BASE_36 = re.compile("[0-9a-z]{1,12}")


def with_ranges(rows: pa.Table, width: int) -> pa.Table:
    """``rows`` with the column ``thread_range`` after the id of the thread; a post's is its own.

    Ids that are not base 36 go by the month of the row.
    """
    place = rows.schema.get_field_index("thread_id" if "thread_id" in rows.schema.names else "id")
    # Threads have many rows: each is named once.
    ids = rows.column(place).combine_chunks().dictionary_encode()
    names = pa.array([_name(name, width) for name in ids.dictionary.to_pylist()], pa.string())
    ranges = names.take(ids.indices)
    if ranges.null_count:
        times = rows["created_utc"].combine_chunks().cast(pa.timestamp("s"))
        ranges = pc.coalesce(ranges, pc.strftime(times, "m%Y-%m"))
    return rows.add_column(place + 1, RANGE, ranges)


def _name(thread: str, width: int) -> str | None:
    """The range of a thread; None if its id is not base 36."""
    if not _BASE_36.fullmatch(thread):
        return None
    start = int(thread, 36) // width * width
    return f"{start}-{start + width}"
