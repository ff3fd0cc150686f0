"""Stage ``dumps`` takes a JSON array: its elements are cut as they come, and counted like lines."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karma.dumps.scanner import Element, elements
from karma.errors import InputError
from tests.test_dumps import PACK, REDDIT, comment, dumps, lines, needs_reddit, table, write

FILE = Path("thread.json")
# What a scanner that counts brackets and quotes can trip over.
NASTY = st.text(st.sampled_from('"\\[]{},: \nn\té\N{GRINNING FACE}'), max_size=12)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | NASTY,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(NASTY, below, max_size=4),
    max_leaves=12,
)
STYLES = st.sampled_from(
    [{"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}, {"indent": "\t"}]
)


def cut(data: bytes, step: int) -> list[bytes]:
    return [data[start : start + step] for start in range(0, len(data), step)]


def found(data: bytes, step: int = 7, **options: Any) -> list[Element]:
    return list(elements(FILE, cut(data, step), **options))


@given(st.lists(DOCUMENTS, max_size=8), STYLES, st.integers(1, 40), st.booleans())
def test_the_elements_of_an_array_are_those_that_json_loads(documents, style, step, mark):
    data = b"\xef\xbb\xbf" * mark + b" \n" + json.dumps(documents, **style).encode() + b"\r\n"
    pieces = found(data, step)
    assert [json.loads(piece.text) for piece in pieces] == documents
    assert all(data[piece.offset :].startswith(piece.text) for piece in pieces)


@given(st.dictionaries(NASTY, DOCUMENTS, max_size=6), STYLES, st.integers(1, 40))
def test_the_members_of_an_object_are_those_that_json_loads(document, style, step):
    members = found(json.dumps(document, **style).encode(), step, opening=b"{")
    parsed = [json.loads(b"{%s}" % member.text) for member in members]
    assert {name: value for one in parsed for name, value in one.items()} == document


@given(st.lists(DOCUMENTS, min_size=1, max_size=6), STYLES, st.integers(1, 40), st.integers(1, 30))
def test_an_element_that_is_too_long_is_told_and_not_kept(documents, style, step, longest):
    data = json.dumps(documents, **style).encode()
    whole, pieces = found(data), found(data, step, longest=longest)
    assert [piece.text for piece in pieces] == [p.text for p in found(data, longest=longest)]
    for piece, full in zip(pieces, whole, strict=True):
        assert piece.offset == full.offset
        assert piece.text in (full.text, None)
        assert piece.text is None or len(full.text) <= longest
        assert full.text.startswith(piece.head)


@given(st.lists(DOCUMENTS, max_size=4), STYLES, st.integers(1, 40), st.data())
def test_an_array_that_was_cut_anywhere_is_refused(documents, style, step, data):
    whole = json.dumps(documents, **style).encode()
    end = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(InputError, match=rf"the JSON array ends early, at byte {end}:"):
        found(whole[:end], step)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'[{"a": 1}] [2]', "more follows after its JSON array, at byte 11"),
        (b"[1, 2}", "its JSON array is closed by }, at byte 5"),
        (b'{"a": 1}', "it does not begin like a JSON array"),
    ],
)
def test_what_is_no_single_array_is_refused(data, reason):
    with pytest.raises(InputError, match=reason):
        found(data)


def test_an_empty_array_has_no_elements_and_a_comma_too_many_makes_a_blank_one():
    assert found(b" [ \n ] ") == []
    assert [element.text for element in found(b"[1,]")] == [b"1", b""]


@needs_reddit
def test_a_real_thread_whose_numbers_are_strings_is_read(tmp_path):
    file = tmp_path / "thread.json"
    file.write_bytes((REDDIT / "all_strings_thread.json").read_bytes())
    profile, out = dumps(file)
    assert (profile["lines"], profile["rows"], profile["rejected"]) == (13, 13, 0)
    wanted = {row["id"]: row for row in json.loads(file.read_bytes())}
    for row in table(out):
        assert row["body"] == wanted[row["id"]]["body"]
        assert row["score"] == int(wanted[row["id"]]["score"])
        assert row["created_utc"] == int(wanted[row["id"]]["created_utc"])


@pytest.mark.parametrize("suffix", PACK)
def test_an_array_gives_the_rows_that_json_lines_give(tmp_path, suffix):
    rows = [comment(f"a{n}", body='odd \\"\n[{,') for n in range(100)]
    one, other = tmp_path / f"array{suffix}", tmp_path / f"lines{suffix}"
    _, array = dumps(write(one, json.dumps(rows, indent=1).encode()))
    _, plain = dumps(write(other, lines(*rows)))
    for name in ("comments.parquet", "rejects.parquet", "metrics.json"):
        assert (array / name).read_bytes() == (plain / name).read_bytes()


def test_bad_elements_are_set_aside_with_place_and_reason(tmp_path):
    good = [json.dumps(comment(name), indent=1).encode() for name in "ab"]
    bad = {
        "not an object": b'["Jane", {"a": 1}]',
        "not JSON": b'{"id": "x", "author": "Jane_Doe"} {}',
        "NUL byte": b'{"id": "x\0"}',
        "not UTF-8": b'{"id": "\xff\xfe"}',
        "not strict JSON": b'{"id": "\\ud800", "body": "", "link_id": "t3_1"}',
        "no body": json.dumps(comment("x", body=None), indent=1).encode(),
        "line too long": b'{"body": "' + b"x" * (17 << 20) + b'"}',
    }
    # A raw line break in a string is no JSON either.
    broken = b'{"id": "x", "author": "Jane_Doe", "body": "one\ntwo"}'
    data = b"[" + b" ,\n ".join([good[0], b"", *bad.values(), b"null", broken, good[1]]) + b",]\n"
    profile, out = dumps(write(tmp_path / "thread.zst", data))
    counts = dict.fromkeys(bad, 1) | {"not an object": 2, "not JSON": 2}
    assert profile["reasons"] == counts
    assert (profile["lines"], profile["rows"], profile["blank"]) == (13, 2, 2)
    rejects = table(out, "rejects")
    for reject, text in zip(rejects, [*bad.values(), b"null", broken], strict=True):
        assert data[reject["offset"] :].startswith(text)
    assert [reject["line"] for reject in rejects] == list(range(3, 12))
    assert [row["line"] for row in table(out)] == [1, 12]
    assert "jane" not in "".join(reject["head"] for reject in rejects[1:]).lower()


def test_an_array_that_was_cut_short_is_refused_by_name(tmp_path):
    whole = json.dumps([comment(f"a{n}") for n in range(50)]).encode()
    file = tmp_path / "thread.json"
    file.write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(InputError, match=r"thread.json: the JSON array ends early, at byte \d+"):
        dumps(file)
    assert not (tmp_path / "thread.json.out" / "comments.parquet").exists()
