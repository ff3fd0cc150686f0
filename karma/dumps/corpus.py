"""What a ConvoKit corpus says of its conversations: the posts' titles, and the subreddit.

``conversations.json`` is one object that may be larger than memory; it is cut into its members.
Utterances go the way of any JSON lines and are no concern of this module.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb

from karma import sql
from karma.dumps import decode
from karma.dumps.lines import LongLine, chunks
from karma.dumps.recipe import corpus_files
from karma.dumps.scanner import elements


def load_conversations(
    connection: duckdb.DuckDBPyConnection, folder: Path, scratch: Path
) -> dict[str, int]:
    """Fill the table ``conversations`` with id, title and subreddit of each.

    Returns how many there were and could not be read, for the profile; none if the corpus has no
    such file. Raises InputError if the file is damaged or ends early.
    """
    lines = scratch / "conversations.ndjson"
    counts = {"conversations": 0, "conversations_unreadable": 0}
    try:
        with lines.open("wb") as file:
            for found in _conversations(folder):
                counts["conversations"] += 1
                line = _line(*found) if found is not None else None
                if line is None:
                    counts["conversations_unreadable"] += 1
                else:
                    file.write(line)
        statement = sql.statement("dumps/conversations")
        connection.execute(statement, {"lines": sql.plain(lines)})
    finally:
        lines.unlink()
    return counts


def _conversations(folder: Path) -> Iterator[tuple[str, Any] | None]:
    """The id and the meta data of each conversation; None for one that cannot be read."""
    files = corpus_files(folder)[1:]
    if not files:
        return
    blocks = (block for _, block in decode.blocks(files[0]))
    if files[0].suffix == ".json":
        for member in elements(files[0], blocks, b"{"):
            yield _member(member.text)
    else:
        for text in _lines(blocks):
            yield _entry(text)


def _lines(blocks: Iterable[bytes]) -> Iterator[bytes | None]:
    """The lines that are not blank; None for one that is too long."""
    for piece in chunks(blocks):
        if isinstance(piece, LongLine):
            yield None
        else:
            yield from (line for line in b"".join(piece.parts).split(b"\n") if line.strip())


def _member(text: bytes | None) -> tuple[str, Any] | None:
    """A member of conversations.json, ``"id": {...}``."""
    document = _loads(b"{%s}" % text) if text else None
    if not isinstance(document, dict) or len(document) != 1:
        return None
    return next(iter(document.items()))


def _entry(text: bytes | None) -> tuple[str, Any] | None:
    """A line of conversations.jsonl, an object that holds its id."""
    document = _loads(text) if text else None
    if not isinstance(document, dict) or not isinstance(document.get("id"), str):
        return None
    return document["id"], document


def _loads(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _line(name: str, value: Any) -> bytes | None:
    """What is kept of a conversation, as a JSON line; None if it is no object or no UTF-8."""
    if not isinstance(value, dict):
        return None
    # In older corpora the value is the meta data itself.
    meta = value["meta"] if isinstance(value.get("meta"), dict) else value
    kept = {field: _text(meta.get(field)) for field in ("title", "subreddit")}
    try:
        return json.dumps({"id": name, **kept}, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
