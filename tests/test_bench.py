"""The benchmarks' own inputs and tools: dumps of their own making, peers, months that are added."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zstandard

from karma.dumps.job import run
from karma.jobs import Job
from tests.bench import peers
from tests.bench.generate import write
from tests.bench.instances import Workspace, dag, is_range

COMMENTS = 400
pytestmark = pytest.mark.skipif(shutil.which("zstd") is None, reason="the command zstd is missing")


@pytest.fixture(scope="module")
def months(tmp_path_factory) -> list[Path]:
    """Three small months."""
    folder = tmp_path_factory.mktemp("months")
    paths = [folder / f"RC_{number}.zst" for number in (1, 2, 3)]
    write(paths, COMMENTS, seed=0, latest_days=5)
    return paths


def lines_of(path: Path) -> list[bytes]:
    """The lines of a dump."""
    with path.open("rb") as file:
        return (
            zstandard.ZstdDecompressor(max_window_size=2**31)
            .stream_reader(file)
            .read()
            .splitlines()
        )


@pytest.fixture
def salt(monkeypatch) -> None:
    """What user names of dumps that are not the simulator's are hashed with."""
    monkeypatch.setenv("KARMA_SALT", "pepper")


def test_the_dumps_are_the_same_bytes_for_a_seed_and_others_for_another(months, tmp_path):
    again = [tmp_path / path.name for path in months]
    write(again, COMMENTS, seed=0, latest_days=5)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in months]
    write(again, COMMENTS, seed=1, latest_days=5)
    assert all(a.read_bytes() != b.read_bytes() for a, b in zip(again, months, strict=True))


def test_a_frame_asks_for_a_window_of_two_gib(months):
    assert zstandard.get_frame_parameters(months[0].read_bytes()).window_size == 2**31


def test_a_dump_holds_what_real_ones_do(months):
    rows = [json.loads(line) for month in months[:2] for line in lines_of(month)]
    assert {len(row) for row in rows} == {71}
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    ids = {row["id"] for row in rows}
    answers = [str(row["parent_id"]) for row in rows if str(row["parent_id"]).startswith("t1_")]
    missing = sum(answer[3:] not in ids for answer in answers)
    assert 0 < missing < len(answers) / 4
    assert 0.03 < sum(row["author"] == "[deleted]" for row in rows) / len(rows) < 0.12


def test_every_line_of_a_dump_passes_the_stage(months, salt, tmp_path):
    config = dag(months[:1]).nodes["dumps/RC_1.zst"].config
    out = tmp_path / "out"
    out.mkdir()
    run(Job(config, {"file": months[0]}, out, tmp_path / "scratch"))
    profile = json.loads((out / "profile.json").read_text())
    assert (profile["lines"], profile["rows"]) == (COMMENTS, COMMENTS)
    assert profile["lines"] == profile["rows"] + profile["rejected"] + profile["blank"]
    assert set(profile["unconverted"].values()) == {0}


def test_the_peers_find_the_conversations_that_the_stages_find(months, salt, tmp_path):
    settings = ("threads.duplicate_chars=null", "threads.width=100000000")
    with Workspace(tmp_path / "workspace", *settings) as workspace:
        workspace.bring_up_to_date(months[:1], "dumps", "threads")
        [entry] = workspace.ranges(months[:1])
        folder = workspace.store.path(entry.digest or "")
    ours = pq.read_table(folder / "conversations.parquet")
    for peer in peers.PEERS:
        peers.write(peer, months[0], tmp_path / peer, b"pepper")
        assert pq.read_table(tmp_path / peer).to_pylist() == ours.to_pylist()
    assert max(len(context) for context in ours["context"].to_pylist()) > 2


def test_a_month_that_is_added_leaves_alone_what_it_does_not_touch(months, salt, tmp_path):
    with Workspace(tmp_path / "workspace", "threads.width=10") as workspace:
        for count in (1, 2):
            workspace.bring_up_to_date(months[:count], "dumps", "threads")
        ran = [one.id for one in workspace.bring_up_to_date(months, "dumps", "threads")]
        rebuilt = [name for name in ran if is_range(name)]
        assert [name for name in ran if name.startswith("dumps/")] == ["dumps/RC_3.zst"]
        assert 0 < len(rebuilt) < len(workspace.ranges(months))
        assert workspace.bring_up_to_date(months, "dumps", "threads") == []
