"""A store that several machines share: each key is committed once, whatever dies or is away."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from karma.errors import SharedStoreError
from karma.lease import HeldError, Leases
from karma.plan import FRESH, plan
from karma.recipe import load
from karma.remote import Remote
from karma.shared import SharedStore, open_store
from karma.storage import Storage
from karma.store import Store
from karma.upkeep import gc
from karma.upkeep.holdings import Holdings
from tests.filled import SMOKE, fill
from tests.s3 import BUCKET
from tests.serving import REFUSED
from tests.test_store import build

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture
def s3(server) -> str:
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


def machine(root: Path, url: str) -> SharedStore:
    """The workspace of one machine, new to the store as a process is that has just begun."""
    store = open_store(root, url)
    assert isinstance(store, SharedStore)
    store.create()
    return store


def test_what_one_machine_committed_is_fresh_on_another_and_fetched_when_it_is_needed(
    url, tmp_path
):
    record = build(machine(tmp_path / "a", url), "k", {"a.txt": "one", "b/c.txt": "two"})
    other = machine(tmp_path / "b", url)
    assert other.record("base", "k") == record
    assert other.intact(record["digest"])
    assert not other.path(record["digest"]).exists()
    assert other.fetch(record["digest"])
    assert (other.path(record["digest"]) / "b" / "c.txt").read_text() == "two"
    assert list((other.root / "scratch").iterdir()) == []


def test_the_log_of_a_job_travels_with_its_artefact(url, tmp_path):
    record = build(machine(tmp_path / "a", url), "k", {"a.txt": "1", "log/output.txt": "hello"})
    other = machine(tmp_path / "b", url)
    assert other.fetch(record["digest"])
    assert (other.log_folder("base", "k") / "output.txt").read_text() == "hello"


def test_of_two_that_commit_one_key_the_first_stands_on_both(url, tmp_path):
    here, there = machine(tmp_path / "a", url), machine(tmp_path / "b", url)
    assert there.record("base", "k") is None  # listed before the other committed
    first = build(here, "k", {"a.txt": "one"})
    assert build(there, "k", {"a.txt": "another"}) == first
    assert Store(there.root).record("base", "k") == first


def test_gc_of_the_workspace_leaves_what_is_coming_down_alone(tmp_path):
    url = f"file://{tmp_path}/shared"
    record = build(machine(tmp_path / "a", url), "k", {"a.txt": "one", "b.txt": "two"})
    other = machine(tmp_path / "b", url)

    class Watched(Storage):
        def download(self, name: str, path: Path) -> None:
            local = Store(other.root)
            assert gc.remove(local, Holdings(local).unneeded()) == []
            super().download(name, path)

    other.remote.storage = Watched(url)
    assert other.fetch(record["digest"])


def test_a_store_that_was_emptied_is_filled_again(tmp_path):
    url = str(tmp_path / "shared")
    for _ in range(2):
        store = machine(tmp_path / "a", url)
        store.claim(["k"])
        record = store.own_record("base", "k") or build(store, "k", {"a.txt": "one"})
        store.share(record)
        store.release()
        assert Storage(url).exists("records/base/k.json")
        shutil.rmtree(url)


def test_a_folder_is_one_store_however_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Storage("shared").address == str(tmp_path / "shared")


def test_a_record_that_another_machines_replaces_is_kept_beside_it(url, tmp_path):
    here = machine(tmp_path / "a", url)
    first = build(machine(tmp_path / "b", url), "k", {"a.txt": "one"})
    assert here.remote.epoch()  # what comes now was not listed
    mine = build(Store(here.root), "k", {"a.txt": "another"})
    assert here.share(mine) == first
    assert {r["digest"] for r in Store(here.root).records()} == {mine["digest"], first["digest"]}


def test_a_lease_that_is_let_go_as_another_asks_for_it_can_be_had(tmp_path):
    class Late(Storage):
        def _write(self, name: str, data: bytes, new: bool) -> None:
            try:
                super()._write(name, data, new)
            except FileExistsError:
                self.delete(name)  # its holder lets go just now
                raise

    storage = Late(str(tmp_path))
    storage.write("leases/k/000001", b"another's")
    assert storage.create("leases/k/000001", b"mine") == b"mine"


def test_a_workspace_from_before_the_store_is_shared_unless_another_was_first(url, tmp_path):
    for name in ("a", "b"):
        store = Store(tmp_path / name)
        store.create()
        build(store, "k", {"a.txt": name})
        build(store, f"only-{name}", {"a.txt": name})
    for name in ("a", "b"):
        store = machine(tmp_path / name, url)
        for key in ("k", f"only-{name}"):
            store.share(store.record("base", key))
    third = machine(tmp_path / "c", url)
    assert third.record("base", "only-b") is not None
    assert third.record("base", "k") == Store(tmp_path / "b").record("base", "k")
    assert third.fetch(third.record("base", "k")["digest"])


def test_what_was_damaged_there_is_not_used_and_is_made_and_uploaded_again(url, tmp_path):
    record = build(machine(tmp_path / "a", url), "k", {"a.txt": "one"})
    Storage(url).write(f"objects/{record['digest']}/a.txt", b"two")
    other = machine(tmp_path / "b", url)
    assert other.intact(record["digest"])  # nobody has read it yet
    assert not other.fetch(record["digest"])
    assert not other.intact(record["digest"])
    with other.lease("base", "k"):
        build(other, "k", {"a.txt": "one"})
    third = machine(tmp_path / "c", url)
    assert third.fetch(record["digest"])
    assert (third.path(record["digest"]) / "a.txt").read_text() == "one"


def test_a_manifest_that_names_a_file_outside_its_folder_is_refused(url, tmp_path):
    import hashlib

    from karma.store import canonical

    data = canonical({"../../../evil": {"size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}})
    digest = hashlib.sha256(data).hexdigest()
    Storage(url).write(f"objects/{digest}/manifest.json", data)
    Storage(url).write("evil", b"x")
    store = machine(tmp_path / "a", url)
    assert not store.fetch(digest)
    assert not (tmp_path / "evil").exists()


def test_a_store_that_is_away_at_the_commit_loses_nothing_and_the_next_run_shares_it(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("karma.storage.WAITS", ())
    (tmp_path / "blocked").write_text("in the way")
    store = machine(tmp_path / "a", f"file://{tmp_path}/blocked")
    with pytest.raises(SharedStoreError, match=r"blocked: cannot .* is kept in the workspace"):
        build(store, "k", {"a.txt": "one"})
    assert store.intact(Store(store.root).record("base", "k")["digest"])
    (tmp_path / "blocked").unlink()
    again = machine(tmp_path / "a", f"file://{tmp_path}/blocked")
    again.share(again.record("base", "k"))
    other = machine(tmp_path / "b", f"file://{tmp_path}/blocked")
    assert other.fetch(other.record("base", "k")["digest"])


def test_a_storage_that_stays_away_is_not_waited_for_beyond_a_minute(tmp_path, monkeypatch):
    monkeypatch.setattr("karma.storage.PATIENCE", 0.1)
    (tmp_path / "blocked").write_text("in the way")
    began = time.monotonic()
    with pytest.raises(SharedStoreError, match="cannot write"):
        Storage(f"file://{tmp_path}/blocked/below").write("a", b"1")
    assert time.monotonic() - began < 2  # all tries would take a quarter of a minute


def test_a_long_request_that_fails_once_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr("karma.storage.PATIENCE", 0.1)
    storage = Storage(f"file://{tmp_path}/below")
    (tmp_path / "below").write_text("in the way")

    def slow() -> None:
        if (tmp_path / "below").is_file():
            time.sleep(0.2)
            (tmp_path / "below").unlink()
            raise OSError("cut off")

    storage._patiently("write", slow)
    storage.write("a", b"1")
    assert storage.read("a") == b"1"


def test_a_storage_that_refuses_every_fifth_request_fails_nothing(server, s3, tmp_path):
    server.disturb = lambda number: REFUSED if number % 5 == 0 else ""
    try:
        store = machine(tmp_path / "a", s3)
        store.remote.check()
        for number in range(2):
            with store.lease("base", f"k{number}"):
                build(store, f"k{number}", {"a.txt": str(number), "b.txt": "same"})
        other = machine(tmp_path / "b", s3)
        for number in range(2):
            assert other.fetch(other.record("base", f"k{number}")["digest"])
    finally:
        server.disturb = lambda _: ""


class Forgetful(Storage):
    """A storage whose answer to the first write is lost on the way."""

    lost = False

    def _write(self, name: str, data: bytes, new: bool) -> None:
        super()._write(name, data, new)
        if not self.lost:
            self.lost = True
            raise ConnectionError("the answer was lost")


def test_a_lease_whose_answer_was_lost_is_ones_own(url):
    storage = Forgetful(url)
    with Leases(storage).hold("k", str(uuid.uuid4())):
        assert storage.lost
        other = Leases(Storage(url)).hold("k", str(uuid.uuid4()))
        with pytest.raises(HeldError, match=f"pid {os.getpid()} on .* since "), other:
            pass


def test_a_storage_that_would_overwrite_is_refused_before_anything_runs(tmp_path):
    class Careless(Storage):
        def _write(self, name: str, data: bytes, new: bool) -> None:  # noqa: ARG002
            super()._write(name, data, new=False)

    storage = Careless(f"file://{tmp_path}/shared")
    with pytest.raises(SharedStoreError, match="If-None-Match"):
        Remote(storage, Leases(storage)).check()
    storage = Storage(f"file://{tmp_path}/shared")
    Remote(storage, Leases(storage)).check()
    assert storage.names("") == []


def test_who_died_in_a_workspace_is_followed_there_at_once_and_elsewhere_later(url):
    first, same, other = (Leases(Storage(url)) for _ in range(3))
    with first.hold("k", "w1"):
        with pytest.raises(HeldError), other.hold("k", "w2"):
            pass
        with same.hold("k", "w1"):
            pass


def test_a_lease_beats_while_it_is_held_and_is_free_afterwards(url):
    mine, other = Leases(Storage(url), ttl=1.0), Leases(Storage(url))
    with mine.hold("k", str(uuid.uuid4())):
        deadline = time.monotonic() + 2.5
        while time.monotonic() < deadline:
            assert other.holder("k") is not None
            time.sleep(0.2)
    assert other.holder("k") is None
    with other.hold("k", str(uuid.uuid4())):
        pass
    assert Storage(url).names("leases") == []


def _hold_and_die(url: str) -> None:
    with Leases(Storage(url), ttl=1.5).hold("k", str(uuid.uuid4())):
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_lease_of_a_dead_machine_runs_out_and_only_one_takes_it_over(url):
    child = multiprocessing.get_context("spawn").Process(target=_hold_and_die, args=(url,))
    child.start()
    child.join()
    waiting = [Leases(Storage(url)) for _ in range(4)]
    assert all(leases.holder("k") for leases in waiting)
    time.sleep(1.6)
    assert [leases.holder("k") for leases in waiting] == [None] * 4
    took = []

    def take(leases: Leases) -> None:
        try:
            with leases.hold("k", str(uuid.uuid4())):
                took.append(leases)
                time.sleep(1.0)
        except HeldError:
            pass

    threads = [threading.Thread(target=take, args=(leases,)) for leases in waiting]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) == 1


def _commit_on_a_machine(root: Path, url: str, number: int) -> None:
    store = machine(root / str(number), url)
    while store.latest("base", "k") is None:
        try:
            with store.lease("base", "k"):
                (root / f"made-{number}").touch()
                build(store, "k", {"a.txt": str(number)})
        except HeldError:
            time.sleep(0.1)


@pytest.mark.parametrize("count", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_machines_that_want_one_key_make_it_once(url, tmp_path, count):
    context = multiprocessing.get_context("spawn")
    arguments = [(tmp_path, url, number) for number in range(count)]
    children = [context.Process(target=_commit_on_a_machine, args=each) for each in arguments]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert all(child.exitcode == 0 for child in children)
    assert len(list(tmp_path.glob("made-*"))) == 1
    assert len(Storage(url).names("records")) == 1


class Quiet:
    """A console that keeps what instances came to."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def started(self, instance: str) -> None: ...

    def progress(self, instance: str, done: float, total: float, unit: str) -> None: ...

    def ended(self, instance: str, words: str) -> None:
        self.heard.append(f"{instance} {words}")

    def say(self, words: str) -> None:
        self.heard.append(words)


