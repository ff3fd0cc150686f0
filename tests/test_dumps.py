"""Stage ``dumps``: every line of a dump is used, blank, or set aside with its reason."""

import bz2
import gzip
import hashlib
import hmac
import json
import lzma
from collections import Counter
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from karma import sql
from karma.dumps import decode, formats, ingest, job, privacy, rows
from karma.dumps.batches import batches
from karma.dumps.job import run
from karma.dumps.lines import Chunk, LongLine, chunks
from karma.errors import InputError, RecipeError
from karma.inputs import dump_nodes
from karma.jobs import Job
from karma.recipe import load
from tests.filled import SMOKE

REDDIT = Path(__file__).parents[2] / "shared" / "data" / "reddit"
needs_reddit = pytest.mark.skipif(not REDDIT.exists(), reason="the real dumps are not here")
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    ".bz2": bz2.compress,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".ndjson": lambda data: data,
}


def comment(name: str, **changes: Any) -> dict[str, Any]:
    """A comment as Pushshift writes it."""
    row = {
        "id": name,
        "link_id": "t3_100",
        "parent_id": "t3_100",
        "author": "Somebody",
        "subreddit": "aww",
        "body": f"text of {name}",
        "score": 3,
        "created_utc": 1136074029,
        "retrieved_on": 1136274029,
        "edited": False,
        "stickied": False,
        "distinguished": None,
    }
    return row | changes


