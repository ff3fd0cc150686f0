"""Stage ``dumps`` takes CSV: the recipe maps its columns, and records are counted, not lines."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karma.dag import build
from karma.dumps.columns import separator
from karma.dumps.table import rows
from karma.errors import InputError, RecipeError
from karma.recipe import load
from tests.filled import SMOKE
from tests.test_dumps import PACK, REDDIT, dumps, needs_reddit, table, write

EXPORT = REDDIT / "csv_export"
COMMENTS = {
    "id": "commentID",
    "link_id": "linkID",
    "parent_id": "parentID",
    "author": "author",
    "body": "body",
    "created_utc": "timestamp",
    "score": "score",
}
POSTS = {
    "id": "postID",
    "title": "title",
    "selftext": "body",
    "author": "author",
    "created_utc": "timestamp",
    "score": "score",
}
HEAD = ["", "linkID", "commentID", "author", "parentID", "body", "timestamp", "score"]
NASTY = st.text(st.sampled_from('",\n\r;\t aé\N{GRINNING FACE}'), max_size=8)


def mapped(columns: dict[str, str], **constants: str) -> dict[str, Any]:
    return {"columns": columns, "constants": constants}


def record(name: str, **changes: str) -> list[str]:
    """A comment as the real export writes it."""
    cells = ["0", "100", name, "Somebody", "t3_100", "text", "1136074029", "3"]
    row = dict(zip(HEAD, cells, strict=True))
    return list((row | changes).values())


def text(*records: list[str], head: list[str] = HEAD, **style: Any) -> bytes:
    file = io.StringIO()
    csv.writer(file, **style).writerows([head, *records])
    return file.getvalue().encode()


@given(
    st.lists(st.lists(NASTY, min_size=1, max_size=4), min_size=1, max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([b",", b"\t", b";"]),
    st.integers(1, 20),
    st.booleans(),
    st.booleans(),
)
def test_rows_are_those_that_were_written(written, end, sign, step, mark, quoted):
    # What a field needs its quotes for, a writer knows; a lone carriage return is none of it here.
    quote = csv.QUOTE_ALL if quoted or "\r" in "".join(map("".join, written)) else csv.QUOTE_MINIMAL
    style = {"lineterminator": end, "delimiter": sign.decode(), "quoting": quote}
    parts = [text(head=row, **style) for row in written]
    data = b"\xef\xbb\xbf" * mark + b"".join(parts)
    blocks = [data[start : start + step] for start in range(0, len(data), step)]
    found = list(rows(Path("a.csv"), blocks, sign))
    assert [[field.decode() for field in row.fields] for row in found] == written
    assert all(row.sound for row in found)
    assert all(data[row.offset :].startswith(part) for row, part in zip(found, parts, strict=True))


def test_a_quote_or_carriage_return_within_an_unquoted_field_is_text():
    found = list(rows(Path("a.csv"), [b'5" disk,a\rb,"c""d"\r\nlast,"x" y,z']))
    assert [row.fields for row in found] == [
        [b'5" disk', b"a\rb", b'c"d'],
        [b"last", b"x", b"z"],
    ]
    assert [row.sound for row in found] == [True, False]


@needs_reddit
def test_a_real_export_is_read_as_pythons_reader_reads_it(tmp_path):
    comments, posts = tmp_path / "comments.csv", tmp_path / "posts.csv"
    comments.write_bytes((EXPORT / "comments.csv").read_bytes())
    posts.write_bytes((EXPORT / "posts.csv").read_bytes())
    profile, out = dumps(comments, csv=mapped(COMMENTS, subreddit="leagueoflegends"))
    assert (profile["lines"], profile["rows"], profile["rejected"]) == (6306, 6306, 0)
    assert set(profile["unconverted"].values()) == {0}
    with comments.open(newline="", encoding="utf-8") as file:
        wanted = {row["commentID"]: row for row in csv.DictReader(file)}
    found = {row["id"]: row for row in table(out)}
    for name, row in wanted.items():
        assert found[name]["body"] == row["body"]
        assert found[name]["score"] == int(row["score"])
        assert found[name]["parent_id"] == row["parentID"][3:]
        assert found[name]["author_deleted"] == (row["author"] == "")
    assert {row["subreddit"] for row in table(out)} == {"leagueoflegends"}
    assert found["nh15l8e"]["created_utc"] == 1759249728  # 2025-09-30 16:28:48+00:00
    profile, out = dumps(posts, "submissions", csv=mapped(POSTS))
    assert (profile["lines"], profile["rows"]) == (25, 25)
    assert "1nudrkt" in {row["id"] for row in table(out, "submissions")}


@pytest.mark.parametrize("suffix", [*PACK, ""])
def test_every_compression_and_tabs_give_the_same_rows(tmp_path, suffix):
    comma, tab = text(record("a"), record("b")), text(record("a"), record("b"), delimiter="\t")
    pack = PACK.get(suffix, PACK[".ndjson"])
    suffix = suffix.removesuffix(".ndjson")
    folders = []
    for name, data in (("c.csv", comma), ("c.tsv", tab)):
        file = tmp_path / f"{name}{suffix}"
        file.write_bytes(pack(data))
        assert separator(file.name) is not None
        folders.append(dumps(file, csv=mapped(COMMENTS))[1])
    first, other = ((folder / "comments.parquet").read_bytes() for folder in folders)
    assert first == other


def test_records_that_do_not_fit_are_set_aside_and_show_no_text(tmp_path):
    bad = {
        "wrong number of fields": b'9,100,x,Jane_Doe,"t3_100",one\r\n',
        "text after a closing quote": b'9,100,x,"Jane" Doe,t3_100,one,1136074029,3\r\n',
        "not UTF-8": b"9,100,x,Jane_Doe,t3_100,\xff\xfe,1136074029,3\r\n",
        "NUL byte": b"9,100,x,Jane_Doe,t3_100,a\0b,1136074029,3\r\n",
        "created_utc does not convert": b"9,100,x,Jane_Doe,t3_100,to u/joe,yesterday,3\r\n",
        "no id": b"9,100,,Jane_Doe,t3_100,one,1136074029,3\r\n",
        "no link_id": b"9,,x,Jane_Doe,t3_100,one,1136074029,3\r\n",
    }
    good = text(record("a", body='one,\n"two"\n\n'), record("b", body=""))
    end = text(head=record("c"))[:-2]
    data = b"\xef\xbb\xbf" + good + b"\r\n" + b"".join(bad.values()) + end
    profile, out = dumps(write(tmp_path / "c.csv.gz", data), csv=mapped(COMMENTS))
    assert profile["reasons"] == dict.fromkeys(bad, 1)
    assert (profile["lines"], profile["rows"], profile["blank"]) == (11, 3, 1)
    rejects = table(out, "rejects")
    for reject, line in zip(rejects, bad.values(), strict=True):
        assert data[reject["offset"] :].startswith(line)
    assert [reject["line"] for reject in rejects] == list(range(4, 11))
    heads = [reject["head"] for reject in rejects]
    assert heads[:2] == ["", ""]
    assert all('"author": "[masked]"' in head for head in heads[2:])
    assert "to u/[user]" in heads[4]
    found = {row["id"]: row for row in table(out)}
    assert [found[name]["line"] for name in "abc"] == [1, 2, 11]
    assert [found[name]["body"] for name in "abc"] == ['one,\n"two"\n\n', "", "text"]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1136074029", 1136074029),
        ("1136074029.0", 1136074029),
        ("2025-09-30 16:28:48+00:00", 1759249728),
        ("2025-09-30T16:28:48Z", 1759249728),
        ("2025-09-30 16:28:48 UTC", 1759249728),
        ("2025-09-30T18:28:48.999+02:00", 1759249728),
        ("2025-09-30 16:28:48", 1759249728),
        ("2025-09-30T16:28+0000", 1759249680),
        ("2025-09-30", None),
        ("2025-02-31 00:00:00", None),
        ("9/30/2025 16:28", None),
        ("1136074029.5", None),
        ("epoch", None),
        ("", None),
    ],
)
def test_a_time_is_epoch_seconds_or_iso_8601_and_nothing_is_guessed(tmp_path, written, seconds):
    data = text(record("a", timestamp=written), record("b"))
    profile, out = dumps(write(tmp_path / "c.csv.gz", data), csv=mapped(COMMENTS))
    found = {row["id"]: row["created_utc"] for row in table(out)}
    assert found.get("a") == seconds
    reasons = {} if seconds is not None else {"created_utc does not convert": 1}
    assert profile["reasons"] == reasons


def test_a_parent_without_a_prefix_is_the_post_if_it_is_the_link(tmp_path):
    parents = {"a": "100", "b": "zz", "c": "t1_zz", "d": "t3_100", "e": "", "f": "12"}
    records = [record(name, parentID=parent) for name, parent in parents.items()]
    records += [record("g", linkID="t3_100", parentID="100")]
    _, out = dumps(write(tmp_path / "c.csv.gz", text(*records)), csv=mapped(COMMENTS))
    found = {row["id"]: (row["parent_kind"], row["parent_id"]) for row in table(out)}
    post = ("post", "100")
    assert [found[name] for name in "adg"] == [post, post, post]
    assert [found[name] for name in "bcf"] == [("comment", i) for i in ("zz", "zz", "12")]
    assert found["e"] == (None, None)


def test_empty_cells_are_missing_values_and_other_columns_convert(tmp_path):
    head = [*HEAD, "read", "sub", "edited", "pinned", "adult"]
    extra = ("retrieved_on", "subreddit", "edited", "stickied", "over_18")
    columns = COMMENTS | dict(zip(extra, head[-5:], strict=True))
    data = text(
        [*record("a", score="", author=""), "", "", "", "", ""],
        [*record("b"), "2006-01-03T00:00:00Z", "u_Jane_Doe", "False", "True", "false"],
        [*record("c", score="many"), "late", "aww", "1136075000.0", "0", "1"],
        head=head,
    )
    profile, out = dumps(write(tmp_path / "c.csv.gz", data), csv=mapped(columns, subreddit="x"))
    assert profile["unconverted"] == {"score": 1, "parent_id": 0, "retrieved_on": 1}
    found = {row["id"]: row for row in table(out)}
    names = ("score", "author", "retrieved_on", "subreddit", "edited", "stickied", "over_18")
    assert [found["a"][name] for name in names] == [None, None, None, None, False, False, None]
    assert [found["b"][name] for name in names[4:]] == [False, True, False]
    assert (found["b"]["retrieved_on"], found["b"]["subreddit"][:2]) == (1136246400, "u_")
    assert "Jane" not in found["b"]["subreddit"]
    assert [found["c"][name] for name in names[4:]] == [True, False, True]


def test_constants_stand_in_for_columns_that_are_not_there(tmp_path):
    constants = {"subreddit": "aww", "retrieved_on": "2006-01-03T00:00:00"}
    data = text(record("a"))
    _, out = dumps(write(tmp_path / "c.csv.gz", data), csv=mapped(COMMENTS, **constants))
    row = table(out)[0]
    assert (row["subreddit"], row["retrieved_on"]) == ("aww", 1136246400)


def test_a_removed_author_leaves_a_count_and_no_text(tmp_path):
    removed = tmp_path / "removed.txt"
    removed.write_text("Jane_Doe\n")
    secret = "what jane said"
    data = text(record("a"), record("b", author="jane_doe", body=secret))
    data += b"9,jane_doe,what jane said\r\n"
    profile, out = dumps(write(tmp_path / "c.csv.gz", data), removed=removed, csv=mapped(COMMENTS))
    assert profile["reasons"] == {"removed": 1, "wrong number of fields": 1}
    assert all(secret.encode() not in path.read_bytes() for path in out.iterdir())


@pytest.mark.parametrize(
    ("data", "columns", "reason"),
    [
        (text(), {"id": "commentId", "score": "karma"}, "'commentId' .for id., one 'karma' .for"),
        (text(), {"id": "commentId"}, "its columns are '', 'linkID', 'commentID', 'author'"),
        (text(head=[*HEAD, "body"]), {}, "exactly one column 'body' .for body."),
        (b"\n", {}, "exactly one column 'commentID'"),
        (text(record("a")) + b'1,"2', {}, r"begins at byte 99 has a quoted field that does not"),
        (text(record("a")) + b'1,"2' + b"x\n" * (9 << 20), {}, r"\(or not within 16 MiB\)"),
        (text(), {}, "none of its 0 lines could be used"),
    ],
)
def test_a_map_or_file_that_does_not_fit_is_one_clear_error(tmp_path, data, columns, reason):
    file = write(tmp_path / "c.csv.gz", data)
    with pytest.raises(InputError, match=rf"c.csv.gz: .*{reason}"):
        dumps(file, csv=mapped(COMMENTS | columns))


def test_a_long_quoted_field_that_comes_in_small_blocks_is_read(tmp_path):
    body = 'say "so", ' * 400_000
    data = text(record("a", body=body), record("b"))
    profile, out = dumps(write(tmp_path / "c.csv.bz2", data), csv=mapped(COMMENTS))
    assert profile["rows"] == 2
    assert {row["id"]: row["body"] for row in table(out)}["a"] == body


def test_the_same_file_gives_the_same_bytes(tmp_path):
    data = text(*(record(f"a{n}", linkID=f"{n % 7}") for n in range(50)), ["oops"])
    folders = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        file = write(tmp_path / name / "c.csv.gz", data)
        folders.append(dumps(file, csv=mapped(COMMENTS))[1])
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes()


def configs(monkeypatch, *settings: str) -> dict[str, dict[str, Any]]:
    monkeypatch.setenv("KARMA_SALT", "pepper")
    made = build("smoke", load(SMOKE, list(settings)))
    return {name: node.config for name, node in made.nodes.items() if node.stage == "dumps"}


def test_only_the_map_of_a_csv_files_kind_enters_its_key(monkeypatch):
    files = ("dumps.comments=[a.csv.zst, RC.zst]", "dumps.submissions=b.tsv")
    maps = (
        f"dumps.csv.comments={json.dumps(COMMENTS)}",
        f"dumps.csv.submissions={json.dumps(POSTS)}",
        "dumps.csv.constants={subreddit: aww, retrieved_on: 2025-10-01}",
    )
    before = configs(monkeypatch, *files, *maps)
    constants = {"subreddit": "aww", "retrieved_on": "2025-10-01T00:00:00"}
    assert before["dumps/a.csv.zst"]["csv"] == mapped(COMMENTS, **constants)
    assert before["dumps/b.tsv"]["csv"] == mapped(POSTS, **constants)
    assert "csv" not in str(before["dumps/RC.zst"])
    after = configs(monkeypatch, *files, *maps, "dumps.csv.comments.score=karma")
    assert [name for name in before if before[name] != after[name]] == ["dumps/a.csv.zst"]


def test_a_csv_file_without_a_map_is_refused_with_the_way_out(monkeypatch):
    with pytest.raises(RecipeError, match=r"dumps.csv.comments: it is missing, and a.csv.xz is"):
        configs(monkeypatch, "dumps.comments=a.csv.xz")
    with pytest.raises(RecipeError, match=r"dumps.csv.comments.bdy is no known key; .* body\?"):
        configs(monkeypatch, "dumps.csv.comments={bdy: text}")
