"""The benchmark of ``dumps``, ``threads``, ``labels``: against bare tools, peers, themselves.

    make bench-dumps
    .venv/bin/python -m tests.bench.dumps ingest --comments 50000

All ratios are of processor time in one run. Sizes follow ``--comments``: growth is measured from
0.3 to 3 times as many, and a month holds a twentieth.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bench.instances import Ran, Workspace, dag, is_range, recipe, spec
from tests.bench.measure import Row, Usage, child, conclude, least, python

WINDOW_MIB = 2048
# What a process may hold beside the window: the interpreter, its libraries, the chunks in work.
ALLOWANCE_MIB = 300
TRIES = 2
FEW = 20
MONTHS = 7
# Threads that end within three weeks reach into one month before; Reddit's own reach further.
THREE_WEEKS, HALF_A_YEAR = 21, 180
BUILT = ("dumps", "threads")


@dataclass
class Bench:
    """Where inputs are kept and work is done, how large they are, and what was found so far."""

    inputs: Path
    work: Path
    comments: int
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def growth(self) -> tuple[int, int]:
        """The comments between which growth is measured."""
        return self.comments * 3 // 10, self.comments * 3

    @property
    def monthly(self) -> int:
        """The comments of a month."""
        return self.comments // 20

    def make(self) -> None:
        """All dump files, several at a time, those first that take longest."""
        singles = (max(self.growth), self.comments, min(self.growth), FEW)
        made = [(number, 1, HALF_A_YEAR) for number in singles]
        made += [(self.monthly, MONTHS, days) for days in (THREE_WEEKS, HALF_A_YEAR)]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(lambda wanted: self.dumps(*wanted), made))

    def dumps(self, comments: int, files: int = 1, latest_days: int = HALF_A_YEAR) -> list[Path]:
        """Dump files of so many comments each, made if they are not there."""
        folder = self.inputs / f"{files}x{comments}-{latest_days}-days"
        paths = [folder / f"RC_{number}.zst" for number in range(1, files + 1)]
        if not all(path.exists() for path in paths):
            say(f"writing {files} x {comments:,} comments")
            folder.mkdir(parents=True, exist_ok=True)
            options = ["--comments", str(comments), "--latest-days", str(latest_days)]
            python("tests.bench.generate", *options, *paths)
        return paths


def say(words: str) -> None:
    """Tell how far the benchmark is; standard output is the table's."""
    print(words, file=sys.stderr, flush=True)


def times(name: str, ours: float, peer: float, target: float | None) -> Row:
    """A row of seconds, ours over the peer's."""
    return Row(name, f"{ours:.2f} s", f"{peer:.2f} s", ours / peer, target)


def total(ran: list[Ran]) -> float:
    """The processor seconds of several instances."""
    return sum(one.seconds for one in ran)


def peak(ran: list[Ran]) -> float:
    """The most that one of several instances held, in MiB."""
    return max(one.peak_mib for one in ran)


def ingest(bench: Bench) -> None:
    """The stage ``dumps`` on one file, against decoding it and DuckDB on the plain lines."""
    [file] = bench.dumps(bench.comments)
    [few] = bench.dumps(FEW)
    plain, parquet = bench.work / "plain.ndjson", bench.work / "floor.parquet"
    ours, bare, floor = [], [], []
    for number in range(TRIES):
        say(f"ingest, {number + 1} of {TRIES}")
        bare.append(decode(file, Path(os.devnull)))
        ours.append(stage_dumps(bench, file))
        decoded = decode(file, plain).seconds
        written = python("tests.bench.floor", plain, parquet)
        floor.append(replace(written, seconds=decoded + written.seconds))
    plain.unlink()
    bench.rows += [
        times("ingest_vs_zstd", least(*ours), least(*bare), 3.2),
        times("ingest_vs_floor", least(*ours), least(*floor), 1.6),
        ingest_memory("ingest_memory_mib", file, max(usage.peak_mib for usage in ours)),
    ]
    start = least(*(stage_dumps(bench, few) for _ in range(TRIES)))
    bench.notes.append(f"Of the seconds of ingest {start:.2f} are its start ({FEW} comments).")


def decode(file: Path, out: Path) -> Usage:
    """``zstd -dc`` and nothing else."""
    with out.open("wb") as target:
        return child(["zstd", "-dc", "--long=31", "-q", str(file)], target)


def stage_dumps(bench: Bench, file: Path) -> Usage:
    """The stage's job in a process of its own, as one starts it by hand."""
    document = spec(dag([file]).nodes[f"dumps/{file.name}"], {"file": file})
    with tempfile.TemporaryDirectory(dir=bench.work) as folder:
        (Path(folder) / "spec.json").write_text(json.dumps(document))
        return python("karma.jobs", Path(folder) / "spec.json", Path(folder) / "out")


def ingest_memory(name: str, file: Path, most: float) -> Row:
    """A row of MiB: the stage's peak less as much of the frame's window as the file fills."""
    window = min(WINDOW_MIB, decoded_mib(file))
    return Row(name, f"{most:.0f} MiB", f"{window:.0f} MiB", most - window, ALLOWANCE_MIB)


