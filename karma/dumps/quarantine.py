"""Lines that cannot be used: found one by one, masked, and kept with their place and reason."""

import json
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from karma.dumps.lines import HEAD, LONGEST, Reject
from karma.dumps.privacy import masked_head

REMOVED = "removed"
TOO_LONG = "line too long"
NOT_STRICT = "not strict JSON"
NUL = "NUL byte"
NOT_UTF8 = "not UTF-8"
NOT_JSON = "not JSON"
NOT_OBJECT = "not an object"
BLANK = "blank"
# What may stand around a document: the reader of JSON lines takes more for blank than JSON does.
AROUND = b" \t\r\v\f"
_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("line", pa.int64()),
        ("offset", pa.int64()),
        ("reason", pa.string()),
        ("head", pa.string()),
    ]
)
_ROW_GROUP = 2048


def reason_against(line: bytes) -> str | None:
    """Why ``line`` is no JSON object, in one of a few fixed words; None if it is one.

    What is ``NOT_JSON`` here, DuckDB may still take: it forgives a trailing comma.
    """
    if len(line) > LONGEST:
        return TOO_LONG
    bare = line.strip(AROUND)
    if not bare:
        return BLANK
    if b"\0" in line:
        return NUL
    try:
        # Numbers stay text: Python refuses to convert very long ones.
        document = json.loads(bare.decode("utf-8-sig"), parse_int=str, parse_float=str)
    except UnicodeDecodeError:
        return NOT_UTF8
    except (ValueError, RecursionError):
        return NOT_JSON
    return None if isinstance(document, dict) or document is None else NOT_OBJECT


class Quarantine:
    """Writes ``rejects.parquet`` with a flat memory, and counts the reasons.

    Lines must come in order; the bytes written depend on them alone.
    """

    def __init__(self, path: Path, file: str, removed: frozenset[str]) -> None:
        """``file`` is the dump's name as it is kept; ``removed`` the removed authors' names."""
        self.reasons: dict[str, int] = {}
        self._file = file
        self._removed = removed
        self._waiting: list[dict[str, str | int]] = []
        self._writer = pq.ParquetWriter(path, _SCHEMA, compression="zstd", compression_level=1)

    def add(self, reject: Reject) -> None:
        """Keep one line; no text of a line that is, or may be, a removed author's."""
        head = ""
        hidden = reject.reason == REMOVED or (self._removed and reject.reason == TOO_LONG)
        if not hidden:
            head = masked_head(reject.text, self._removed, HEAD)
        self.reasons[reject.reason] = self.reasons.get(reject.reason, 0) + 1
        self._waiting.append(
            {
                "file": self._file,
                "line": reject.line,
                "offset": reject.offset,
                "reason": reject.reason,
                "head": head,
            }
        )
        if len(self._waiting) == _ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=_SCHEMA))
        self._waiting = []

    def __enter__(self) -> "Quarantine":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._flush()
        self._writer.close()
