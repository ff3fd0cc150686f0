"""Dumps that are still being written are left for the next scheduled run."""

import os
import time
from pathlib import Path

import pytest
import zstandard

from karma.dumps.whole import MOMENT, unfinished
from karma.errors import InputError
from karma.recipe import load
from karma.settle import settle
from tests.filled import SMOKE

LINES = b"".join(b'{"id": "%d", "body": "some words of a comment"}\n' % n for n in range(50_000))


def written(path: Path, data: bytes, ago: float = 2 * MOMENT) -> Path:
    path.write_bytes(data)
    then = time.time() - ago
    os.utime(path, (then, then))
    return path


def frame(data: bytes, *, checksum: bool = False, known: bool = True) -> bytes:
    made = zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=known)
    if known:
        return made.compress(data)
    stream = made.compressobj()
    return stream.compress(data) + stream.flush()


def test_a_file_written_to_a_moment_ago_is_unfinished_whatever_it_holds(tmp_path):
    told = unfinished(written(tmp_path / "a.zst", frame(LINES), ago=1))
    assert told is not None
    assert "written to 1 s ago" in told


@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_a_zstd_file_is_finished_where_its_last_frame_ends_and_nowhere_before(
    tmp_path, checksum, known
):
    first = frame(LINES, checksum=checksum, known=known)
    skippable = (0x184D2A50).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    whole = first + skippable + frame(b"a" * 300_000, checksum=checksum, known=known) + frame(b"")
    assert unfinished(written(tmp_path / "whole.zst", whole)) is None
    ends = (len(first), len(first) + len(skippable))
    for cut in (1, 5, len(first) // 2, len(first) - 1, ends[1] - 1, ends[1] + 5, len(whole) - 1):
        path = written(tmp_path / "cut.zst", whole[:cut])
        # Of fewer bytes than a frame's first four it cannot be told what they are.
        assert (unfinished(path) is None) == (cut < 4), cut
    for cut in ends:
        assert unfinished(written(tmp_path / "end.zst", whole[:cut])) is None


def test_other_files_are_finished_when_nobody_writes_to_them(tmp_path):
    assert unfinished(written(tmp_path / "a.bz2", b"BZh9 and so on")) is None
    assert unfinished(written(tmp_path / "empty.zst", b"")) is None


def test_a_glob_names_the_whole_files_of_this_moment_and_tells_what_it_leaves(tmp_path):
    done = written(tmp_path / "RC_2023-01.zst", frame(LINES))
    half = written(tmp_path / "RC_2023-02.zst", frame(LINES)[:-9])
    recipe = load(SMOKE, [f"dumps.comments={tmp_path}/RC_*.zst"])
    settled, left = settle(recipe)
    assert settled.dumps.comments == (str(done),)
    assert settled.dumps.submissions == "world"
    assert list(left) == [str(half)]
    assert "no end" in left[str(half)]


def test_a_recipe_of_which_nothing_is_left_out_stays_as_it_is(tmp_path):
    written(tmp_path / "RC_2023-01.zst", frame(LINES))
    recipe = load(SMOKE, [f"dumps.comments={tmp_path}/RC_*.zst"])
    assert settle(recipe) == (recipe, {})


def test_a_file_that_is_named_stays_however_it_is(tmp_path):
    half = written(tmp_path / "RC_2023-02.zst", frame(LINES)[:-9])
    settled, left = settle(load(SMOKE, [f"dumps.comments={half}"]))
    assert (settled.dumps.comments, left) == (str(half), {})


def test_a_glob_that_finds_only_unfinished_files_says_which(tmp_path):
    half = written(tmp_path / "RC_2023-02.zst", frame(LINES)[:-9])
    with pytest.raises(InputError, match="no file is whole yet") as told:
        settle(load(SMOKE, [f"dumps.comments={tmp_path}/RC_*.zst"]))
    assert str(half) in str(told.value)
