"""What one would write without KARMA: a dump of comments to conversations, in plain Python.

    KARMA_SALT=... python -m tests.bench.peers lines|utterances RC.zst conversations.parquet

Both do what ``dumps`` and ``threads`` do with near-duplicates left in, and write the same rows
(tests/test_bench.py holds them against each other): types that drift, rejected lines with their
place, the latest of several copies, hashed names, masked texts, filters, splits, whole chains.
They keep everything in memory, and write no file between.
"""

import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from karma.threads.recipe import ThreadsRecipe
from tests.bench.peer_rows import Comment, Reject, comment, share

RECIPE = ThreadsRecipe()
BATCH = 50_000
TURN = pa.struct([("role", pa.string()), ("text", pa.string())])
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "thread_id", "parent_id", "subreddit", "author")]
    + [(name, pa.int64()) for name in ("created_utc", "score", "depth")]
    + [("context", pa.list_(TURN)), ("reply", pa.string())]
    + [(name, pa.int64()) for name in ("parent_score", "delay", "hour", "age")]
    + [("split", pa.string()), ("use", pa.string())]
)


def read(path: Path, salt: bytes) -> tuple[list[Comment], list[Reject]]:
    """The comments of a dump, and the lines that are none."""
    comments: list[Comment] = []
    rejects: list[Reject] = []
    for offset, line in _lines(path):
        found = comment(line, offset, salt)
        if isinstance(found, Comment):
            comments.append(found)
        else:
            rejects.append(found)
    return comments, rejects


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, and where they begin."""
    offset, rest = 0, b""
    decompressor = zstandard.ZstdDecompressor(max_window_size=2**31)
    with path.open("rb") as file, decompressor.stream_reader(file) as stream:
        while block := stream.read(1 << 20):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                if line:
                    yield offset, line
                offset += len(line) + 1
    if rest:
        yield offset, rest


def latest(comments: Iterable[Comment]) -> dict[str, Comment]:
    """Of several copies of a comment the one whose score was read last."""
    kept: dict[str, Comment] = {}
    for one in comments:
        other = kept.get(one.id)
        if other is None or (one.retrieved_on or 0) > (other.retrieved_on or 0):
            kept[one.id] = one
    return kept


def wanted(one: Comment) -> bool:
    """Whether a comment is a reply to learn from."""
    return (
        one.text is not None
        and not one.bot
        and not one.stickied
        and not one.over_18
        and (one.age is None or one.age >= RECIPE.min_age_hours * 3600)
        and RECIPE.min_chars <= len(one.text) <= RECIPE.max_chars
    )


def conversation(
    reply: Comment, turns: list[str | None], depth: int, above: Comment | None
) -> dict[str, Any]:
    """A row of the result; ``turns`` are the texts before the reply, the oldest first."""
    delay = None if above is None else reply.created_utc - above.created_utc
    context = [{"role": "comment", "text": text or RECIPE.deleted} for text in turns]
    split, use = _use(reply.thread_id)
    return {
        "id": reply.id,
        "thread_id": reply.thread_id,
        "parent_id": reply.parent_id,
        "subreddit": reply.subreddit,
        "author": reply.author,
        "created_utc": reply.created_utc,
        "score": reply.score,
        "depth": depth,
        "context": context,
        "reply": reply.text,
        "parent_score": None if above is None else above.score,
        "delay": None if delay is None or delay < 0 else delay,
        "hour": reply.created_utc // 3600 % 24,
        "age": reply.age,
        "split": split,
        "use": use,
    }


def _use(thread: str) -> tuple[str, str | None]:
    """The split of a thread, and what it is used for."""
    drawn = share("split", thread)
    if drawn < RECIPE.split.test:
        return "test", None
    if drawn < RECIPE.split.test + RECIPE.split.validation:
        return "validation", None
    shares = RECIPE.uses.model_dump()
    drawn = share("use", thread) * sum(shares.values())
    for use in ("sft", "reward", "gold"):
        drawn -= shares[use]
        if drawn < 0:
            return "train", use
    return "train", "ppo"


def lines(comments: list[Comment]) -> Iterator[dict[str, Any]]:
    """By a dict of ids."""
    kept = latest(comments)
    depths: dict[str, int | None] = {}
    for one in sorted(kept.values(), key=lambda one: (one.thread_id, one.created_utc, one.id)):
        depth = _depth(one, kept, depths)
        if depth is None or not wanted(one):
            continue
        turns: list[str | None] = []
        above = turn = _above(one, kept)
        while turn is not None and len(turns) < RECIPE.turns:
            turns.append(turn.text)
            turn = _above(turn, kept)
        yield conversation(one, turns[::-1], depth, above)


def _above(one: Comment, kept: dict[str, Comment]) -> Comment | None:
    """The comment that another answers, if it is there and in the same thread."""
    found = kept.get(one.parent_id or "") if one.parent_kind == "comment" else None
    return found if found is not None and found.thread_id == one.thread_id else None


def _depth(one: Comment, kept: dict[str, Comment], depths: dict[str, int | None]) -> int | None:
    """How many comments its chain has, itself included; None if the chain is not whole."""
    chain: dict[str, Comment] = {}
    turn: Comment | None = one
    while turn is not None and turn.id not in depths and turn.id not in chain:
        chain[turn.id] = turn
        turn = _above(turn, kept)
    depth = None if turn is None else depths.get(turn.id)
    for name, turn in reversed(chain.items()):
        if turn.parent_kind == "post" and turn.parent_id == turn.thread_id:
            depth = 1
        elif depth is not None:
            depth += 1
        depths[name] = depth
    return depths[one.id]


@dataclass
class Utterance:
    """One turn of a conversation, as a corpus toolkit holds it."""

    id: str
    speaker: str | None
    conversation_id: str
    reply_to: str | None
    timestamp: int
    text: str | None
    meta: dict[str, Any] = field(default_factory=dict)


def utterances(comments: list[Comment]) -> Iterator[dict[str, Any]]:
    """By a corpus of utterances and conversations, each of which is walked from its top."""
    kept = latest(comments)
    corpus = {one.id: _utterance(one) for one in kept.values()}
    conversations: dict[str, list[Utterance]] = defaultdict(list)
    for said in corpus.values():
        conversations[said.conversation_id].append(said)
    for thread in sorted(conversations):
        said_in = conversations[thread]
        answers: dict[str | None, list[Utterance]] = defaultdict(list)
        for said in said_in:
            answers[said.reply_to].append(said)
        paths: dict[str, list[str]] = {}
        open_ends = [(said, [said.id]) for said in answers[thread] if said.meta["top_level"]]
        while open_ends:
            said, path = open_ends.pop()
            paths[said.id] = path
            replies = [reply for reply in answers[said.id] if not reply.meta["top_level"]]
            open_ends += [(reply, [*path, reply.id]) for reply in replies]
        for said in sorted(said_in, key=lambda said: (said.timestamp, said.id)):
            if said.id in paths and wanted(kept[said.id]):
                *above, _ = paths[said.id]
                turns = [corpus[name].text for name in above[-RECIPE.turns :]]
                last = kept[above[-1]] if above else None
                yield conversation(kept[said.id], turns, len(above) + 1, last)


def _utterance(one: Comment) -> Utterance:
    """A comment as an utterance: the post is the conversation that it belongs to."""
    meta = {
        "score": one.score,
        "retrieved_on": one.retrieved_on,
        "subreddit": one.subreddit,
        "stickied": one.stickied,
        "top_level": one.parent_kind == "post",
    }
    return Utterance(
        one.id, one.author, one.thread_id, one.parent_id, one.created_utc, one.text, meta
    )


PEERS = {"lines": lines, "utterances": utterances}


def write(peer: str, source: Path, out: Path, salt: bytes) -> None:
    """Run a peer on a dump."""
    comments, rejects = read(source, salt)
    count = 0
    with pq.ParquetWriter(out, SCHEMA, compression="zstd", compression_level=1) as writer:
        batch: list[dict[str, Any]] = []
        for row in PEERS[peer](comments):
            batch.append(row)
            if len(batch) == BATCH:
                writer.write_table(pa.Table.from_pylist(batch, SCHEMA))
                count, batch = count + len(batch), []
        writer.write_table(pa.Table.from_pylist(batch, SCHEMA))
    print(f"{peer}: {count + len(batch)} conversations, {len(rejects)} rejects", file=sys.stderr)


def main() -> None:
    """Run the peer that the command line names."""
    name, source, out = sys.argv[1:]
    write(name, Path(source), Path(out), os.environ["KARMA_SALT"].encode())


if __name__ == "__main__":
    main()
