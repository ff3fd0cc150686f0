"""gc, verify, keep, accept and logs of a store that machines share: nobody loses what they need."""

import json
import subprocess
import threading
import time
import uuid
from pathlib import Path

import pytest

from karma.errors import BusyError
from karma.fingerprint import key_of
from karma.journal import Journal
from karma.plan import FRESH, MISSING, plan
from karma.recipe import load
from karma.remote import Remote
from karma.shared import SharedStore
from karma.storage import Storage
from karma.store import Store
from karma.upkeep import accept, keep
from karma.upkeep.containing import find
from karma.upkeep.holdings import Item
from karma.upkeep.shared import SharedHoldings, recipes, remove, verify
from tests.filled import SMOKE, fill
from tests.s3 import BUCKET
from tests.small import KARMA, karma, settings
from tests.test_containing import FIRST, study  # noqa: F401 - a fixture
from tests.test_shared import machine

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def folder(tmp_path) -> str:
    return f"file://{tmp_path}/shared"


def made(store: SharedStore, recipe: str, text: str, above: dict | None = None) -> dict:
    """What a run of a recipe leaves that made one instance, and says so at its end."""
    document = {"config": text, "input": {"base": above["digest"]} if above else {}}
    key = key_of(document)
    store.claim([key])
    out = store.begin(key) / "out"
    (out / "log").mkdir()
    (out / "a.txt").write_text(text)
    (out / "log" / "output.txt").write_text(f"made {text}")
    stage = "reward" if above else "base"
    record = store.commit(stage, key, {"fingerprint": document, "began": 1.0})
    store.set_ref(recipe, stage, key, record["digest"])
    store.release()
    return record


def there(store: SharedStore, record: dict) -> tuple[bool, bool]:
    """Whether the store itself, asked anew, has a record and its artefact."""
    remote = Remote(store.remote.storage, store.remote.leases)
    return remote.latest(record["stage"], record["key"]) is not None, remote.holds(record["digest"])


def free(store: SharedStore, *forgotten: str) -> list[Item]:
    return SharedHoldings(store, forgotten).unneeded()


def collect(store: SharedStore, *forgotten: str) -> set[str]:
    return {item.digest for item in remove(store, free(store, *forgotten), forgotten)}


def test_gc_removes_what_no_workspace_needs_and_leaves_what_another_one_needs(url, tmp_path):
    first, second = machine(tmp_path / "a", url), machine(tmp_path / "b", url)
    old, new = made(first, "smoke", "old"), made(first, "smoke", "new")
    base = made(second, "smoke", "another's")
    above = made(second, "smoke", "made from it", base)
    assert {(i.digest, i.recipe, i.instance) for i in free(first)} == {
        (old["digest"], "smoke", "base")
    }
    assert collect(machine(tmp_path / "c", url)) == {old["digest"]}
    assert there(first, old) == (False, False)
    for record in (new, base, above):
        assert there(first, record) == (True, True)
    assert Storage(url).names(f"objects/{old['digest']}") == []
    assert verify(second).findings == []


def test_gc_leaves_what_a_run_on_another_machine_has_claimed_until_that_is_over(url, tmp_path):
    first, second = machine(tmp_path / "a", url), machine(tmp_path / "b", url)
    old = made(first, "smoke", "old")
    made(first, "smoke", "new")
    second.claim([old["key"]])
    assert free(first) == []
    assert collect(first) == set()
    (whose,) = SharedHoldings(first).needs.keys[old["key"]]
    assert whose.startswith("a run at work, pid ")
    second.release()
    assert collect(first) == {old["digest"]}


def test_a_run_that_ends_while_gc_looks_is_seen_in_one_place_or_the_other(folder, tmp_path):
    first, second = machine(tmp_path / "a", folder), machine(tmp_path / "b", folder)
    old = made(first, "smoke", "old")
    made(first, "smoke", "new")
    second.claim([old["key"]])
    second.set_ref("other", "base", old["key"], old["digest"])

    class Late(Storage):
        looked = 0

        def names(self, folder: str) -> list[str]:
            found = super().names(folder)
            self.looked += folder in ("claims", "needs")
            if self.looked == 1:
                second.release()
            return found

    first.remote.claims._storage = Late(folder)
    assert free(first) == []