def lines(*rows: dict[str, Any] | bytes) -> bytes:
    """Rows as JSON lines; bytes stand as they are."""
    return b"".join(
        (row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows
    )


def dumps(path: Path, kind: str = "comments", **options: Any) -> tuple[dict[str, Any], Path]:
    """Run the stage on ``path``; returns its profile and its folder."""
    out = path.with_name(path.name + ".out")
    out.mkdir()
    inputs = {"file": path} | {role: options.pop(role) for role in ("removed",) if role in options}
    config = {"dumps": {}, "name": path.name, "kind": kind, "width": 1000, "simulated": True}
    config |= options
    run(Job(config, inputs, out, path.with_name(path.name + ".scratch")))
    profile = json.loads((out / "profile.json").read_text())
    assert profile["lines"] == profile["rows"] + profile["rejected"] + profile["blank"]
    return profile, out


def table(out: Path, name: str = "comments") -> list[dict[str, Any]]:
    return pq.read_table(out / f"{name}.parquet").to_pylist()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(PACK[path.suffix](data))
    return path


@needs_reddit
def test_a_real_month_is_accounted_for_to_the_last_line(tmp_path):
    month = tmp_path / "RC_2006-01.zst"
    month.write_bytes((REDDIT / "RC_2006-01.zst").read_bytes())
    profile, out = dumps(month, width=200_000)
    assert (profile["lines"], profile["rows"], profile["rejected"]) == (3666, 3666, 0)
    rows = table(out)
    assert sum(row["author_deleted"] for row in rows) == 893
    assert len({row["thread_id"] for row in rows}) == 1173
    assert sum("\r\n" in row["body"] for row in rows) == 1159
    posts = tmp_path / "RS_2006-01.bz2"
    posts.write_bytes((REDDIT / "RS_2006-01.bz2").read_bytes())
    profile, out = dumps(posts, "submissions")
    assert (profile["lines"], profile["rows"]) == (145, 145)
    assert all(isinstance(row["created_utc"], int) for row in table(out, "submissions"))


@needs_reddit
@pytest.mark.parametrize(("kind", "rows"), [("comments", 27), ("submissions", 31)])
def test_rows_whose_types_drifted_over_the_years_convert(tmp_path, kind, rows):
    file = tmp_path / "mixed.ndjson"
    file.write_bytes((REDDIT / f"mixed_types_{kind}.ndjson").read_bytes())
    profile, out = dumps(file, kind)
    assert profile["rows"] == rows
    assert profile["unconverted"] == {"score": 0, "parent_id": 0, "retrieved_on": 0}
    assert sum(row["retrieved_2nd_on"] is not None for row in table(out, kind)) in {9, 10}


@pytest.mark.parametrize("suffix", PACK)
def test_every_format_gives_the_same_rows(tmp_path, suffix):
    data = lines(*(comment(f"a{n}") for n in range(100)))
    profile, out = dumps(write(tmp_path / f"RC{suffix}", data))
    assert profile["rows"] == 100
    assert sorted(row["id"] for row in table(out)) == sorted(f"a{n}" for n in range(100))


@pytest.mark.parametrize("suffix", [".zst", ".bz2", ".gz", ".xz"])
def test_several_frames_in_one_file_are_all_read(tmp_path, suffix):
    pack = PACK[suffix]
    file = tmp_path / f"RC{suffix}"
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00note" if suffix == ".zst" else b""
    file.write_bytes(skippable + pack(lines(comment("a"))) + pack(lines(comment("b"))[:-1]))
    assert dumps(file)[0]["rows"] == 2


@pytest.mark.parametrize("suffix", [".zst", ".bz2", ".gz", ".xz"])
def test_a_file_that_was_cut_or_damaged_is_refused(tmp_path, suffix):
    words = [hashlib.sha256(bytes([n % 251, n // 251])).hexdigest() for n in range(4000)]
    data = lines(*(comment(f"a{n}", body=word) for n, word in enumerate(words)))
    whole = PACK[suffix](data)
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(InputError, match=r"cut\S+: .*at byte \d+: the file is cut short"):
        dumps(cut)
    flipped = tmp_path / f"flipped{suffix}"
    middle = len(whole) // 2
    flipped.write_bytes(whole[:middle] + bytes([whole[middle] ^ 0x10]) + whole[middle + 1 :])
    with pytest.raises(InputError, match=r"flipped\S+: damaged .* at or after byte \d+ of \d+"):
        dumps(flipped)
    assert not list(tmp_path.glob("*.out/comments.parquet"))


def test_bad_lines_are_set_aside_with_place_and_reason(tmp_path):
    bad = {
        "not JSON": b'{"id": "x", "author": "Jane_Doe", "body": "to u/joe or joe@x.org',
        "NUL byte": b'{"id": "x\0"}',
        "not UTF-8": b'{"id": "\xff\xfe"}',
        "not an object": b"[1, 2]",
        "not strict JSON": b'{"id": "\\ud800", "body": "", "link_id": "t3_1"}',
        "not a comment": lines({"id": "x", "title": "a submission"})[:-1],
        "no id": lines(comment(""))[:-1],
        "no link_id": lines(comment("x", link_id=None))[:-1],
        "no body": lines(comment("x", body=None))[:-1],
        "created_utc does not convert": lines(comment("x", created_utc="1136074029.5"))[:-1],
    }
    data = lines(comment("a"), b"", *bad.values(), b"  \r", comment("b")) + b'{"cut'
    profile, out = dumps(write(tmp_path / "RC.zst", data))
    assert (profile["rows"], profile["blank"], profile["rejected"]) == (2, 2, len(bad) + 1)
    assert profile["reasons"] == dict.fromkeys(bad, 1) | {"not JSON": 2}
    rejects = table(out, "rejects")
    for reject, (reason, line) in zip(rejects, bad.items(), strict=False):
        assert reject["reason"] == reason
        assert data[reject["offset"] :].startswith(line)
        assert data.count(b"\n", 0, reject["offset"]) == reject["line"] - 1
    assert rejects[0]["head"] == '{"id": "x", "author": "[masked]", "body": "to u/[user] or [email]'
    assert [row["line"] for row in table(out)] == [1, 14]


def test_a_byte_order_mark_costs_no_line(tmp_path):
    data = b"\xef\xbb\xbf" + lines(comment("a"), b"oops", comment("b"))
    profile, out = dumps(write(tmp_path / "RC.zst", data))
    assert (profile["lines"], profile["rows"], profile["rejected"]) == (3, 2, 1)
    reject = table(out, "rejects")[0]
    assert (reject["line"], reject["offset"]) == (2, data.index(b"oops"))
    profile, out = dumps(write(tmp_path / "bad.ndjson", b"\xef\xbb\xbf{oops\n" + data[3:]))
    assert table(out, "rejects")[0]["offset"] == 3


def test_what_becomes_of_a_line_does_not_depend_on_its_neighbours(tmp_path, monkeypatch):
    whole = json.dumps(comment("x")).encode()
    around = [b" ", b"\r", b"\v", b"\f", b"\0", b"\xff", b"\xef\xbb\xbf", b",", b"x", b"null"]
    within = [
        b'"a": NaN', b'"a": 1e999', b'"a": 01', b'"a": 1,', b'"a": "\\ud800"', b'"a": "\t"',
        b'"a": "\0"', b'"a": "\xed\xa0\x80"', b'"id": "twice"',
        b'"a": ' + b"[" * 2000 + b"]" * 2000,
        b'"score": 1e999', b'"score": NaN', b'"score": "\\ud800"', b'"score": [1,]', b'"score": {}',
    ]  # fmt: skip
    data = b"\n".join(
        [
            *(whole, whole[1:], b"[]", b"1", b"{}", b""),
            *(line for sign in around for line in (sign, sign + whole, whole + sign)),
            *(whole[:-1] + b", " + field + b"}" for field in within),
        ]
    )
    found = []
    for name in ("together", "alone"):
        (tmp_path / name).mkdir()
        profile, out = dumps(write(tmp_path / name / "RC.zst", data))
        found.append([profile, table(out), table(out, "rejects")])
        monkeypatch.setattr(formats, "chunks", partial(chunks, size=1))
        monkeypatch.setattr(job, "batches", partial(batches, size=1))
    assert found[0] == found[1]
    reasons = {"not JSON", "not strict JSON", "NUL byte", "not UTF-8", "not an object"}
    assert found[0][0]["reasons"].keys() == reasons | {"not a comment"}


def test_a_line_of_40_megabytes_is_set_aside(tmp_path):
    huge = b'{"id": "x", "body": "' + b"x" * (40 << 20) + b'"}'
    data = lines(comment("a"), huge, comment("b"))
    profile, out = dumps(write(tmp_path / "RC.zst", data))
    assert profile["reasons"] == {"line too long": 1}
    assert profile["rows"] == 2
    reject = table(out, "rejects")[0]
    assert (reject["line"], len(reject["head"])) == (2, 4096)
    assert data[reject["offset"] :].startswith(huge[:30])


@given(
    st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"x")), max_size=30),
    st.integers(1, 50),
)
def test_chunks_hold_every_line_once_at_its_offset(parts, step):
    data = b"\n".join(parts)
    blocks = [data[start : start + step] for start in range(0, len(data), step)]
    expected, offset = [], 0
    for line in data.split(b"\n")[: None if data[-1:] not in (b"\n", b"") else -1]:
        expected.append((len(expected) + 1, offset, len(line) > 24, line))
        offset += len(line) + 1
    found = []
    for piece in chunks(blocks, size=16, longest=24):
        if isinstance(piece, LongLine):
            found.append((piece.line, piece.offset, True, piece.head))
            continue
        assert isinstance(piece, Chunk)
        start = piece.offset
        for number, line in enumerate(
            b"".join(piece.parts).removesuffix(b"\n").split(b"\n"), piece.line
        ):
            found.append((number, start, False, line))
            start += len(line) + 1
    # Of a long line only a beginning is kept.
    assert [row[:3] for row in found] == [row[:3] for row in expected]
    assert all(whole[3].startswith(got[3]) for got, whole in zip(found, expected, strict=True))
    assert all(got[3] == whole[3] for got, whole in zip(found, expected, strict=True) if not got[2])


def test_names_leave_only_as_keyed_hashes(tmp_path, monkeypatch):
    file = write(
        tmp_path / "RC.zst",
        lines(
            comment("a", author="Jane_Doe"),
            comment("b", author="AutoModerator"),
            comment("c", author="[deleted]"),
            comment("d", author=None, subreddit="u_Jane_Doe"),
        ),
    )
    monkeypatch.delenv("KARMA_SALT", raising=False)
    with pytest.raises(InputError, match=r"KARMA_SALT: it is not set.*export KARMA_SALT"):
        dumps(file, simulated=False)
    monkeypatch.setenv("KARMA_SALT", "pepper" * 20)
    (tmp_path / "RC.zst.out").rmdir()
    _, out = dumps(file, simulated=False)
    rows = {row["id"]: row for row in table(out)}
    jane = hmac.new(b"pepper" * 20, b"jane_doe", "sha256").hexdigest()[:32]
    assert rows["a"]["author"] == jane
    assert [rows[name]["author"] for name in "cd"] == ["[deleted]", None]
    assert rows["d"]["subreddit"] == f"u_{jane}"
    assert [rows[name]["bot"] for name in "abcd"] == [False, True, False, False]
    assert [rows[name]["author_deleted"] for name in "abcd"] == [False, False, True, True]
    assert b"jane_doe" not in b"".join(path.read_bytes() for path in out.iterdir()).lower()


def test_a_removed_author_leaves_a_count_and_no_text(tmp_path):
    removed = tmp_path / "removed.txt"
    removed.write_text("# who asked\nu/Jane_Doe\n")
    secret = "what jane said"
    data = lines(
        comment("a"),
        comment("b", author="jane_doe", body=secret),
        b'{"author": "Jane_Doe", "body": "what jane said"',
        b'{"body": "what jane said", "x": "' + b"x" * 5000 + b'", "author": "Jane\\u005fDoe"',
        b'{"body": "what jane said", "x": "' + b"x" * (17 << 20) + b'"}',
    )
    profile, out = dumps(write(tmp_path / "RC.zst", data), removed=removed)
    assert profile["reasons"] == {"removed": 1, "not JSON": 2, "line too long": 1}
    assert [row["head"] for row in table(out, "rejects")] == [""] * 4
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.suffix != ".zst":
            assert secret.encode() not in path.read_bytes()


def test_optional_values_that_do_not_convert_are_null_and_counted(tmp_path):
    data = lines(
        comment("a", score=None, parent_id=None, retrieved_on=None),
        comment("b", score="many", parent_id="?", retrieved_on=1.5),
        comment("c", score="-7", parent_id=int("100", 36), created_utc="1136074029.0"),
        comment("d", score=2.0, parent_id=int("zz", 36), edited=1136075000.0),
    )
    profile, out = dumps(write(tmp_path / "RC.zst", data))
    assert profile["unconverted"] == {"score": 1, "parent_id": 1, "retrieved_on": 1}
    rows = {row["id"]: row for row in table(out)}
    assert [rows[name]["score"] for name in "abcd"] == [None, None, -7, 2]
    assert [rows[name]["parent_kind"] for name in "abcd"] == [None, None, "post", "comment"]
    assert [rows[name]["parent_id"] for name in "abcd"] == [None, None, "100", "zz"]
    assert [rows[name]["edited"] for name in "abcd"] == [False, False, False, True]


def test_a_row_falls_into_the_range_of_its_thread(tmp_path):
    ids = {"a": "t3_rr", "b": "t3_rs", "c": "t3_NO-36", "d": "t3_zzzzzzz"}
    data = lines(*(comment(name, link_id=link) for name, link in ids.items()))
    profile, out = dumps(write(tmp_path / "RC.zst", data))
    assert (int("rr", 36), int("rs", 36)) == (999, 1000)
    high = int("zzzzzzz", 36) // 1000 * 1000
    names = {"a": "0-1000", "b": "1000-2000", "c": "m2006-01", "d": f"{high}-{high + 1000}"}
    assert {row["id"]: row["thread_range"] for row in table(out)} == names
    assert profile["ranges"] == dict.fromkeys(names.values(), 1)


def test_numbers_that_no_dump_means_are_unknown_and_end_nothing(tmp_path):
    huge = 1_700_000_000_000_000
    data = lines(
        comment("a"),
        {"id": "c1", "created_utc": huge, "parent_id": "t3_abc", "body": "x"},
        comment("b", link_id="t3_NO-36", created_utc=huge),
        comment("c", score=2**62, retrieved_on=-(2**63)),
        comment("d", _meta={"retrieved_2nd_on": huge}),
        *(comment("e", _meta={"retrieved_2nd_on": value}) for value in (1.5, "x", -1, [])),
        *(comment("f", _meta=meta) for meta in ({"retrieved_2nd_on": None, "x": 1}, {}, None)),
    )
    profile, out = dumps(write(tmp_path / "RC.zst", data))
    assert profile["reasons"] == {"no link_id": 1, "created_utc does not convert": 1}
    assert profile["unconverted"] == {"score": 1, "parent_id": 0, "retrieved_on": 6}
    rows = {row["id"]: row for row in table(out)}
    assert (rows["c"]["score"], rows["c"]["retrieved_on"]) == (None, None)
    assert rows["d"]["retrieved_2nd_on"] is None


def test_a_dump_tells_its_first_and_last_month_but_no_stray_ones(tmp_path):
    times = [1136074029] * 200 + [1138838400] * 3 + [1262304000]
    data = lines(*(comment(f"a{n}", created_utc=time) for n, time in enumerate(times)))
    profile, _ = dumps(write(tmp_path / "RC.zst", data))
    assert profile["months"] == ["2006-01", "2006-02"]


@pytest.mark.parametrize(
    ("months", "held"),
    [
        ({"2010-11": 20, "2010-12": 40, "2011-01": 9000, "2011-02": 80}, ["2010-11", "2011-02"]),
        ({"1970-01": 20, "2010-12": 9000, "2011-02": 80, "2012-01": 90}, ["2010-12", "2012-01"]),
        ({"2009-01": 50, "2009-02": 50, "2010-12": 9000, "9999-12": 89}, ["2009-01", "2010-12"]),
    ],
)
def test_a_month_is_stray_if_it_is_small_and_stands_apart(months, held):
    first = date(1970, 1, 1)
    days = {(date.fromisoformat(f"{m}-15") - first).days: rows for m, rows in months.items()}
    assert job._months(Counter(days)) == held


@pytest.mark.parametrize("suffix", [".bz2", ".gz", ".xz", ".zst"])
def test_a_small_file_does_not_fill_the_memory(tmp_path, suffix):
    size = 40 << 20
    file = write(tmp_path / f"RC{suffix}", b"x" * size)
    blocks = [len(block) for _, block in decode.blocks(file)]
    assert sum(blocks) == size
    assert max(blocks) <= 8 << 20


def test_zstd_data_are_bounded_wherever_they_begin_to_swell_and_frames_may_be_empty(tmp_path):
    text = hashlib.shake_256(b"noise").digest(300_000)
    parts = [text + b"x" * (40 << 20) + text, b"", text]
    note = b"\x50\x2a\x4d\x18" + (300_000).to_bytes(4, "little") + text
    file = tmp_path / "RC.zst"
    file.write_bytes(b"".join(note + PACK[".zst"](part) for part in parts))
    blocks = [block for _, block in decode.blocks(file)]
    assert b"".join(blocks) == b"".join(parts)
    assert max(map(len, blocks)) <= 8 << 20


def test_lines_that_python_alone_takes_are_found_in_one_statement(tmp_path, monkeypatch):
    asked = []
    find = ingest._refused
    monkeypatch.setattr(ingest, "_refused", lambda *given: asked.append(1) or find(*given))
    bad = b'{"id": "\\ud800", "body": "", "link_id": "t3_1"}'
    rows = (bad if n % 10 == 0 else comment(f"a{n}") for n in range(200))
    profile, _ = dumps(write(tmp_path / "RC.zst", lines(*rows)))
    assert profile["reasons"] == {"not strict JSON": 20}
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("RC.zst", None, "there is no such file"),
        ("RC.zst", b"", "the file is empty"),
        ("RC.zst", b"\x89PNG\r\n\x1a\n", "does not begin like zstd data"),
        ("RC.png", b"\x89PNG\r\n\x1a\n\0\0\n", "is no Reddit dump of comments"),
        ("RC.json", b'{"a": 1}\n{"b": 2}\n', r"none of its 2 lines .*not a comment: 2"),
        ("RC.json", b"\n\n", "all are blank"),
    ],
)
def test_what_is_no_dump_is_refused_by_name(tmp_path, name, data, reason):
    file = tmp_path / name
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(InputError, match=f"{name}.*{reason}"):
        dumps(file)


