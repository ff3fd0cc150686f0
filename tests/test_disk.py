"""Disks that are full or cannot be written, and clocks that go back: small real file systems."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from karma.errors import SharedStoreError
from karma.outbox import Outbox
from karma.plan import FRESH, plan
from karma.recipe import load
from karma.shared import SharedStore, open_store
from karma.store import Store
from tests.crash import require_whole, told, try_it, work
from tests.filled import SMOKE, fill
from tests.small import karma
from tests.told import parent, put, stage

PAGE = 4096  # bytes; a small file takes one page of a tmpfs
ROOM = 1 << 20


@contextmanager
def mounted(place: Path, options: str) -> Iterator[Path]:
    """A tmpfs at ``place``; the test is skipped where none can be mounted (it takes root)."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def leave(place: Path, pages: int) -> Path:
    """Fill a file system but for some pages; the file that takes the room."""
    ballast = place / "ballast"
    free = os.statvfs(place)
    ballast.write_bytes(bytes((free.f_bavail - pages - 1) * PAGE))
    return ballast


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
def test_with_the_disk_full_at_any_moment_nothing_is_half_and_with_room_the_next_run_ends(
    tmp_path, shared
):
    failed = 0
    for pages in range(60):
        with mounted(tmp_path / "disk", f"size={ROOM}") as disk:
            root, url = disk / "w", f"file://{disk}/shared" if shared else ""
            Store(root).create()
            ballast = leave(disk, pages)
            failed += not try_it(work, root, url, "a1")
            require_whole(root)
            ballast.unlink()
            work(root, url, "b2")
            require_whole(root)
            assert Store(root).record("base", "k") is not None
            assert [entry for entry in told(root) if entry.startswith("stage")] == ["stage k"]
            if failed <= pages:
                break
    assert failed > 5
    print(f"full at {failed} moments")


def test_what_is_on_a_read_only_disk_can_be_planned_but_not_run(tmp_path):
    with mounted(tmp_path / "disk", "size=64m") as disk:
        fill_here = Store(disk / "w")
        fill_here.create()
        recipe = load(SMOKE, [])
        fill(fill_here, "smoke", recipe)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        made = plan("smoke", recipe, Store(disk / "w"))
        assert {entry.state for entry in made.entries.values()} == {FRESH}
        ran = karma("run", str(SMOKE), workspace=disk / "w")
        assert ran.returncode == 2
        assert "cannot be written (Read-only file system)" in ran.stderr
        assert "Traceback" not in ran.stderr


def test_a_shared_store_that_cannot_be_written_is_told_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("karma.storage.WAITS", ())
    with mounted(tmp_path / "disk", "size=1m,ro") as disk:
        store = open_store(tmp_path / "w", str(disk))
        assert isinstance(store, SharedStore)
        with pytest.raises(SharedStoreError, match=r"cannot write .*Read-only file system"):
            store.remote.check()


def test_what_is_told_after_the_clock_went_back_stays_after_what_was_told_before(store):
    put(store, parent("run"))
    (first,) = Outbox(store.root).waiting()
    tomorrow = time.time_ns() + 86_400 * 10**9
    first.rename(first.with_name(f"{tomorrow:020d}-{first.name.partition('-')[2]}"))
    put(store, stage("labels", "k"))
    put(store, {"kind": "end", "keys": ["run"]})
    assert told(store.root) == ["parent run", "stage k", "end run"]


FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")
def test_a_run_whose_clock_is_a_day_behind_goes_on_from_one_that_was_right(tmp_path):
    root = tmp_path / "w"
    work(root, "", "a1")
    for run, offset in (("b2", "-1d"), ("c3", "+1d")):
        program = (
            f"from pathlib import Path; from tests.crash import work; work(Path({str(root)!r}), "
            f"'', {run!r})"
        )
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "LD_PRELOAD": str(FAKETIME), "FAKETIME": offset},
            cwd=Path(__file__).parents[1],
            check=True,
        )
    require_whole(root)
    assert told(root) == [
        "parent a1",
        "stage k",
        "end a1",
        "parent b2",
        "end b2",
        "parent c3",
        "end c3",
    ]