def test_the_claim_of_a_run_that_died_counts_for_a_day(folder, tmp_path):
    first, dead = machine(tmp_path / "a", folder), machine(tmp_path / "b", folder)
    old = made(first, "smoke", "old")
    made(first, "smoke", "new")
    dead.claim([old["key"]])
    assert free(first) == []
    items = SharedHoldings(first, grace=0.0).unneeded()
    assert [item.digest for item in items] == [old["digest"]]
    assert remove(first, items, grace=0.0) == items
    assert Storage(folder).names("claims") == []
    dead.release()


def test_a_run_waits_while_gc_removes_and_looks_again_afterwards(url, tmp_path):
    first, second = machine(tmp_path / "a", url), machine(tmp_path / "b", url)
    record = made(first, "smoke", "old")
    assert second.record("base", record["key"]) is not None
    told: list[bool] = []
    waiting = threading.Thread(target=lambda: told.append(second.claim([record["key"]])))
    with first.remote.closed() as check:
        waiting.start()
        time.sleep(0.5)
        assert told == []
        check()
        first.remote.remove([("base", record["key"])], [record["digest"]])
    waiting.join()
    assert told == [False]
    assert second.record("base", record["key"]) is None
    assert not second.intact(record["digest"])
    second.release()


def test_two_collections_at_once_are_refused_and_one_that_died_keeps_nobody_out(folder, tmp_path):
    first, second = machine(tmp_path / "a", folder), machine(tmp_path / "b", folder)
    record = made(first, "smoke", "old")
    with first.remote.closed(), pytest.raises(BusyError, match=r"pid \d+ on .* is at work"):
        collect(second)
    Storage(folder).write("gate.json", json.dumps({"id": "died", "over": False}).encode())
    assert second.claim([record["key"]])
    second.release()
    with first.remote.closed() as check:
        check()
        Storage(folder).write("gate.json", json.dumps({"id": "other", "over": True}).encode())
        with pytest.raises(BusyError, match="cut off for too long"):
            check()


def test_what_gc_took_while_the_same_bytes_were_committed_is_uploaded_again(url, tmp_path):
    first = machine(tmp_path / "a", url)
    old = made(first, "smoke", "old")
    made(first, "smoke", "new")

    class Late(Storage):
        taken: set[str] | None = None

        def create(self, name: str, data: bytes) -> bytes:
            if name.startswith("records/") and self.taken is None:
                self.taken = collect(first)  # after the object was found to be there
            return super().create(name, data)

    second = machine(tmp_path / "b", url)
    second.remote.storage = storage = Late(url)
    out = second.begin("k") / "out"
    (out / "a.txt").write_text("old")
    second.claim(["k"])
    record = second.commit("base", "k", {"fingerprint": {}})
    second.release()
    assert storage.taken == {old["digest"]} == {record["digest"]}
    assert there(first, record) == (True, True)
    third = machine(tmp_path / "c", url)
    assert third.fetch(record["digest"])


def test_what_gc_took_in_the_middle_of_an_upload_is_uploaded_again(folder, tmp_path):
    first, second = machine(tmp_path / "a", folder), machine(tmp_path / "b", folder)
    old = made(first, "smoke", "old")
    made(first, "smoke", "new")
    taken: list[set[str]] = []

    class Late(Storage):
        def create(self, name: str, data: bytes) -> bytes:
            if name.startswith("records/") and not taken:
                taken.append(collect(first))
                # Another machine has begun to upload it; another thread has looked at the gate.
                manifest = (second.path(old["digest"]) / "manifest.json").read_bytes()
                self.write(f"objects/{old['digest']}/manifest.json", manifest)
                second.claim(["other"])
            return super().create(name, data)

    second.claim(["k"])
    second.remote.storage = Late(folder)
    (second.begin("k") / "out" / "a.txt").write_text("old")
    record = second.commit("base", "k", {"fingerprint": {}})
    assert taken == [{old["digest"]}] == [{record["digest"]}]
    second.release()
    assert machine(tmp_path / "c", folder).fetch(record["digest"])


