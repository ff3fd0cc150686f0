"""Killed at every point: what was committed stays whole and is not made again, nothing is lost.

By default a few points of each mechanism; marked slow, all of them, counted and printed (-s).
"""

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from karma.storage import Storage
from karma.store import Store, sha256
from tests.crash import (
    fetch,
    hash_files,
    kill_at,
    kill_at_request,
    kill_at_size,
    made,
    require_whole,
    require_whole_there,
    told,
    work,
)
from tests.s3 import BUCKET
from tests.serving import DROPPED, LOST

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
FEW, ALL = 11, 1
EACH = pytest.param(ALL, marks=[pytest.mark.slow, pytest.mark.long])
steps = pytest.mark.parametrize("step", [FEW, EACH])
stores = pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])


@pytest.fixture
def points(tmp_path, step, request) -> Iterator[tuple[int, Path]]:
    """Numbers of points with a new folder for each, without end; prints how many were killed."""

    def each() -> Iterator[tuple[int, Path]]:
        number = killed = 0
        try:
            while True:
                number += step
                folder = tmp_path / str(number)
                folder.mkdir()
                yield number, folder
                killed += 1
                shutil.rmtree(folder)
        finally:
            print(f"{request.node.name}: killed {killed} times")

    return each()


def address(folder: Path, shared: bool) -> str:
    return f"file://{folder}/shared" if shared else ""


def after_a_kill(root: Path, url: str) -> None:
    """What must hold of a workspace in which a run was killed, before and after the next one."""
    require_whole(root)
    if url:
        require_whole_there(url, root.with_name("second"))
    store = Store(root)
    committed = (record := store.record("base", "k")) is not None and store.here(record["digest"])
    before = made(root)
    work(root, url, "b2")
    require_whole(root)
    assert store.here(store.record("base", "k")["digest"])
    assert made(root) == before + (not committed)
    assert list((root / "scratch").glob("[!d]*")) == []
    assert list((root / "open").glob("[0-9a-f]*")) == []
    if url:
        require_whole_there(url, root.with_name("third"))
        assert len(Storage(url).names("records")) == 1


def told_once(root: Path, runs: tuple[str, ...]) -> None:
    """MLflow will hear of the instance once, of each run that it hears of the end as well."""
    entries = told(root)
    assert [entry for entry in entries if entry.startswith("stage")] == ["stage k"]
    begun = [entry.removeprefix("parent ") for entry in entries if entry.startswith("parent")]
    assert set(begun) <= set(runs)
    assert begun[-1] == "b2"
    assert all(entries.count(f"end {run}") == 1 for run in begun)


@steps
@stores
def test_killed_at_any_point_of_a_run_nothing_is_half_lost_or_made_twice(points, shared):
    for point, folder in points:
        root, url = folder / "w", address(folder, shared)
        if not kill_at(point, folder, work, root, url, "a1"):
            break
        after_a_kill(root, url)
        told_once(root, ("a1", "b2"))
    assert point > 80


@steps
@stores
def test_killed_in_the_middle_of_writing_any_file_nothing_is_half_or_lost(points, shared):
    for point, folder in points:
        root, url = folder / "w", address(folder, shared)
        if not kill_at_size(10 * point, work, root, url, "a1"):
            break
        after_a_kill(root, url)
        told_once(root, ("a1", "b2"))
    assert 10 * point > len(json.dumps(Store(root).record("base", "k")))  # in each file once


@steps
@pytest.mark.parametrize("fate", [DROPPED, LOST])
def test_killed_at_any_request_to_s3_nothing_there_is_half_or_lost(points, server, fate):
    for point, folder in points:
        root, url = folder / "w", f"s3://{BUCKET}/{uuid.uuid4().hex}"
        if not kill_at_request(point, fate, server, work, root, url, "a1"):
            break
        after_a_kill(root, url)
        told_once(root, ("a1", "b2"))
    assert point > 10


@steps
def test_killed_while_it_mends_a_damaged_artefact_the_next_run_mends_it(points):
    for point, folder in points:
        root = folder / "w"
        work(root, "", "a0")
        digest = Store(root).record("base", "k")["digest"]
        (Store(root).path(digest) / "a.txt").write_text("")
        killed = kill_at(point, folder, work, root, "", "a1")
        work(root, "", "b2")
        require_whole(root)
        told_once(root, ("a0", "a1", "b2"))
        if not killed:
            break
    assert point > 80


@steps
def test_killed_while_an_artefact_comes_down_it_is_not_there_or_whole(points):
    for point, folder in points:
        url = address(folder, shared=True)
        work(folder / "w", url, "a1")
        digest = Store(folder / "w").record("base", "k")["digest"]
        killed = kill_at(point, folder, fetch, folder / "other", url, digest)
        require_whole(folder / "other")
        fetch(folder / "other", url, digest)
        require_whole(folder / "other")
        assert list((folder / "other" / "scratch").iterdir()) == []
        if not killed:
            break
    assert point > 30


@steps
def test_killed_while_it_notes_the_digest_of_a_file_it_knows_it_right_or_not_at_all(points):
    for point, folder in points:
        paths = [folder / "a", folder / "b"]
        for path in paths:
            path.write_text(path.name)
        hash_files(folder / "w", paths[0])
        killed = kill_at(point, folder, hash_files, folder / "w", *paths)
        store = Store(folder / "w")
        assert store.known_digest(paths[0]) == sha256(paths[0])
        assert store.known_digest(paths[1]) in (None, sha256(paths[1]))
        hash_files(folder / "w", *paths)
        assert [store.known_digest(path) for path in paths] == [sha256(path) for path in paths]
        if not killed:
            break
    assert point > 15