@pytest.mark.parametrize(("size", "count", "parsers"), [(1, 1, 1), (700, 99, 3), (9999, 5, 2)])
def test_the_same_file_gives_the_same_bytes_however_it_is_cut(
    tmp_path, monkeypatch, size, count, parsers
):
    rows = (comment(f"a{n}", link_id=f"t3_{n % 7}00", score=[None, n][n % 2]) for n in range(300))
    data = lines(*rows, b"oops", comment("z"), b"", comment("y"))
    folders = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        folders.append(dumps(write(tmp_path / name / "RC.zst", data))[1])
        monkeypatch.setattr(job, "batches", partial(batches, size=size, lines=count))
        monkeypatch.setattr(job, "PARSERS", parsers)
        monkeypatch.setattr(formats, "chunks", partial(chunks, size=size))
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes()


def test_row_groups_end_where_the_rows_say_and_not_the_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "STEP", 8)
    monkeypatch.setattr(rows, "WAITING", 4000)
    monkeypatch.setattr(rows, "GROUP", 900)
    whole = pa.table(
        {
            "thread_range": [f"{n % 3}" for n in range(100)],
            "created_utc": range(100),
            "body": [None if n < 40 else "x" * n for n in range(100)],
        }
    )
    for name, cut in (("one", 100), ("two", 7), ("three", 33)):
        with rows.RowWriter(tmp_path / name) as writer:
            for start in range(0, 100, cut):
                writer.add(whole.slice(start, cut))
    assert 3 < pq.ParquetFile(tmp_path / "one").num_row_groups < 100 * 200 // 900
    assert len({(tmp_path / name).read_bytes() for name in ("one", "two", "three")}) == 1


