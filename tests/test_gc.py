"""``karma gc`` and ``karma keep``: what nobody needs goes, and nothing else, whoever is at work."""

import json
import multiprocessing
import shutil
import time
from pathlib import Path

import pytest
import yaml

from karma.errors import InputError
from karma.journal import Journal
from karma.plan import FRESH, plan
from karma.recipe import load
from karma.store import Store
from karma.upkeep import gc, keep
from karma.upkeep.holdings import Holdings, Item
from karma.upkeep.needed import roots
from karma.upkeep.verify import verify
from tests.filled import SMOKE, fill
from tests.small import karma

KL = "policy.kl_coef=0.2"


def listed(store: Store, *forgotten: str) -> list[Item]:
    return Holdings(store, forgotten).unneeded()


def instances(items: list[Item]) -> set[str]:
    return {item.instance for item in items}


def build(store: Store, recipe: str, *settings: str) -> None:
    fill(store, recipe, load(SMOKE, list(settings)))


@pytest.fixture
def changed(filled) -> Store:
    """The workspace after the policies were tuned anew, so that the old ones are not needed."""
    build(filled, "smoke", KL)
    return filled


def test_what_a_recipe_last_made_and_all_behind_it_is_needed(filled):
    assert listed(filled) == []


def test_what_was_made_under_other_settings_is_listed_with_whose_it_was(changed):
    items = listed(changed)
    names = instances(items)
    assert {name.split("/")[0] for name in names} == {"policy", "evals", "report"}
    assert "policy/reddit/context/0" in names
    assert "evals/base/humor" not in names
    assert {item.recipe for item in items} == {"smoke"}
    assert all(item.bytes > 0 and item.last_use > time.time() - 3600 for item in items)


def test_nothing_goes_without_apply_and_with_it_what_is_needed_stays(changed):
    before = sum(1 for _ in (changed.root / "objects").iterdir())
    items = listed(changed)
    dry = karma("gc", workspace=changed.root)
    assert f"--apply removes {len(items)}," in dry.stdout
    assert sum(1 for _ in (changed.root / "objects").iterdir()) == before
    done = karma("gc", "--apply", workspace=changed.root)
    assert f"{len(items)} removed" in done.stdout
    assert listed(changed) == []
    assert verify(changed).findings == []
    states = plan("smoke", load(SMOKE, [KL]), changed).entries.values()
    assert {entry.state for entry in states} == {FRESH}
    assert list((changed.root / "scratch").iterdir()) == []


def test_a_kept_run_keeps_its_report_and_all_that_is_behind_it(filled):
    digest = filled.ref("smoke", "report")["digest"]
    kept = karma("keep", "smoke", workspace=filled.root)
    assert digest[:16] in kept.stdout
    build(filled, "smoke", KL)
    assert listed(filled) == []
    assert karma("keep", workspace=filled.root).stdout.startswith("kept  smoke")
    assert karma("keep", digest[:8], "--release", workspace=filled.root).returncode == 0
    assert "policy/reddit/context/0" in instances(listed(filled))


def test_what_was_kept_by_two_names_is_released_by_either(filled):
    keep.keep(filled, "smoke")
    keep.keep(filled, "smoke:report")
    keep.release(filled, "smoke")
    assert keep.kept(filled) == []


def test_what_is_kept_and_released_must_be_there(filled):
    for name in ("nowhere", "smoke:labels/none", "../smoke", "smoke:../x", "abcdef123456"):
        with pytest.raises(InputError, match="no such artefact"):
            keep.keep(filled, name)
    with pytest.raises(InputError, match="nothing is kept"):
        keep.release(filled, "smoke")
    keep.keep(filled, "smoke:policy/reddit/context/0")
    build(filled, "smoke", KL)
    assert "policy/reddit/context/0" not in instances(listed(filled))
    assert "policy/reddit/random/0" in instances(listed(filled))


def test_the_simulators_world_stays_with_what_was_made_from_its_dumps(filled):
    keep.keep(filled, "smoke")
    build(filled, "smoke", "world.seed=1")
    assert "world" not in instances(listed(filled))


def test_a_recipe_that_is_forgotten_needs_nothing(filled):
    build(filled, "other", KL)
    assert listed(filled) == []
    names = instances(listed(filled, "other"))
    assert {name.split("/")[0] for name in names} == {"policy", "evals", "report"}
    gc.remove(filled, listed(filled, "other"), ("other",))
    assert filled.ref("other", "report") is None
    assert verify(filled).findings == []
    words = karma("gc", "--forget", "none", workspace=filled.root)
    assert (words.returncode, "no such recipe ran here" in words.stderr) == (2, True)


def test_artefacts_without_a_record_and_tries_that_did_not_end_are_listed(filled):
    (filled.path("0" * 64)).mkdir()
    for key, last in (("tried", True), ("left", False), ("at-work", False)):
        filled.begin(key)
        if last:
            filled.set_try("smoke", "labels", key)
    assert {item.instance for item in listed(filled)} == {"without a record", "left", "at-work"}
    with filled.lock("at-work", lambda _: None):
        removed = gc.remove(filled, listed(filled))
    assert {item.instance for item in removed} == {"without a record", "left"}
    assert sorted(p.name for p in (filled.root / "scratch").iterdir()) == ["at-work", "tried"]