def test_what_failed_jobs_printed_goes_with_the_claims_of_dead_runs(folder, tmp_path):
    store = machine(tmp_path / "a", folder)
    store.remote.set_failed("k", b"a row of an author's")
    remove(store, [])
    assert store.remote.failed("k") is not None
    remove(store, [], grace=0.0)
    assert store.remote.failed("k") is None


def test_a_workspace_shares_again_what_gc_took_when_it_uses_it_again(url, tmp_path):
    store = machine(tmp_path / "a", url)
    old = made(store, "smoke", "old")
    made(store, "smoke", "new")
    collect(machine(tmp_path / "b", url))
    assert there(store, old) == (False, False)
    again = machine(tmp_path / "a", url)
    again.claim([old["key"]])
    again.share(again.record("base", old["key"]))
    again.set_ref("smoke", "base", old["key"], old["digest"])
    again.release()
    assert there(store, old) == (True, True)
    assert old["digest"] not in {item.digest for item in free(again)}


def test_an_artefact_that_is_being_uploaded_is_left_alone_for_a_day(url, tmp_path):
    store = machine(tmp_path / "a", url)
    Storage(url).write(f"objects/{'0' * 64}/a.txt", b"half")
    assert free(store) == []
    assert verify(store).findings == []
    items = SharedHoldings(store, grace=0.0).unneeded()
    assert [(item.instance, item.bytes) for item in items] == [("without a record", 4)]
    assert remove(store, items, grace=0.0) == items
    assert Storage(url).names("objects") == []


def test_what_one_machine_keeps_another_ones_gc_leaves_alone(url, tmp_path):
    first, second = machine(tmp_path / "a", url), machine(tmp_path / "b", url)
    base = made(first, "smoke", "old")
    above = made(first, "smoke", "made from it", base)
    keep.keep(first, "smoke:reward")
    newer = made(first, "smoke", "new")
    made(first, "smoke", "made from that", newer)
    assert collect(second) == set()
    assert [document["name"] for document in keep.kept(second)] == ["smoke:reward"]
    assert keep.release(second, above["digest"][:8])["digest"] == above["digest"]
    assert collect(second) == {base["digest"], above["digest"]}


def test_the_recipe_of_a_machine_that_is_gone_can_be_forgotten(folder, tmp_path):
    first, second = machine(tmp_path / "a", folder), machine(tmp_path / "b", folder)
    record = made(first, "smoke", "one")
    mine = made(second, "smoke", "two")
    (other,) = [name for name in recipes(second) if name != "smoke"]
    assert other == f"smoke@{first.name()[:8]}"
    ran = karma("gc", "--forget", "none", "--store", folder, workspace=second.root)
    assert (ran.returncode, f"{other} on " in ran.stderr) == (2, True)
    assert collect(second, other) == {record["digest"]}
    assert collect(first, f"smoke@{second.name()[:8]}") == {mine["digest"]}
    assert list(recipes(second)) == ["smoke"]


def test_a_copy_of_a_workspace_is_another_one(folder, tmp_path):
    import shutil

    store = machine(tmp_path / "a", folder)
    name = store.name()
    shutil.copytree(store.root, tmp_path / "b")
    assert machine(tmp_path / "a", folder).name() == name
    assert machine(tmp_path / "b", folder).name() != name


def test_verify_names_what_is_damaged_there_and_takes_it_away(url, tmp_path):
    first, second = machine(tmp_path / "a", url), machine(tmp_path / "b", url)
    record, whole = made(first, "smoke", "one"), made(second, "other", "two")
    found = verify(second)
    assert (found.findings, found.artefacts, found.records, found.references) == ([], 2, 2, 2)
    assert found.bytes > 0
    Storage(url).write(f"objects/{record['digest']}/a.txt", b"two")
    (finding,) = verify(second).findings
    assert finding.instances == (f"smoke@{first.name()[:8]}:base",)
    assert finding.place == f"objects/{record['digest']}"
    assert finding.what == "a.txt holds other bytes than were written"
    assert there(first, record) == (True, False)
    assert there(first, whole) == (True, True)
    assert [f.what for f in verify(second).findings] == ["its files are gone"]
    again = machine(tmp_path / "a", url)  # which has it whole
    again.share(again.record("base", record["key"]))
    assert verify(second).findings == []