def test_hundreds_of_ranges_share_row_groups_that_a_reader_can_skip(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "WAITING", 200_000)
    monkeypatch.setattr(rows, "GROUP", 50_000)
    names = [f"{n % 500:03}" for n in range(5000)]
    with rows.RowWriter(tmp_path / "rows") as writer:
        writer.add(pa.table({"thread_range": names, "created_utc": range(5000)}))
    file = pq.ParquetFile(tmp_path / "rows")
    assert file.num_row_groups <= 5000 * 103 // 50_000 + 1
    groups = [file.metadata.row_group(n).column(0).statistics for n in range(file.num_row_groups)]
    holding = [group for group in groups if group.min <= "250" <= group.max]
    assert 0 < len(holding) < len(groups) / 2
    assert sorted(file.read()["created_utc"].to_pylist()) == list(range(5000))


def test_what_a_killed_run_left_is_not_read(tmp_path):
    file = write(tmp_path / "RC.zst", lines(comment("a")))
    scratch = tmp_path / "RC.zst.scratch"
    scratch.mkdir()
    (scratch / "1.ndjson").write_bytes(lines(comment("b")))
    _, out = dumps(file)
    assert [row["id"] for row in table(out)] == ["a"]
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("ask /u/Some-User_1, u/x1y or hu/manity", "ask /u/[user], u/[user] or hu/manity"),
        ("foo.bar@example.org!", "[email]!"),
        ("call +1 (555) 010-4477 or 555-010-4477.", "call [phone] or [phone]."),
        ("in 2006 it was 1,000,000 or 3.14159265", "in 2006 it was 1,000,000 or 3.14159265"),
        ("https://www.reddit.com/user/spez/", "https://www.reddit.com/user/[user]/"),
        ("/user/spez r/user/x", "/user/[user] r/user/x"),
        ("u/some\\_guy\\_x, u/a\\_bcd", "u/[user], u/[user]"),
        ("as /user/spez said, [he](/user/spez)", "as /user/[user] said, [he](/user/[user])"),
        ('"permalink":"/user/spez/comments/x"', '"permalink":"/user/[user]/comments/x"'),
        *(
            (text, text)
            for text in (
                "an end-user/customer and the user/developer relationship",
                "the multi-user/single-user split",
                "in /home/user/projects/foo or ~/user/projects",
                "https://github.com/user/repo",
            )
        ),
    ],
)
def test_mentions_addresses_and_numbers_are_masked(text, masked):
    assert privacy.masked(text) == masked
    connection = duckdb.connect()
    connection.execute(sql.statement("threads/masked"))
    masks = [part for mask in privacy.MASKS.values() for part in (mask.pattern, mask.replacement)]
    query = "SELECT masked($1, $2, $3, $4, $5, $6, $7)"
    assert connection.execute(query, [text, *masks]).fetchall() == [(masked,)]


