"""Stage ``dumps`` takes a ConvoKit corpus: its utterances are the post and the comments at once."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from karma.dag import build
from karma.errors import InputError, RecipeError
from karma.jobs import Job
from karma.recipe import load
from karma.threads.job import run as run_threads
from tests.filled import SMOKE
from tests.test_dumps import dumps, table
from tests.test_dumps_csv import COMMENTS, mapped, record, text

META = {"score": 3, "subreddit": "aww", "retrieved_on": 1136274029, "stickied": False}


def utterance(name: str, **changes: Any) -> dict[str, Any]:
    """An utterance as ConvoKit writes it: under the post unless it says otherwise."""
    row = {
        "id": name,
        "conversation_id": "100",
        "text": f"text of {name}",
        "speaker": "Somebody",
        "meta": META,
        "reply-to": "100",
        "timestamp": 1136074029,
        "vectors": [],
    }
    return row | changes


POST = utterance("100", **{"reply-to": None})


def corpus(
    folder: Path, *rows: dict[str, Any] | bytes, conversations: Any = None, old: bool = False
) -> Path:
    """A corpus directory; bytes stand as they are."""
    folder.mkdir()
    data = b"".join(
        (row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows
    )
    (folder / "utterances.jsonl").write_bytes(data)
    if conversations is not None:
        (folder / "conversations.json").write_text(json.dumps(conversations))
    (folder / "speakers.json").write_text("{}")
    return folder


def titled(**meta: Any) -> dict[str, Any]:
    return {"100": {"meta": {"title": "A title", "num_comments": 2} | meta, "vectors": []}}


def both(folder: Path, **options: Any) -> tuple[dict[str, Any], Path, dict[str, Any]]:
    """Run the stage; the profile, the folder and all rows by id."""
    profile, out = dumps(folder, "corpus", **options)
    rows: dict[str, Any] = {}
    for kind in ("comments", "submissions"):
        # A kind without rows has no file.
        found = table(out, kind) if profile[kind] else []
        assert len(found) == profile[kind]
        rows |= {row["id"]: row for row in found}
    assert profile["rows"] == profile["comments"] + profile["submissions"]
    return profile, out, rows


def test_the_utterance_that_opens_a_conversation_is_the_post(tmp_path):
    made = corpus(
        tmp_path / "aww",
        POST,
        utterance("a"),
        utterance("b", **{"reply-to": "a", "timestamp": "1136074030"}),
        utterance("c", reply_to="zz", timestamp=1136074031.0),
        utterance("d", **{"reply-to": None}),
        conversations=titled(),
    )
    profile, out, rows = both(made, width=1000)
    assert (profile["lines"], profile["comments"], profile["submissions"]) == (5, 4, 1)
    assert (profile["file"], profile["kind"], profile["conversations"]) == ("aww", "corpus", 1)
    (post,) = table(out, "submissions")
    assert (post["title"], post["selftext"], post["score"]) == ("A title", "text of 100", 3)
    assert {row["thread_id"] for row in table(out)} == {"100"}
    parents = {name: (rows[name]["parent_kind"], rows[name]["parent_id"]) for name in "abcd"}
    assert parents["a"] == ("post", "100")
    assert parents["b"] == ("comment", "a")
    assert parents["c"] == ("comment", "zz")
    assert parents["d"] == (None, None)
    assert [rows[name]["created_utc"] - 1136074029 for name in "abc"] == [0, 1, 2]
    number = int("100", 36) // 1000 * 1000
    assert profile["ranges"] == {f"{number}-{number + 1000}": 5}
    assert rows["a"]["subreddit"] == "aww"


def test_old_names_of_keys_mean_the_same(tmp_path):
    new = [POST, utterance("a"), utterance("b", **{"reply-to": "a"})]
    names = {"conversation_id": "root", "speaker": "user", "reply-to": "reply_to"}
    old = [{names.get(key, key): value for key, value in row.items()} for row in new]
    bare = {"100": {"title": "A title"}}
    _, first, _ = both(corpus(tmp_path / "new", *new, conversations=titled()))
    _, other, _ = both(corpus(tmp_path / "old", *old, conversations=bare))
    for name in ("comments.parquet", "submissions.parquet"):
        assert (first / name).read_bytes() == (other / name).read_bytes()


def test_minus_one_is_a_missing_number_and_any_key_of_meta_may_be_absent(tmp_path):
    metas = {
        "a": {"score": -1, "retrieved_on": -1},
        "b": {"score": "-1.0", "subreddit": "pics"},
        "c": {},
        "d": None,
        "e": {"score": -2, "stickied": True},
        "f": {"score": "many", "retrieved_on": "late"},
    }
    made = corpus(
        tmp_path / "aww",
        POST,
        *(utterance(name, meta=meta) for name, meta in metas.items()),
        {key: value for key, value in utterance("g").items() if key != "meta"},
        conversations=titled(subreddit="funny"),
    )
    profile, _, rows = both(made)
    assert profile["unconverted"] == {"score": 1, "parent_id": 0, "retrieved_on": 1}
    assert [rows[name]["score"] for name in "abcdefg"] == [None] * 4 + [-2, None, None]
    assert {rows[name]["retrieved_on"] for name in "abcdefg"} == {None}
    assert [rows[name]["stickied"] for name in "acde"] == [False, False, False, True]
    assert [rows[name]["subreddit"] for name in ("100", "a", "b")] == ["aww", "funny", "pics"]


def test_a_speaker_is_an_id_or_an_object_that_holds_it(tmp_path):
    speakers = ["Jane_Doe", {"id": "Jane_Doe", "meta": {}}, "jane_doe", "[deleted]", None]
    rows = [utterance(f"a{n}", speaker=speaker) for n, speaker in enumerate(speakers)]
    _, out, found = both(corpus(tmp_path / "aww", POST, *rows))
    authors = [found[f"a{n}"]["author"] for n in range(5)]
    assert len(set(authors[:3])) == 1
    assert len(authors[0]) == 32
    assert authors[3:] == ["[deleted]", None]
    assert [found[f"a{n}"]["author_deleted"] for n in range(5)] == [False] * 3 + [True] * 2
    assert b"jane" not in b"".join(path.read_bytes() for path in out.iterdir()).lower()


@pytest.mark.parametrize("file", ["conversations.jsonl", None])
def test_titles_may_come_as_json_lines_or_not_at_all(tmp_path, file):
    made = corpus(tmp_path / "aww", POST, utterance("a"))
    if file is not None:
        entries = [{"id": "100", "meta": {"title": "A title"}}, {"no": "id"}, ["oops"]]
        lines = [*map(json.dumps, entries), "", "{"]
        (made / file).write_text("\n".join(lines))
    profile, _, rows = both(made)
    assert rows["100"]["title"] == ("A title" if file else "")
    counts = (profile["conversations"], profile["conversations_unreadable"])
    assert counts == ((4, 3) if file else (0, 0))


def test_of_a_conversation_that_stands_twice_the_last_counts(tmp_path):
    made = corpus(tmp_path / "aww", POST, utterance("a"))
    members = ['"100": {"title": "first"}', '"x": 3', '"100": {"title": "last, {really}"}']
    (made / "conversations.json").write_text("{" + ",\n".join(members) + ', "y": {"a": 01}}')
    profile, _, rows = both(made)
    assert rows["100"]["title"] == "last, {really}"
    assert (profile["conversations"], profile["conversations_unreadable"]) == (4, 2)


def test_utterances_may_be_one_json_array(tmp_path):
    made = corpus(tmp_path / "aww")
    (made / "utterances.jsonl").unlink()
    (made / "utterances.json").write_text(json.dumps([POST, utterance("a")], indent=1))
    assert both(made)[0]["rows"] == 2


def test_what_is_no_utterance_is_set_aside_with_place_and_reason(tmp_path):
    bad: dict[str, Any] = {
        "not JSON": b'{"id": "x", "speaker": {"id": "Jane_Doe"}, "text": "to u/joe',
        "not an utterance": {"id": "x", "user": "Jane_Doe"},
        "no id": utterance("", speaker="Jane_Doe"),
        "no link_id": utterance("x", conversation_id=None),
        "no body": utterance("x", text=None),
        "created_utc does not convert": POST | {"timestamp": "nan", "speaker": "Jane_Doe"},
    }
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in bad.values()]
    made = corpus(tmp_path / "aww", utterance("a"), b"", *lines, POST, utterance("b"))
    profile, out, rows = both(made)
    assert profile["reasons"] == dict.fromkeys(bad, 1)
    assert (profile["lines"], profile["blank"], profile["rows"]) == (10, 1, 3)
    data = (made / "utterances.jsonl").read_bytes()
    rejects = table(out, "rejects")
    for reject, line in zip(rejects, lines, strict=True):
        assert data[reject["offset"] :].startswith(line)
    assert [reject["line"] for reject in rejects] == list(range(3, 9))
    assert "jane" not in str(rejects).lower()
    assert rejects[0]["head"] == '{"id": "x", "speaker": "[masked]", "text": "to u/[user]'
    assert [rows[name]["line"] for name in ("a", "100", "b")] == [1, 9, 10]


def test_a_removed_author_leaves_a_count_and_no_text(tmp_path):
    removed = tmp_path / "removed.txt"
    removed.write_text("Jane_Doe\n")
    secret = "what jane said"
    made = corpus(
        tmp_path / "aww",
        POST | {"speaker": "jane_doe", "text": secret},
        utterance("a", speaker={"id": "Jane_Doe"}, text=secret),
        utterance("b"),
        conversations={"100": {"meta": {"title": secret}}},
    )
    profile, out, _ = both(made, removed=removed)
    assert profile["reasons"] == {"removed": 2}
    assert [reject["head"] for reject in table(out, "rejects")] == ["", ""]
    for path in [*out.iterdir(), *(tmp_path / "aww.scratch").rglob("*")]:
        assert path.is_dir() or secret.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("file", "data", "reason"),
    [
        ("conversations.json", b'{"100": {"meta": {', "JSON object ends early, at byte 18"),
        ("conversations.json", b"[]", "does not begin like a JSON object"),
        ("utterances.jsonl", b'{"a": 1}\n', "is no Reddit corpus: none of its 1 lines .*utterance"),
    ],
)
def test_a_file_of_a_corpus_that_is_damaged_or_no_such_thing_is_refused(
    tmp_path, file, data, reason
):
    made = corpus(tmp_path / "aww", POST, conversations=titled())
    (made / file).write_bytes(data)
    with pytest.raises(InputError, match=rf"aww.*: .*{reason}"):
        both(made)


def test_a_folder_without_utterances_is_no_corpus(tmp_path):
    made = corpus(tmp_path / "aww", POST)
    (made / "utterances.jsonl").unlink()
    with pytest.raises(InputError, match=r"aww: it is no ConvoKit corpus: there is no utterances"):
        both(made)


def test_the_same_corpus_gives_the_same_bytes(tmp_path):
    rows = [POST, *(utterance(f"a{n}", text="é" * n) for n in range(50)), b"oops"]
    folders = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made = corpus(tmp_path / name / "aww", *rows, conversations=titled())
        folders.append(both(made)[1])
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes()


def test_a_recipe_of_corpora_alone_has_one_instance_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KARMA_SALT", "pepper")
    for name in ("aww", "pics"):
        corpus(tmp_path / name, POST, conversations=titled())
    (tmp_path / "README").write_text("no corpus")
    settings = ["dumps.comments=null", "dumps.submissions=null", f"dumps.corpora={tmp_path}/*"]
    nodes = build("smoke", load(SMOKE, settings)).nodes
    assert [name for name in nodes if name.startswith("dumps/")] == ["dumps/aww", "dumps/pics"]
    source = nodes["source/aww"].source
    assert source.path == tmp_path / "aww"
    assert [path.name for path in source.files] == ["utterances.jsonl", "conversations.json"]
    (tmp_path / "aww" / "utterances.jsonl").unlink()
    source = build("smoke", load(SMOKE, settings)).nodes["source/aww"].source
    assert (source.files, source.path.name) == ((), "utterances.jsonl")
    with pytest.raises(RecipeError, match=r"dumps.comments is missing: .* or dumps.corpora"):
        load(SMOKE, settings[:2])


def test_csv_and_a_corpus_become_conversations_side_by_side(tmp_path):
    made = corpus(
        tmp_path / "aww",
        POST,
        utterance("a", text="first"),
        utterance("b", text="second", **{"reply-to": "a"}),
        conversations=titled(),
    )
    file = tmp_path / "c.csv"
    file.write_bytes(
        text(
            record("c", parentID="t1_b", body='third, "quoted"', timestamp="2006-01-02 00:00:00"),
            record("d", linkID="101", parentID="101", body="elsewhere"),
        )
    )
    _, one, _ = both(made, width=100_000)
    _, other = dumps(file, width=100_000, csv=mapped(COMMENTS, subreddit="pics"))
    (span,) = json.loads((one / "profile.json").read_text())["ranges"]
    out = tmp_path / "threads"
    out.mkdir()
    threads = {"min_age_hours": 0, "turns": 2}
    inputs = {"dumps/aww": one, "dumps/c.csv": other}
    run_threads(Job({"threads": threads, "range": span}, inputs, out, tmp_path / "scratch"))
    rows = {row["id"]: row for row in pq.read_table(out / "conversations.parquet").to_pylist()}
    contexts = {
        name: [(turn["role"], turn["text"]) for turn in row["context"]]
        for name, row in rows.items()
    }
    opening = [("title", "A title"), ("text", "text of 100")]
    assert contexts["a"] == opening
    assert contexts["b"] == [*opening, ("comment", "first")]
    assert contexts["c"] == [*opening, ("comment", "first"), ("comment", "second")]
    assert contexts["d"] == []
    assert (rows["c"]["reply"], rows["c"]["subreddit"]) == ('third, "quoted"', "pics")
    assert [rows[name]["depth"] for name in "abcd"] == [1, 2, 3, 1]