def test_verify_takes_away_a_record_that_is_none(url, tmp_path):
    store = machine(tmp_path / "a", url)
    record = made(store, "smoke", "one")
    place = f"records/base/{record['key']}.json"
    Storage(url).write(place, b"{")
    (finding,) = verify(store).findings
    assert finding.instances == ("smoke:base",)
    assert (finding.place, finding.what) == (place, "it is no record")
    assert there(store, record)[0] is False


def test_the_commands_say_what_was_read_and_what_was_taken(folder, tmp_path):
    store = machine(tmp_path / "a", folder)
    record = made(store, "smoke", "old")
    made(store, "smoke", "new")
    at = ("--store", folder)
    ran = karma("verify", *at, workspace=tmp_path / "b")
    assert ran.returncode == 0
    assert "2 artefacts (" in ran.stdout
    assert " s: nothing damaged" in ran.stdout
    listed = karma("gc", *at, workspace=tmp_path / "b")
    assert "1 listed; --apply removes 1," in listed.stdout
    assert there(store, record) == (True, True)
    ran = karma("gc", "--apply", "--json", *at, workspace=tmp_path / "b")
    document = json.loads(ran.stdout)
    assert [item["digest"] for item in document["items"]] == [record["digest"]]
    assert there(store, record) == (False, False)


def test_the_log_of_what_another_machine_ran_is_shown(url, tmp_path):
    made(machine(tmp_path / "a", url), "smoke", "one")
    for _ in ("before this machine has used it", "afterwards"):
        ran = karma("logs", "base", "--store", url, workspace=tmp_path / "b")
        assert (ran.returncode, ran.stdout) == (0, "made one"), ran.stderr
    assert karma("logs", "policy", "--store", url, workspace=tmp_path / "b").returncode == 2


@pytest.fixture
def shared(filled, folder) -> SharedStore:
    """A workspace in which all of the smoke recipe is built, with all of it in a shared store."""
    store = machine(filled.root, folder)
    fill(store, "smoke", load(SMOKE, []))
    for record in list(Store.records(store)):
        store.share(record)
        store.use("smoke", record["stage"], record["key"])
    store.release()
    return store


def test_what_one_machine_accepts_is_fresh_on_another_with_the_reason(shared, folder, tmp_path):
    other = machine(tmp_path / "b", folder)
    recipe = load(SMOKE, ["policy.kl_coef=0.2"])
    assert plan("smoke", recipe, shared).entries["policy/reddit/context/0"].state != FRESH
    ran = karma(
        *("accept", str(SMOKE), "policy", "--because", "it is not read", "--also", "config"),
        *("--set", "policy.kl_coef=0.2", "--store", folder),
        workspace=shared.root,
    )
    assert ran.returncode == 0, ran.stderr
    entry = plan("smoke", recipe, other).entries["policy/reddit/context/0"]
    assert entry.state == FRESH
    assert entry.accepted[0]["because"] == "it is not read"
    assert collect(other) == set()
    assert verify(other).findings == []


def test_what_another_machine_is_building_is_not_accepted(shared, folder, tmp_path):
    other = machine(tmp_path / "b", folder)
    recipe = load(SMOKE, ["policy.kl_coef=0.2"])
    made_plan = plan("smoke", recipe, shared)
    key = made_plan.entries["policy/reddit/context/0"].key
    part = "policy/reddit/context"
    with other.lease("policy", key), pytest.raises(BusyError, match="is building it"):
        accept.accept(made_plan, shared, part, "it is not read", ("config",))
    assert shared.record("policy", key) is None


def test_what_verify_took_is_missing_on_a_machine_that_does_not_have_it(shared, folder, tmp_path):
    digest = shared.ref("smoke", "labels")["digest"]
    Storage(folder).write(f"objects/{digest}/data.parquet", b"x")
    ran = karma("verify", "--store", folder, workspace=tmp_path / "b")
    assert (ran.returncode, f"objects/{digest}: data.parquet holds" in ran.stdout) == (1, True)
    entry = plan("smoke", load(SMOKE, []), machine(tmp_path / "c", folder)).entries["labels"]
    assert (entry.state, entry.digest) == (MISSING, digest)
    assert plan("smoke", load(SMOKE, []), shared).entries["labels"].state == FRESH


