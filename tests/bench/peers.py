"""What one would write without KARMA: a dump of comments to conversations, in plain Python.

    python -m tests.bench.peers lines|utterances RC.zst conversations.jsonl

Both read with ``zstandard`` and ``json``, keep everything in memory, and write one JSON line for
each reply that is not deleted, not a bot's, and whose last 8 turns are there. They do less than the
stages: no hashes, no masks, no account of lines, no splits, no filters beyond these, no check that
a chain is whole beyond its last 8 turns.
"""

import io
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import zstandard

TURNS = 8
GONE = ("[deleted]", "[removed]")
BOTS = ("AutoModerator",)


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The comments of a dump."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=2**31)
    with path.open("rb") as file, decompressor.stream_reader(file) as stream:
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            yield json.loads(line)


def lines(path: Path, out: TextIO) -> int:
    """By a dict of ids that holds the fields that are needed; returns the conversations."""
    comments = {}
    for row in rows(path):
        comments[row["id"]] = (
            row["link_id"],
            row["parent_id"],
            row["author"],
            row["subreddit"],
            row["body"],
            row["score"],
            int(row["created_utc"]),
            row["retrieved_on"],
        )
    written = 0
    for name, comment in comments.items():
        post, parent, author, subreddit, body, score, created, retrieved = comment
        if body in GONE or author in BOTS:
            continue
        turns = _turns(comments, post, parent)
        if turns is None:
            continue
        reply = {
            "id": name,
            "thread_id": post[3:],
            "parent_id": str(parent)[3:],
            "subreddit": subreddit,
            "author": author,
            "created_utc": created,
            "score": score,
            "context": turns,
            "reply": body,
            "age": retrieved - created,
        }
        out.write(json.dumps(reply) + "\n")
        written += 1
    return written


def _turns(comments: dict[str, tuple[Any, ...]], post: str, parent: Any) -> list[str] | None:
    """The texts of the last turns below a post, oldest first; None if one of them is missing."""
    turns: list[str] = []
    while len(turns) < TURNS and isinstance(parent, str) and parent.startswith("t1_"):
        answered = comments.get(parent[3:])
        if answered is None:
            return None
        turns.append(answered[4])
        parent = answered[1]
    return turns[::-1] if len(turns) == TURNS or parent == post else None


@dataclass
class Utterance:
    """One turn of a conversation, as a corpus toolkit holds it."""

    id: str
    speaker: str
    conversation_id: str
    reply_to: str | None
    timestamp: int
    text: str
    meta: dict[str, Any] = field(default_factory=dict)


META = (
    "score",
    "retrieved_on",
    "gilded",
    "gildings",
    "subreddit",
    "stickied",
    "permalink",
    "author_flair_text",
    "edited",
)


def utterance(row: dict[str, Any]) -> Utterance:
    """A comment as an utterance: the post is the conversation that it belongs to."""
    post = row["link_id"][3:]
    parent = row["parent_id"]
    meta = {name: row[name] for name in META}
    meta["top_level"] = parent == row["link_id"]
    return Utterance(
        row["id"],
        row["author"],
        post,
        parent[3:] if isinstance(parent, str) else None,
        int(row["created_utc"]),
        row["body"],
        meta,
    )


def utterances(path: Path, out: TextIO) -> int:
    """By a corpus of utterances and conversations, which is walked then."""
    corpus = {row["id"]: utterance(row) for row in rows(path)}
    conversations = defaultdict(list)
    for one in corpus.values():
        conversations[one.conversation_id].append(one)
    written = 0
    for conversation in conversations.values():
        for reply in conversation:
            if reply.text in GONE or reply.speaker in BOTS:
                continue
            turns = list(_above(reply, corpus))
            last = turns[-1] if turns else reply
            if len(turns) < TURNS and last.reply_to != reply.conversation_id:
                continue
            document = {
                "id": reply.id,
                "conversation_id": reply.conversation_id,
                "reply_to": reply.reply_to,
                "speaker": reply.speaker,
                "timestamp": reply.timestamp,
                "context": [turn.text for turn in reversed(turns)],
                "text": reply.text,
                "meta": reply.meta,
            }
            out.write(json.dumps(document) + "\n")
            written += 1
    return written


def _above(reply: Utterance, corpus: dict[str, Utterance]) -> Iterator[Utterance]:
    """The last turns before ``reply``, the nearest first."""
    turn = reply
    for _ in range(TURNS):
        above = corpus.get(turn.reply_to or "")
        if above is None:
            return
        yield above
        turn = above


def main() -> None:
    """Run the peer that the command line names."""
    name, source, out = sys.argv[1:]
    peer = {"lines": lines, "utterances": utterances}[name]
    with Path(out).open("w", encoding="utf-8") as file:
        print(f"{name}: {peer(Path(source), file)} conversations", file=sys.stderr)


if __name__ == "__main__":
    main()