def decoded_mib(file: Path) -> float:
    """How large a file's plain lines are."""
    command = ["zstd", "-dc", "--long=31", "-q", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        stream = process.stdout
        assert stream is not None
        return sum(len(block) for block in iter(lambda: stream.read(1 << 20), b"")) / 2**20


def growth(bench: Bench) -> None:
    """Processor time per comment of ``threads`` and ``labels``, large over small; and memory."""
    each: list[float] = []
    for comments in bench.growth:
        [file] = bench.dumps(comments)
        root = bench.work / f"growth-{comments}"
        say(f"threads and labels of {comments:,} comments")
        with Workspace(root) as workspace:
            read = workspace.bring_up_to_date([file], "dumps")
        # A worker of their own: what dumps leaves in memory is not theirs.
        with Workspace(root) as workspace:
            ran = workspace.bring_up_to_date([file], "threads", "labels")
        each.append(total(ran) / comments * 1e6)
        shutil.rmtree(root)
    small, large = each
    limit = recipe([file]).threads.memory_mb
    bench.rows += [
        Row("threads_growth", f"{large:.2f} us", f"{small:.2f} us", large / small, 1.1),
        Row("threads_memory", f"{peak(ran):.0f} MiB", f"{limit} MiB", peak(ran) / limit, 1.0),
        ingest_memory("ingest_memory_large_mib", file, peak(read)),
    ]


def peers(bench: Bench) -> None:
    """``dumps`` and ``threads`` on one file, against plain Python doing the same extraction.

    Near-duplicates are left in: the peers do not look for them.
    """
    [file] = bench.dumps(bench.comments)
    say("dumps and threads")
    with Workspace(bench.work / "peers", "threads.duplicate_chars=null") as workspace:
        ran = workspace.bring_up_to_date([file], *BUILT)
        profiles = [workspace.profile(entry) for entry in workspace.ranges([file])]
    counts = [f"ours {sum(profile['conversations'] for profile in profiles):,}"]
    for name, peer, target in (("peer_lines", "lines", 2.0), ("peer_dict", "utterances", 3.0)):
        say(name)
        out = bench.work / "peer.parquet"
        theirs = python("tests.bench.peers", peer, file, out).seconds
        row = times(name, total(ran), theirs, target)
        bench.rows.append(replace(row, ratio=theirs / total(ran), at_least=True))
        counts.append(f"{peer} {rows_of(out):,}")
        out.unlink()
    bench.notes.append(f"Conversations: {', '.join(counts)}.")


def rows_of(table: Path) -> int:
    """The rows of a Parquet file, counted by a child: this process imports nothing heavy."""
    code = "import sys, pyarrow.parquet as pq; print(pq.read_metadata(sys.argv[1]).num_rows)"
    return int(subprocess.check_output([sys.executable, "-c", code, str(table)]))


def months(bench: Bench, name: str, latest_days: int, target: float | None) -> None:
    """Month after month is added; what the last one cost, over the second."""
    comments = bench.monthly
    paths = bench.dumps(comments, MONTHS, latest_days)
    say(f"{name}: {MONTHS} months of {comments:,} comments")
    costs: list[float] = []
    # A thread has about eight comments, so that a month has about ten ranges.
    with Workspace(bench.work / name, f"threads.width={comments // 80}") as workspace:
        for month in range(1, MONTHS + 1):
            ran = workspace.bring_up_to_date(paths[:month], *BUILT)
            costs.append(total(ran))
            if month in (2, MONTHS):
                labels = total(workspace.bring_up_to_date(paths[:month], "labels"))
                left = len(workspace.ranges(paths[:month])) - sum(is_range(one.id) for one in ran)
                bench.notes.append(f"{name}, month {month}: {_counts(ran, left, labels)}.")
    bench.rows.append(times(name, costs[MONTHS - 1], costs[1], target))


def _counts(ran: list[Ran], left: int, labels: float) -> str:
    read = sum(one.stage == "dumps" for one in ran)
    built = sum(is_range(one.id) for one in ran)
    return (
        f"{read} dump read, {built} ranges built, {left} left alone; "
        f"labels, refitted, take {labels:.2f} s more"
    )


PARTS: dict[str, Callable[[Bench], None]] = {
    "ingest": ingest,
    "growth": growth,
    "peers": peers,
    "month": lambda bench: months(bench, "month_added", THREE_WEEKS, 1.2),
    "month_late": lambda bench: months(bench, "month_added_late", HALF_A_YEAR, None),
}


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--comments", type=int, default=1_000_000, help="of the main file")
    parser.add_argument("--inputs", type=Path, help="a folder that keeps the dumps")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - PARTS.keys():
        parser.error(f"no part is named {', '.join(unknown)}: name some of {', '.join(PARTS)}")
    if asked.comments < 2000:
        parser.error("--comments is too small for months of a twentieth: give at least 2000")
    if shutil.which("zstd") is None:
        parser.error("the command zstd is missing: install it (Debian, Ubuntu: apt install zstd)")
    # User names of real dumps are hashed with it; any will do here.
    os.environ["KARMA_SALT"] = "bench"
    with tempfile.TemporaryDirectory(prefix="karma-bench-") as folder:
        work = Path(folder)
        bench = Bench(asked.inputs or work / "inputs", work, asked.comments)
        if not asked.parts:
            bench.make()
        for part in asked.parts or PARTS:
            PARTS[part](bench)
        conclude("dumps", bench.rows, bench.notes)


if __name__ == "__main__":
    main()
