"""Stage ``threads``: contexts equal a walk in plain Python, and nobody is counted twice."""

import hashlib
import json
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from karma import sql
from karma.dumps.job import run as run_dumps
from karma.errors import CheckError
from karma.jobs import Job
from karma.threads import signatures
from karma.threads.job import run
from karma.threads.recipe import ThreadsRecipe

REDDIT = Path(__file__).parents[2] / "shared" / "data" / "reddit"
RANGE = "0-1000"
# Everything counts: no filter but what a context needs.
OPEN = {
    "width": 1000,
    "min_age_hours": 0,
    "min_chars": 1,
    "max_chars": 100_000,
    "duplicate_chars": None,
    "over_18": "keep",
}
TYPES = {
    "score": pa.int64(),
    "created_utc": pa.int64(),
    "retrieved_on": pa.int64(),
    "retrieved_2nd_on": pa.int64(),
    "line": pa.int64(),
    "bot": pa.bool_(),
    "stickied": pa.bool_(),
    "over_18": pa.bool_(),
}


def comment(name: str, parent: str | None = "t3_t", **changes: Any) -> dict[str, Any]:
    """A row of ``comments.parquet``; ``parent`` with its prefix."""
    kinds = {"t1": "comment", "t3": "post"}
    row = {
        "id": name,
        "thread_id": "t",
        "parent_kind": kinds[parent[:2]] if parent else None,
        "parent_id": parent[3:] if parent else None,
        "author": "0" * 32,
        "bot": False,
        "subreddit": "aww",
        "body": f"text of {name}",
        "score": 1,
        "created_utc": 1_000_000,
        "retrieved_on": 2_000_000,
        "retrieved_2nd_on": None,
        "stickied": False,
        "over_18": None,
        "line": 1,
        "thread_range": RANGE,
    }
    return row | changes


def post(name: str = "t", **changes: Any) -> dict[str, Any]:
    """A row of ``submissions.parquet``."""
    row = {"id": name, "title": f"title of {name}", "selftext": "", "score": 5}
    times = {"created_utc": 999_000, "retrieved_on": 2_000_000, "retrieved_2nd_on": None}
    return row | times | {"over_18": False, "line": 1, "thread_range": RANGE} | changes


def table(rows: list[dict[str, Any]]) -> pa.Table:
    rows = [row | {"line": number} for number, row in enumerate(rows, 1)]
    return pa.table(
        {
            name: pa.array([row[name] for row in rows], TYPES.get(name, pa.string()))
            for name in rows[0]
        }
    )


def sign(dump: Path, out: Path, scratch: Path, chars: int) -> None:
    """Make the signatures of a dump's comments."""
    config = {"threads": {"duplicate_chars": chars, "bots": "drop", "memory_mb": 512}}
    signatures.run(Job(config, {"dump": dump}, out, scratch))