def test_two_runs_on_two_machines_make_an_instance_once_and_both_have_it(tmp_path, monkeypatch):
    from tasks import entries
    from tasks.stage import Run, bring_up_to_date

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    recipe = load(SMOKE, ["world.threads=20", "world.texts=20"])
    runs = []
    for name in ("a", "b"):
        store = machine(tmp_path / name, f"file://{tmp_path}/shared")
        runs.append(Run(plan("smoke", recipe, store).dag, store, Quiet()))
        runs[-1].journal.open(entries.begin(runs[-1]), entries.killed(runs[-1]))
    threads = [threading.Thread(target=bring_up_to_date, args=(run, "world")) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run in runs:
        run.close()
        run.journal.close(entries.end(run, "FINISHED", "", []))
    assert sorted(run.outcomes["world"].ran for run in runs) == [False, True]
    (waited,) = [run for run in runs if not run.outcomes["world"].ran]
    assert waited.console.heard[-1] == "world done by another run"
    assert any("which is at it too" in words for words in waited.console.heard)
    assert waited.store.here(waited.outcomes["world"].digest)
    told = [len(list((run.store.root / "outbox").iterdir())) for run in runs]
    assert sorted(told) == [2, 3]  # begin and end; one of them the stage as well


def test_a_plan_of_what_another_machine_made_asks_little_and_then_nothing(server, s3, tmp_path):
    recipe = load(SMOKE, [])
    fill(machine(tmp_path / "a", s3), "smoke", recipe)
    other = machine(tmp_path / "b", s3)
    server.asked.clear()
    made = plan("smoke", recipe, other)
    assert {entry.state for entry in made.entries.values()} == {FRESH}
    jobs = sum(entry.key is not None for entry in made.entries.values())
    assert server.asked["GET"] <= jobs + 30  # a record each, and pages of names
    assert server.asked.total() == server.asked["GET"]
    server.asked.clear()
    plan("smoke", recipe, other)
    assert server.asked.total() == 0
    assert not (other.root / "records" / "labels").exists()  # a plan writes nothing


def test_mlflow_runs_of_other_machines_are_known(url, tmp_path):
    here, there = machine(tmp_path / "a", url), machine(tmp_path / "b", url)
    here.set_mlflow_run("k", {"run": "r", "experiment": "1", "model": "m", "uri": "u"})
    assert there.mlflow_run("k")["run"] == "r"
    assert there.mlflow_run("other") is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://me:s3cret@bucket/x", "store s3://bucket/x: its address holds a user or a password"),
        ("s3://nowhere/x", "store s3://nowhere/x: cannot"),
        ("nothing://x", "Protocol not known: nothing"),
        ("abfs://x/y", "store abfs://x/y: its library is not installed"),
    ],
)
def test_a_store_that_cannot_be_used_is_told_without_secrets(server, tmp_path, url, words):
    with pytest.raises(SharedStoreError) as told:
        open_store(tmp_path / "w", url).record("base", "k")
    assert words in str(told.value)
    assert "s3cret" not in str(told.value)


def test_without_a_shared_store_a_plan_imports_no_storage(tmp_path):
    program = (
        "import sys; from flows.cli import app\n"
        f"app(['plan', {str(SMOKE)!r}, '--workspace', {str(tmp_path)!r}], standalone_mode=False)\n"
        "print(sorted({'fsspec', 's3fs', 'boto3', 'botocore'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    assert ran.stdout.splitlines()[-1] == b"[]"
