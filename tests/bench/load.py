"""Load and faults: what stays true when much is queued, many share a store, and things break.

    cells       200 dump files on 2 slots, under Prefect with its server: no more than 2 jobs at a
                time, none lost, none twice, and Prefect shows each as completed
    store       10 processes that want the same keys of one S3 store, each with a workspace
    refusals    3 such processes, the storage refusing every fifth request (503)
    cut_off     a process that loses the storage in the midst of a job, which another takes over
    month       a run whose clock passes the end of a month (libfaketime; skipped without it)
    postgres    PostgreSQL restarted in the middle of a deployed run (skipped without PostgreSQL)

Every job is one of the pipeline's own, the stage ``dumps`` on small files, run as a run does, but
for the last case, which runs all stages. S3 is moto's server. A case that does not hold raises.
``python -m tests.bench.load [CASE]...``
"""

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from karma import history
from karma.plan import plan
from karma.recipe import Recipe
from karma.shared import open_store
from karma.store import Store
from karma.upkeep.verify import verify
from tests.bench import measure
from tests.bench.instances import recipe as recipe_of
from tests.s3 import BUCKET, s3
from tests.serving import REFUSED, Server
from tests.small import wait_until

CELLS, SLOTS = 200, 2
PROCESSES, FEW = 10, 3
KEYS = 6
EVERY = 5
LEASE = "5"  # seconds without a sign of life after which a job is taken over
BEFORE = 300  # seconds before midnight at which a run begins
NAME = "load"
SALT = {"KARMA_SALT": "pepper"}


class Console:
    """Hears when a job has a slot, and how it ends."""

    def __init__(self) -> None:
        self.began: dict[str, float] = {}
        self.words: list[str] = []

    def started(self, instance: str) -> None:
        assert instance not in self.began, f"{instance} ran twice"
        self.began[instance] = time.monotonic()

    def progress(self, instance: str, done: float, total: float, unit: str) -> None: ...

    def ended(self, instance: str, words: str) -> None:
        self.words.append(f"{instance} {words}")

    def say(self, words: str) -> None:
        self.words.append(words)


@dataclass(frozen=True)
class Held:
    """What a case did, once it has held."""

    name: str
    what: str
    seconds: float
    wanted: int
    """How often something was to be made."""
    made: int