@pytest.mark.parametrize(
    "line",
    [
        '{"body": "thanks\\nu/spez',
        '{"body": "thanks\\u2014u\\/spez',
        '{"permalink": "/user/spez/comments/x',
        '{"link_author": "spez", "approved_by": "spez',
        '{"body": "\\u0075/spez or u/spez\\\\_x',
    ],
)
def test_a_rejected_line_shows_no_name_however_it_is_escaped(line):
    assert "spez" not in privacy.masked_head(line.encode(), frozenset(), 99)
    number = privacy.masked_head(b'{"body": "\\n555-123-4567 \\"', frozenset(), 99)
    assert number == '{"body": "\n[phone] \\"'


def test_of_a_rejected_line_whole_pairs_of_escapes_are_one_sign_and_halves_are_none():
    line = rb'{"body": "\ud83d\ude00 \ud83d! \ude00 \ud83d'
    told = '{"body": "\N{GRINNING FACE} \ufffd! \ufffd \ufffd'
    assert privacy.masked_head(line, frozenset(), 99) == told


def test_a_dumps_name_depends_on_neither_the_spelling_of_its_path_nor_the_order(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("KARMA_SALT", "x")
    monkeypatch.chdir(tmp_path)
    for folder in ("d1", "d2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "RC 1.ndjson").write_text("{}")
        (tmp_path / folder / "RC_1.ndjson").write_text("{}")

    def named(*paths: str) -> set[str]:
        listed = ", ".join(f'"{path}"' for path in paths)
        recipe = load(SMOKE, [f"dumps.comments=[{listed}]", "dumps.submissions=null"])
        return {node.id for node in dump_nodes(recipe) if node.stage == "dumps"}

    assert named("d1/RC_1.ndjson") == {"dumps/RC_1.ndjson"}
    assert named("d1/RC 1.ndjson") == named(f"{tmp_path}/d1/RC 1.ndjson")
    both = named("d1/RC_1.ndjson", "d2/RC_1.ndjson")
    assert len(both) == 2
    assert both == named(f"{tmp_path}/d2/RC_1.ndjson", "d1/RC_1.ndjson")


def test_a_dump_that_is_named_twice_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("KARMA_SALT", "pepper")
    write(tmp_path / "RC_2006-01.zst", lines(comment("a")))
    names = f"[{tmp_path}/RC_*.zst, {tmp_path}/RC_2006-01.zst]"
    recipe = load(SMOKE, [f"dumps.comments={names}", "dumps.submissions=null"])
    with pytest.raises(RecipeError, match=r"RC_2006-01\.zst: it is named 2 times"):
        dump_nodes(recipe)