def threads(
    folder: Path,
    comments: list[dict[str, Any]],
    posts: list[dict[str, Any]] | None = None,
    **recipe: Any,
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Run the stage; returns the conversations by id, and the profile."""
    inputs = {}
    for file, rows in (("comments", comments), ("submissions", posts)):
        if rows:
            inputs[f"dumps/{file}"] = folder / file
            (folder / file).mkdir()
            pq.write_table(table(rows), folder / file / f"{file}.parquet")
    for name in ("out", "scratch", "signatures"):
        (folder / name).mkdir()
    if chars := recipe.get("duplicate_chars"):
        inputs["signatures/comments"] = folder / "signatures"
        sign(folder / "comments", folder / "signatures", folder / "scratch", chars)
    config = {"threads": OPEN | recipe, "range": RANGE}
    run(Job(config, inputs, folder / "out", folder / "scratch"))
    rows = pq.read_table(folder / "out" / "conversations.parquet").to_pylist()
    assert len({(row["thread_id"], row["id"]) for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}, json.loads((folder / "out/profile.json").read_text())


def walk(row: dict[str, Any], ids: dict[str, dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """How the chain above ``row`` ends (whole, broken, circular), and its comments, nearest first.

    The slow and obvious way that the stage's SQL is checked against.
    """
    chain: list[dict[str, Any]] = []
    seen = {row["id"]}
    while True:
        if row["parent_kind"] == "post" and row["parent_id"] == row["thread_id"]:
            return "whole", chain
        parent = ids.get(row["parent_id"]) if row["parent_kind"] == "comment" else None
        if parent is None or parent["thread_id"] != row["thread_id"]:
            return "broken", chain
        if parent["id"] in seen:
            return "circular", chain
        seen.add(parent["id"])
        chain.append(parent)
        row = parent


names = st.sampled_from([f"c{number}" for number in range(20)])
thread_ids = st.sampled_from(["t", "u", "v"])
# Duplicate ids, circles, self-parents, null parents, parents in other threads, parents that come
# later, missing parents, posts of other threads, deleted text: all of them fall out of this.
parents = st.one_of(
    names.map(lambda name: f"t1_{name}"),
    names.map(lambda name: f"t1_{name}"),
    thread_ids.map(lambda name: f"t3_{name}"),
    st.just("own post"),
    st.just("own post"),
    st.none(),
)
DELETED = [
    "[deleted]",
    "[removed]",
    "[Deleted by User]",
    " [ Removed by Reddit ] ",
    "",
    "  ",
    "\r\n\0",
]
texts = st.sampled_from(
    ["first", "a &gt; b", "line\r\nline", "[deleted] by me", "\n a\0b ", *DELETED]
)


@st.composite
def forests(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = draw(st.lists(st.tuples(names, thread_ids, parents, texts), min_size=8, max_size=40))
    looks = draw(st.permutations(range(len(rows))))
    forest = []
    for (name, thread, parent, body), look in zip(rows, looks, strict=True):
        changes = {"thread_id": thread, "body": body, "retrieved_on": 2_000_000 + look}
        changes |= {"score": look, "created_utc": 1_000_000 + 7 * look % 11}
        own = f"t3_{thread}" if parent == "own post" else parent
        forest.append(comment(name, own, **changes))
    return forest


def cleaned(body: str) -> str | None:
    text = body.replace("\0", "").replace("\r\n", "\n").replace("&gt;", ">").strip()
    return None if body in DELETED else text


# Without the search for a smaller example, which would take minutes here.
@settings(max_examples=20, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(forests(), st.integers(1, 4), st.sampled_from(["drop", "keep"]))
def test_contexts_equal_a_walk_in_plain_python(forest, turns, orphans):
    posts = [post("t", selftext="body of t"), post("u", title="[deleted by user]")]
    opening = {
        "t": [("title", "title of t"), ("text", "body of t")],
        "u": [("title", "gone")],
        "v": [],
    }
    # Dumps reuse ids: those of each thread are its own.
    ids: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in sorted(forest, key=lambda row: row["retrieved_on"]):
        ids[row["thread_id"]][row["id"]] = row
    rows = [row for thread in ids.values() for row in thread.values()]
    expected, ends = {}, Counter()
    for row in rows:
        end, chain = walk(row, ids[row["thread_id"]])
        ends[end] += 1
        if cleaned(row["body"]) and (end == "whole" or (end == "broken" and orphans == "keep")):
            above = [("comment", cleaned(turn["body"]) or "gone") for turn in chain[:turns]]
            depth = len(chain) + 1 if end == "whole" else None
            context = opening[row["thread_id"]] + above[::-1]
            expected[row["thread_id"], row["id"]] = (depth, context, cleaned(row["body"]))
    with tempfile.TemporaryDirectory() as folder:
        _, profile = threads(
            Path(folder), forest, posts, turns=turns, orphans=orphans, deleted="gone"
        )
        found = pq.read_table(Path(folder) / "out" / "conversations.parquet").to_pylist()
    assert expected == {
        (row["thread_id"], row["id"]): (
            row["depth"],
            [(turn["role"], turn["text"]) for turn in row["context"]],
            row["reply"],
        )
        for row in found
    }
    assert len(expected) == len(found)
    assert profile["duplicates"] == len(forest) - len(rows)
    assert profile["reached"] == ends["whole"]
    assert profile["unreachable"] == {"broken": ends["broken"], "circular": ends["circular"]}
    assert sum(profile["filtered"].values()) + len(found) == len(rows) == profile["comments"]


def test_a_chain_of_thousands_is_walked_to_its_end(tmp_path):
    rows = [comment("c0")] + [comment(f"c{n}", f"t1_c{n - 1}") for n in range(1, 3000)]
    found, _ = threads(tmp_path, rows[::-1], turns=2)
    assert found["c2999"]["depth"] == 3000
    assert [turn["text"] for turn in found["c2999"]["context"]] == [
        "text of c2997",
        "text of c2998",
    ]


def test_slots_come_from_the_parent_and_the_clock(tmp_path):
    rows = [
        comment("a", created_utc=999_500, score=9),
        comment("b", "t1_a", created_utc=999_900, retrieved_2nd_on=1_999_900),
        comment("c", "t1_a", created_utc=999_100, retrieved_on=None, score=None),
    ]
    found, profile = threads(tmp_path, rows, [post()])
    slots = ("parent_score", "delay", "hour", "age", "score")
    assert [found["a"][slot] for slot in slots] == [5, 500, 277 % 24, 1_000_500, 9]
    assert [found["b"][slot] for slot in slots] == [9, 400, 277 % 24, 1_000_000, 1]
    # Older than its parent: the delay is unknown, as are score and age.
    assert [found["c"][slot] for slot in slots] == [9, None, 277 % 24, None, None]
    assert (profile["age_unknown"], profile["score_unknown"]) == (1, 1)


def test_a_missing_post_makes_no_orphan(tmp_path):
    found, profile = threads(tmp_path, [comment("a"), comment("b", "t1_a")])
    assert [turn["role"] for turn in found["b"]["context"]] == ["comment"]
    assert (found["a"]["context"], found["a"]["delay"], found["a"]["depth"]) == ([], None, 1)
    assert (profile["post_missing"], profile["threads_without_post"]) == (2, 1)


def test_a_title_that_nobody_knows_is_no_deleted_one(tmp_path):
    titles = {"t": "", "u": " ", "v": "[removed]", "w": "A title"}
    titles |= {"x": "&amp;#x200B;", "y": "&nbsp;", "z": "[deleted by user]"}
    rows = [comment(f"a{name}", f"t3_{name}", thread_id=name) for name in titles]
    posts = [post(name, title=title, selftext="body") for name, title in titles.items()]
    found, profile = threads(tmp_path, rows, posts)
    roles = {name: [turn["text"] for turn in row["context"]] for name, row in found.items()}
    assert roles["at"] == roles["au"] == roles["ax"] == roles["ay"] == ["body"]
    assert roles["av"] == roles["az"] == ["[deleted]", "body"]
    assert roles["aw"] == ["A title", "body"]
    assert profile["post_missing"] == 0


def test_every_filter_counts_what_it_drops(tmp_path):
    long = "the same long words again and again"
    train = {use: thread_of(use) for use in ("sft", "ppo")}
    rows = [
        comment("kept"),
        comment("subreddit", subreddit="Other"),
        comment("deleted", body="[removed]"),
        comment("bot", bot=True),
        comment("stickied", stickied=True),
        comment("immature", retrieved_on=1_000_000 + 36 * 3600 - 1),
        comment("mature", retrieved_on=1_000_000 + 36 * 3600),
        comment("unknown", retrieved_on=None),
        comment("short", body="x"),
        comment("long", body="x" * 51),
        comment("orphan", "t1_nobody"),
        comment("adult", "t3_x", thread_id="x"),
        comment("says", f"t3_{train['sft']}", thread_id=train["sft"], body=long),
        comment("again", f"t3_{train['sft']}", thread_id=train["sft"], body=long),
        comment("echoes", f"t3_{train['ppo']}", thread_id=train["ppo"], body=long.upper()),
    ]
    rows[-1]["created_utc"] += 1
    recipe = {
        "subreddits": ["r/AWW"],
        "min_age_hours": 36,
        "min_chars": 2,
        "max_chars": 50,
        "duplicate_chars": 20,
        "over_18": "drop",
    }
    found, profile = threads(tmp_path, rows, [post("x", over_18=True)], **recipe)
    assert set(found) == {"kept", "mature", "unknown", "says", "again"}
    reasons = ("subreddit", "deleted", "bot", "stickied", "immature", "short", "long", "orphan")
    assert profile["filtered"] == dict.fromkeys((*reasons, "over_18", "duplicate"), 1)
    assert profile["age_unknown"] == 1


def share(purpose: str, thread: str) -> float:
    return int(hashlib.sha256(f"{purpose}:{thread}".encode()).hexdigest()[:8], 16) / 2**32


def thread_of(use: str) -> str:
    """A thread id that falls to ``use`` under the recipe's defaults."""
    bounds = {"sft": (0.0, 0.3), "ppo": (0.85, 1.0)}[use]
    candidates = (f"h{number}" for number in range(10_000))
    return next(
        name
        for name in candidates
        if share("split", name) >= 0.15 and bounds[0] <= share("use", name) < bounds[1]
    )


def test_splits_and_uses_follow_from_the_thread_id_alone(tmp_path):
    rows = [comment(f"c{n}", f"t3_h{n}", thread_id=f"h{n}") for n in range(400)]
    found, profile = threads(tmp_path, rows)
    for row in found.values():
        at = share("split", row["thread_id"])
        split = "test" if at < 0.10 else "validation" if at < 0.15 else "train"
        assert row["split"] == split
        assert (row["use"] is None) == (split != "train")
    assert sum(use["threads"] for use in profile["uses"].values()) == 400
    assert set(profile["uses"]) == {"sft", "reward", "gold", "ppo", "validation", "test"}


def test_the_check_finds_a_thread_with_two_uses(tmp_path):
    out = tmp_path / "conversations.parquet"
    rows = [{"thread_id": "t", "split": "train", "use": use} for use in ("sft", "ppo")]
    pq.write_table(pa.Table.from_pylist(rows), out)
    connection = sql.connect([tmp_path], tmp_path)
    with pytest.raises(CheckError, match="threads_uses"):
        sql.check(connection, "threads_uses", {"out": str(out)})
    with pytest.raises(duckdb.PermissionException):
        connection.execute("SELECT * FROM read_csv('/etc/passwd')")


def test_texts_are_unescaped_and_masked_everywhere(tmp_path):
    dirty = "&lt;b&gt; &amp;amp; u/some_one\r\nat a@b.org, 555-010-4477\0"
    clean = "<b> &amp; u/[user]\nat [email], [phone]"
    rows = [comment("a", body=dirty), comment("b", "t1_a", body=dirty)]
    found, _ = threads(tmp_path, rows, [post(title=dirty, selftext=dirty)])
    assert found["b"]["reply"] == clean
    assert [turn["text"] for turn in found["b"]["context"]] == [clean] * 3


def test_what_the_editor_writes_for_an_empty_paragraph_is_no_text(tmp_path):
    blank = "&amp;#x200B;\n\n&amp;nbsp;"
    rows = [comment("a", body=f"{blank}\nsaid\n{blank}"), comment("b", "t1_a", body=blank)]
    found, profile = threads(tmp_path, rows)
    assert {name: row["reply"] for name, row in found.items()} == {"a": "said"}
    assert profile["filtered"] == {"deleted": 1}


def test_shares_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(ValidationError, match="below 1"):
        ThreadsRecipe.model_validate({"split": {"validation": 0.5, "test": 0.5}})


@pytest.mark.skipif(not REDDIT.exists(), reason="the real dumps are not here")
def test_a_real_month_gives_the_conversations_of_a_walk(tmp_path):
    width = 100_000_000
    inputs = {}
    for kind, name in (("comments", "RC_2006-01.zst"), ("submissions", "RS_2006-01.bz2")):
        out = inputs[f"dumps/{name}"] = tmp_path / name
        out.mkdir()
        config = {"dumps": {}, "name": name, "kind": kind, "width": width, "simulated": True}
        run_dumps(Job(config, {"file": REDDIT / name}, out, tmp_path / "scratch"))
    out = tmp_path / "out"
    out.mkdir()
    config = {"threads": OPEN | {"width": width, "orphans": "keep"}, "range": f"0-{width}"}
    run(Job(config, inputs, out, tmp_path / "scratch"))
    profile = json.loads((out / "profile.json").read_text())
    assert (profile["comments"], profile["duplicates"], profile["threads"]) == (3666, 0, 1173)
    assert profile["posts"] == 145
    comments = pq.read_table(tmp_path / "RC_2006-01.zst" / "comments.parquet").to_pylist()
    ids = {row["id"]: row for row in comments}
    ends = {name: walk(row, ids) for name, row in ids.items()}
    counts = Counter(end for end, _ in ends.values())
    assert profile["reached"] == counts["whole"]
    assert profile["unreachable"] == {"broken": counts["broken"], "circular": 0}
    answers = [row for row in comments if row["parent_kind"] == "comment"]
    assert sum(row["parent_id"] not in ids for row in answers) == 58
    found = pq.read_table(out / "conversations.parquet").to_pylist()
    assert len(found) + sum(profile["filtered"].values()) == 3666
    for row in found:
        end, chain = ends[row["id"]]
        assert row["depth"] == (len(chain) + 1 if end == "whole" else None)
        turns = [turn for turn in row["context"] if turn["role"] == "comment"]
        assert len(turns) == min(8, len(chain))
        assert "\r" not in row["reply"]
        assert "&gt;" not in row["reply"]