def dumps(folder: Path, count: int) -> list[Path]:
    """Dump files of five comments each."""
    folder.mkdir(parents=True)
    more = {"subreddit": "x", "score": 1, "created_utc": 1136073600, "parent_id": "t3_a"}
    paths = [folder / f"RC_{number:04}.ndjson" for number in range(count)]
    for number, path in enumerate(paths):
        rows = [
            {**more, "id": f"{number:x}{row}", "link_id": "t3_a", "author": f"a{row}", "body": "x"}
            for row in range(5)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return paths


def shards(paths: list[Path]) -> Recipe:
    """The recipe of some dump files, on two slots."""
    return recipe_of(paths, f"slots={SLOTS}")


def most_at_once(console: Console, store: Store, instances: dict[str, str]) -> int:
    """The most jobs that ran at one time, each from when it had its slot for as long as it took."""
    changes = []
    for name, key in instances.items():
        record = store.record("dumps", key)
        assert record is not None, f"{name} was lost"
        began = console.began[name]
        changes += [(began, 1), (began + record["seconds"], -1)]
    at_once = most = 0
    for _, change in sorted(changes):
        at_once += change
        most = max(most, at_once)
    return most


def cells(folder: Path) -> Held:
    """Many cells on few slots, under a real Prefect server."""
    began = time.monotonic()
    paths = dumps(folder / "dumps", CELLS)
    store = Store(folder / "w")
    store.create()
    from flows.server import server

    with server(store.root):
        from flows.pipeline import execute
        from flows.running import tracking_uri
        from karma.selection import Selection
        from tasks.client import asking
        from tasks.stage import Run

        console = Console()
        made = plan(NAME, shards(paths), store)
        run = execute(Run(made.dag, store, console, Selection(("dumps",))), tracking_uri(store))
        assert not run.failures, run.failures
        with asking() as client:
            shown: Counter[str] = Counter()
            while page := client.read_task_runs(limit=200, offset=shown.total()):
                shown.update(f"{task.state_name}" for task in page)
            flows = [flow.state_name for flow in client.read_flow_runs()]
    keys = {name: o.key for name, o in run.outcomes.items() if name.startswith("dumps/")}
    assert len(console.began) == len(keys) == CELLS
    assert shown == {"Completed": CELLS, "Cached": CELLS}, shown  # the files are nodes as well
    assert flows == ["Completed"], flows
    most = most_at_once(console, store, keys)
    assert most <= SLOTS, f"{most} jobs at once"
    assert verify(store).findings == []
    what = f"{most} at once; Prefect: {shown['Completed']} completed"
    return Held("cells", what, time.monotonic() - began, CELLS, len(console.began))


def worker(root: Path, url: str, files: Path, seed: int) -> None:
    """One machine of many: bring each dump up to date in an order of its own, and read it."""
    from tasks import entries
    from tasks.stage import Run, bring_up_to_date

    store = open_store(root, url)
    store.create()
    made = plan(NAME, shards(sorted(files.iterdir())), store)
    console = Console()
    run = Run(made.dag, store, console)
    run.journal.open(entries.begin(run), entries.killed(run))
    names = [node.id for node in made.dag.nodes.values() if node.stage == "dumps"]
    random.Random(seed).shuffle(names)
    for name in names:
        for above in made.dag.nodes[name].inputs.values():
            bring_up_to_date(run, above)
        bring_up_to_date(run, name)
        assert store.fetch(run.outcomes[name].digest), f"{name} cannot be read"
    run.close()
    run.journal.close(entries.end(run, "FINISHED", "", []))
    store.release()
    digests = {name: run.outcomes[name].digest for name in names}
    ran = [name for name in names if run.outcomes[name].ran]
    print(json.dumps({"ran": ran, "digests": digests, "whole": verify(store).findings == []}))


def start(folder: Path, url: str, number: int, **environment: str) -> subprocess.Popen[bytes]:
    """A machine, its workspace one of its own."""
    words = [sys.executable, "-m", "tests.bench.load", "worker"]
    return subprocess.Popen(
        [*words, str(folder / f"w{number}"), url, str(folder / "dumps"), str(number)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )


def end(child: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What a machine told at its end. Raises if it failed."""
    said, errors = child.communicate(timeout=300)
    assert child.returncode == 0, errors.decode()
    told: dict[str, Any] = json.loads(said)
    return told


def several(folder: Path, url: str, count: int) -> tuple[list[str], int]:
    """Let machines that start at once want the same keys; what was made, and how much was read."""
    dumps(folder / "dumps", KEYS)
    children = [start(folder, url, number) for number in range(count)]
    told = [end(child) for child in children]
    agree(told, folder, url)
    return [name for each in told for name in each["ran"]], count * KEYS


def agree(told: list[dict[str, Any]], folder: Path, url: str) -> None:
    """Raises unless all machines have the same bytes, whole, and the store holds each key once."""
    assert all(each["whole"] for each in told)
    assert all(each["digests"] == told[0]["digests"] for each in told)
    from karma.shared import SharedStore
    from karma.upkeep.shared import verify as verify_there

    store = open_store(folder / "other", url)
    assert isinstance(store, SharedStore)
    store.create()
    found = verify_there(store)
    assert (found.findings, found.records) == ([], KEYS)


def on_one_store(name: str, server: Server, folder: Path, count: int) -> Held:
    """Processes on one S3 store."""
    began = time.monotonic()
    before = server.asked.total()
    made, read = several(folder, f"s3://{BUCKET}/{name}", count)
    assert sorted(made) == sorted(set(made)), "a key was made twice"
    asked = server.asked.total() - before
    what = f"{count} processes, {read} reads, {asked} requests"
    return Held(name, what, time.monotonic() - began, KEYS, len(made))


def shared(folder: Path, server: Server) -> Held:
    """Ten processes on one store."""
    return on_one_store("store", server, folder, PROCESSES)


def refusals(folder: Path, server: Server) -> Held:
    """Every fifth request refused."""
    refused = []

    def disturb(number: int) -> str:
        if number % EVERY:
            return ""
        refused.append(number)
        return REFUSED

    server.disturb = disturb
    try:
        held = on_one_store("refusals", server, folder, FEW)
    finally:
        server.disturb = lambda _: ""
    what = f"{held.what}, {len(refused)} of them refused"
    return Held(held.name, what, held.seconds, held.wanted, held.made)


def cut_off(folder: Path, server: Server) -> Held:
    """A machine that loses the storage in its first job, and is started again when it is back."""
    began = time.monotonic()
    dumps(folder / "dumps", KEYS)
    name = "cut-off"
    url = f"s3://{BUCKET}/{name}"
    alone = start(folder, url, 0, KARMA_LEASE=LEASE, AWS_ACCESS_KEY_ID=name)
    import s3fs

    files = s3fs.S3FileSystem(use_listings_cache=False)
    wait_until(lambda: files.exists(f"{BUCKET}/{name}/leases"), 60)
    server.cut_off = name
    try:
        other = end(start(folder, url, 1, KARMA_LEASE=LEASE))
        _, errors = alone.communicate(timeout=300)
    finally:
        server.cut_off = ""
    assert alone.returncode != 0
    assert f"store {url}" in errors.decode(), errors.decode()
    again = end(start(folder, url, 0, KARMA_LEASE=LEASE))
    agree([other, again], folder, url)
    assert (len(other["ran"]), again["ran"]) == (KEYS, [])
    what = "the other made all; the first ended with an error, then took what was made"
    return Held("cut_off", what, time.monotonic() - began, KEYS, len(other["ran"]))


def month(folder: Path) -> Held | None:
    """A run, then another one, whose clock passes midnight before the first of next month."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        return None
    began = time.monotonic()
    paths = dumps(folder / "dumps", SLOTS * 20)
    now = datetime.now(tz=UTC)
    first = (now.replace(day=1, hour=0, minute=0, second=0) + timedelta(days=32)).replace(day=1)
    until = int((first - now).total_seconds())
    clock = folder / "clock"
    clock.write_text(f"+{until - BEFORE}")
    fake = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock), "TZ": "UTC"}
    fake |= {"FAKETIME_CACHE_DURATION": "1"}
    path = folder / f"{NAME}.yaml"
    path.write_text(json.dumps(shards(paths).model_dump(mode="json")))
    words = ["run", str(path), "--only", "dumps", "--workspace", str(folder / "w")]
    karma = [str(Path(sys.executable).parent / "karma"), *words, "--store", str(folder / "shared")]
    run = subprocess.Popen(karma, env={**os.environ, **fake}, stderr=subprocess.DEVNULL)
    store = Store(folder / "w")
    while run.poll() is None and not list((store.root / "records").glob("dumps/*.json")):
        time.sleep(0.2)
    passed = int(time.monotonic() - began)
    if passed < BEFORE:
        clock.write_text(f"+{until - passed - 2}")  # it is two seconds before midnight now
    assert run.wait() == 0
    again = subprocess.run(
        karma, env={**os.environ, **fake}, capture_output=True, text=True, check=True
    )
    assert "nothing ran" in again.stdout
    records = list(store.records())
    [past] = [run for run in history.last(store, 9) if run.ran]
    months = {datetime.fromtimestamp(at, tz=UTC).month for at in (past.began, past.ended or 0.0)}
    assert len(months) == 2, months
    assert verify(store).findings == []
    what = "began in one month, ended in the next; then all fresh"
    return Held("month", what, time.monotonic() - began, len(paths), len(records))


def postgres(folder: Path, server: Server) -> Held | None:
    """PostgreSQL, which holds what Prefect and MLflow know, restarted in a deployed run."""
    from karma.outbox import Outbox
    from tests import test_stack as team
    from tests.stack import POSTGRES, running

    if POSTGRES is None:
        return None
    began = time.monotonic()
    with running(folder, int(server.address.rpartition(":")[2])) as stack:
        data = folder / "data"
        data.mkdir()
        team.months(data)
        team.deploy(stack, team.recipe(data), "--cron", "* * * * *")
        store = Store(stack.work / "karma")
        at_work = store.root / "records" / "threads"
        wait_until(lambda: list(at_work.glob("*.json")), 300)
        stack.end("postgres")
        stack.serve_postgres()
        run = team.next_run(store, 0, 400)
        assert run.status == "FINISHED", run.failures
        assert verify(store).findings == []
        again = team.next_run(store, 1, 200)  # the schedule still fires
        assert (again.status, again.ran) == ("FINISHED", 0), again
        wait_until(lambda: not Outbox(store.root).waiting(), 400)
        refused = list((store.root / "outbox").glob("refused/*"))
        assert not refused, refused
        prefect = team.told_by_prefect(stack)
        mlflow = [each["info"]["status"] for each in team.told_by_mlflow(stack)]
    assert prefect[0] == "Completed", prefect
    assert set(prefect[1:]) <= {"Cached", "Running"}, prefect
    assert set(mlflow) == {"FINISHED"}, mlflow
    what = f"Prefect: {prefect[0]}, then Cached; MLflow: {len(mlflow)} finished"
    return Held("postgres", what, time.monotonic() - began, run.ran, len(list(store.records())))


@contextlib.contextmanager
def storage() -> Iterator[Server]:
    """An S3 server with a bucket, named in this process's environment."""
    with s3().serving() as serving:
        os.environ.update(serving.environment)
        import s3fs

        s3fs.S3FileSystem().mkdir(BUCKET)
        yield serving


def main(names: list[str]) -> None:
    """Run the cases that are named, or all, and print what they did."""
    os.environ.update(SALT)
    held, notes = [], []
    with tempfile.TemporaryDirectory(prefix="karma-load-") as temp, storage() as server:
        Path(temp).chmod(0o711)  # PostgreSQL's own user goes through it
        cases: dict[str, Callable[[Path], Held | None]] = {
            "cells": cells,
            "store": lambda folder: shared(folder, server),
            "refusals": lambda folder: refusals(folder, server),
            "cut_off": lambda folder: cut_off(folder, server),
            "month": month,
            "postgres": lambda folder: postgres(folder, server),
        }
        for name in names or cases:
            folder = Path(temp) / name
            folder.mkdir(mode=0o711)
            found = cases[name](folder)
            if found is None:
                notes.append(f"{name}: skipped, what it needs is not installed")
            else:
                held.append(found)
                print(f"{name}: {found.what}, {found.seconds:.0f} s", flush=True)
    rows = [
        measure.Row(one.name, f"{one.made} made", f"{one.wanted} wanted", ratio, None)
        for one in held
        if (ratio := one.made / one.wanted)
    ]
    measure.conclude("load", rows, notes)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), int(sys.argv[5]))
    else:
        main(sys.argv[1:])
