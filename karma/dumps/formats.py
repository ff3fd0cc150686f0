"""What a dump file or corpus is, and how its chunks become rows.

JSON lines go to the staging statement of their kind as they are, and so do the elements of a JSON
array. CSV and ConvoKit are first brought into the shape of a dump, by one statement each; from
there on all formats take one path.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb

from karma.dumps import privacy
from karma.dumps.batches import Batch
from karma.dumps.columns import TableMap, separator
from karma.dumps.corpus import load_conversations
from karma.dumps.ingest import Part, Staging, ingest
from karma.dumps.lines import Chunk, LongLine, Reject, chunks
from karma.dumps.recipe import CORPUS, KINDS, corpus_files
from karma.dumps.records import array_records, packed
from karma.dumps.scanner import after_mark, begins
from karma.dumps.table import table_records
from karma.errors import InputError


def section(kind: str) -> str:
    """The key of the recipe that names sources of ``kind``."""
    return "dumps.corpora" if kind == CORPUS else f"dumps.{kind}"


def file_of(source: Path, kind: str) -> Path:
    """The file whose records are counted. Raises InputError if a corpus has none."""
    if kind != CORPUS:
        return source
    files = corpus_files(source)
    if not files:
        raise InputError(
            str(source),
            "it is no ConvoKit corpus: there is no utterances.jsonl in it",
            "Check what dumps.corpora of the recipe names.",
        )
    return files[0]


def pieces(
    file: Path, blocks: Iterable[bytes], config: dict[str, Any]
) -> Iterator[Chunk | LongLine]:
    """The chunks of a decompressed stream, told by its first sign, or by the recipe if it is CSV.

    Raises InputError naming ``file`` if it is an array or CSV that ends early or cannot be read.
    """
    if "csv" in config:
        table = TableMap.model_validate(config["csv"])
        sign = separator(file.name) or b","
        return packed(table_records(file, blocks, sign, config["kind"], table))
    first, stream = begins(blocks)
    if first == b"[":
        return packed(array_records(file, stream))
    offset, bare = after_mark(stream)
    return chunks(bare, offset=offset)


def stagings(
    connection: duckdb.DuckDBPyConnection, source: Path, config: dict[str, Any], scratch: Path
) -> tuple[list[Staging], dict[str, int]]:
    """How chunks are staged, for each kind of rows, and what the profile says of it.

    What a corpus says of its conversations goes into ``connection``, by way of ``scratch``. Raises
    InputError if that is broken, or KARMA_SALT is not set.
    """
    inner, outer = privacy.pads(privacy.salt(config["simulated"]))
    parameters = {"inner": inner, "outer": outer}
    shape: str | None = "dumps/stg_csv" if "csv" in config else None
    facts: dict[str, int] = {}
    if config["kind"] == CORPUS:
        shape = "dumps/stg_convokit"
        facts = load_conversations(connection, source, scratch)
    kinds = KINDS if config["kind"] == CORPUS else (config["kind"],)
    return [Staging(kind, config["width"], parameters, shape) for kind in kinds], facts


def ingest_kinds(
    connection: duckdb.DuckDBPyConnection, stagings: list[Staging], batch: Batch
) -> Part:
    """The rows of ``batch``, of each kind; a line is rejected if it is a row of none.

    The batch's file is gone afterwards. ``connection`` must be this call's own: several run at a
    time.
    """
    part, *others = (ingest(connection, staging, batch) for staging in stagings)
    batch.file.unlink()
    for other in others:
        part.rejects = list(_rejected_by_both(part.rejects, other.rejects))
        part.rows |= other.rows
        part.lost = {name: count + other.lost[name] for name, count in part.lost.items()}
    return part


def _rejected_by_both(comments: list[Reject], posts: list[Reject]) -> Iterator[Reject]:
    """The lines that are neither, with the reason of the kind that they come nearer to."""
    as_posts = {reject.line: reject for reject in posts}
    for reject in comments:
        other = as_posts.get(reject.line)
        if other is None:
            continue
        if reject.reason != "not a comment":
            yield reject
        elif other.reason != "not a submission":
            yield other
        else:
            yield reject._replace(reason="not an utterance")