def test_checkpoints_and_notes_of_a_forgotten_recipe_go_with_it(filled):
    filled.begin("tried")
    filled.set_try("other", "labels", "tried")
    assert listed(filled) == []
    gc.remove(filled, listed(filled, "other"), ("other",))
    assert list((filled.root / "scratch").iterdir()) == []
    assert filled.recipes() == ["smoke"]


def test_what_only_a_dropped_instance_made_is_needed_until_the_recipe_ran_without_it(
    filled, tmp_path
):
    fewer = "policy.variants=[context]"
    build(filled, "smoke", fewer)
    assert instances(listed(filled)) == {"report"}
    recipe = tmp_path / SMOKE.name
    recipe.write_text(SMOKE.read_text())
    ran = karma("run", str(recipe), "--set", fewer, workspace=filled.root)
    assert "up to date; nothing ran" in ran.stdout
    assert instances(listed(filled)) == {"report"}  # it was not the recipe that dropped them
    document = yaml.safe_load(SMOKE.read_text())
    document["policy"]["variants"] = ["context"]
    recipe.write_text(yaml.safe_dump(document, sort_keys=False))
    ran = karma("run", str(recipe), workspace=filled.root)
    assert "up to date; nothing ran" in ran.stdout
    assert {"policy/reddit/random/0", "evals/policy/reddit/random/0/humor"} < instances(
        listed(filled)
    )
    assert filled.ref("smoke", "policy/reddit/context/0") is not None


def open_run(store: Store) -> Journal:
    journal = Journal(store, "a" * 32, print)
    entry = {"kind": "parent", "keys": []}
    journal.open(entry, {**entry, "kind": "end"})
    return journal


def test_what_a_run_at_work_uses_stays_though_no_reference_points_to_it(changed):
    old = next(i for i in listed(changed) if i.instance == "policy/reddit/context/0")
    journal = open_run(changed)
    with changed.held():
        journal.use(old.key)
    assert "policy/reddit/context/0" not in instances(listed(changed))
    gc.remove(changed, [old])
    assert changed.record("policy", old.key) is not None
    journal.close({"kind": "end", "keys": []})
    (changed.root / "outbox").rename(changed.root / "sent")
    (changed.root / "outbox").mkdir()
    assert old.key in {item.key for item in listed(changed)}


def test_a_run_that_ends_while_gc_looks_is_seen_in_one_place_or_the_other(changed):
    old = next(i for i in listed(changed) if i.instance == "policy/reddit/context/0")
    journal = open_run(changed)
    journal.use(old.key)
    looked = roots(changed)
    seen = [next(looked)]
    changed.set_ref("other", old.instance, old.key, old.digest)
    journal.close({"kind": "end", "keys": []})
    assert old.key in {key for key, _ in [*seen, *looked]}


def _work(root: Path) -> None:
    """A run that commits sixty keys, each for the same instance, so that none stays referenced."""
    store = Store(root)
    journal = open_run(store)
    for number in range(60):
        key = f"{number:064x}"
        with store.held():
            journal.use(key)
        (store.begin(key) / "out" / "a.txt").write_text(str(number))
        facts = {"fingerprint": {"input": {}}, "seconds": 1.0}
        with store.lock(key, print):
            store.commit("base", key, facts)
        assert store.intact(store.record("base", key)["digest"])
        store.set_ref("busy", "base", key, store.record("base", key)["digest"])


def test_gc_beside_a_run_removes_nothing_that_the_run_has_committed(changed):
    context = multiprocessing.get_context("spawn")
    run = context.Process(target=_work, args=(changed.root,))
    run.start()
    removed: list[Item] = []
    while run.is_alive():
        removed += gc.remove(changed, listed(changed))
    run.join()
    assert run.exitcode == 0
    assert len(list((changed.root / "records" / "base").glob("0*.json"))) >= 60
    assert instances(removed) & {"policy/reddit/context/0"}


def test_gc_that_was_cut_off_leaves_nothing_that_looks_whole_and_is_not(changed):
    item = next(i for i in listed(changed) if i.instance == "policy/reddit/context/0")
    (changed.root / "records" / "policy" / f"{item.key}.json").unlink()
    shutil.rmtree(changed.root / "uses")
    assert verify(changed).findings == []
    assert item.digest in {i.digest for i in listed(changed)}


def test_the_document_holds_every_item_with_its_size_and_last_use(changed):
    document = json.loads(karma("gc", "--json", workspace=changed.root).stdout)
    assert (document["schema"], document["applied"], document["freed"]) == (1, False, 0)
    fields = {"recipe", "stage", "instance", "key", "digest", "bytes", "last_use"}
    assert all(set(item) == fields | {"needed_by", "how"} for item in document["items"])
    assert len(document["items"]) == len(listed(changed))