def test_an_author_is_followed_through_the_shared_store(study, folder, tmp_path):  # noqa: F811 - the fixture
    store = machine(study.root, folder)
    for record in list(Store.records(store)):
        store.share(record)
    other = machine(tmp_path / "b", folder)
    rows = find(SharedHoldings(other), "u/Anna", print)
    assert sorted(item.how for item in rows) == sorted(FIRST.values())
    store.use("study", "base", "k")
    store.release()
    rows = find(SharedHoldings(other), "u/Anna", print)
    assert {item.instance: item.how for item in rows} == FIRST
    assert all(item.needed_by == [f"study@{store.name()[:8]}"] for item in rows)
    assert not list((other.root / "objects").iterdir())


def test_a_run_claims_before_it_looks_and_publishes_at_its_end(folder, tmp_path, monkeypatch):
    from tasks import entries
    from tasks.stage import Run, bring_up_to_date
    from tests.test_shared import Quiet

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    store = machine(tmp_path / "a", folder)
    recipe = load(SMOKE, ["world.threads=20", "world.texts=20"])
    run = Run(plan("smoke", recipe, store).dag, store, Quiet())
    assert isinstance(run.journal, Journal)
    run.journal.open(entries.begin(run), entries.killed(run))
    bring_up_to_date(run, "world")
    run.close()
    key = run.outcomes["world"].key
    (claim,) = store.remote.claims.at_work()
    assert claim["keys"] == [key]
    store.release()
    assert store.remote.claims.at_work() == []
    (document,) = store.remote.claims.needs()
    assert document["refs"] == {"world": key}


# The whole pipeline, as small as it runs.
TINY = settings(
    "base.tiny.hidden=32",
    "base.tiny.layers=1",
    "base.tiny.sequences=800",
    "sft.count=200",
    "reward.epochs=1",
    "reward.variants={context: {}}",
    "policy.exposures=[reddit]",
    "policy.variants=[context]",
    "policy.episodes=64",
    "policy.batch=32",
    "evals.benchmarks=[humor]",
    "evals.items=12",
)


def tiny(*more: str) -> list[str]:
    return [*TINY, *(word for setting in more for word in ("--set", setting))]


def start(root: Path, url: str, *more: str) -> subprocess.Popen:
    arguments = ["run", str(SMOKE), *tiny(*more), "--workspace", str(root), "--store", url]
    return subprocess.Popen(
        [KARMA, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def end(run: subprocess.Popen) -> list[str]:
    """The instances that a run's jobs made."""
    words = run.communicate(timeout=1200)[1]
    assert run.returncode == 0, words
    return [line.split("  ")[0] for line in words.splitlines() if line.endswith(" s")]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_machines_run_one_recipe_at_once_and_gc_of_one_takes_nothing_of_the_other(
    server, tmp_path
):
    url = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    a, b = tmp_path / "a", tmp_path / "b"
    runs = [start(root, url) for root in (a, b)]
    ran = [name for run in runs for name in end(run)]
    assert len(ran) == len(set(ran)), "something was made twice"
    assert len(Storage(url).names("records")) == len(ran)
    digests = {Store(root).ref("smoke", "report")["digest"] for root in (a, b)}
    assert len(digests) == 1
    for number in (500, 600):
        assert end(start(a, url, f"report.resamples={number}")) == ["report"]
    dry = karma("gc", "--store", url, workspace=a)
    assert "1 listed; --apply removes 1," in dry.stdout  # a's report of 500, which b never had
    work = start(b, url, "evals.items=20")
    collections = 0
    while work.poll() is None:
        assert karma("gc", "--apply", "--store", url, workspace=a).returncode == 0
        collections += 1
    again = end(work)
    assert collections > 2
    assert {name.split("/")[0] for name in again} == {"evals", "report"}
    checked = karma("verify", "--store", url, workspace=tmp_path / "c")
    assert checked.returncode == 0, checked.stdout
    for root, more in ((a, "report.resamples=600"), (b, "evals.items=20")):
        for workspace in (root, tmp_path / "d"):  # the second has nothing but the store
            at = ("--store", url, "--exit-code")
            planned = karma("plan", str(SMOKE), *tiny(more), *at, workspace=workspace)
            assert planned.returncode == 0, planned.stdout
    print(checked.stdout, collections)
