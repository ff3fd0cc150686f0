"""``karma verify``: everything is read again, and what is damaged is told with whose it is."""

import json

import pytest

from karma.plan import plan
from karma.recipe import load
from karma.store import Store
from karma.upkeep.accept import accept
from karma.upkeep.verify import verify
from tests.filled import SMOKE
from tests.small import karma

LABELS = ("smoke:labels",)


def digest(store: Store, instance: str) -> str:
    return store.ref("smoke", instance)["digest"]


def told(store: Store) -> list[tuple[tuple[str, ...], str]]:
    return [(finding.instances, finding.what) for finding in verify(store).findings]


def test_a_store_as_it_was_made_is_whole_and_counted(filled):
    found = verify(filled)
    assert found.findings == []
    assert found.records == found.references == len(list((filled.root / "refs").rglob("*.json")))
    assert found.bytes > 0


def test_other_bytes_of_the_same_length_are_found_though_the_plan_cannot_see_them(filled):
    file = filled.path(digest(filled, "labels")) / "data.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert plan("smoke", load(SMOKE, []), filled).entries["labels"].state == "FRESH"
    assert told(filled) == [(LABELS, "data.parquet holds other bytes than were written")]


def test_files_that_are_gone_short_or_strange_are_told(filled):
    (filled.path(digest(filled, "labels")) / "data.parquet").unlink()
    (filled.path(digest(filled, "base")) / "data.parquet").write_text("cut")
    (filled.path(digest(filled, "report")) / "more.txt").write_text("")
    found = dict(told(filled))
    assert found[LABELS] == "data.parquet is gone"
    assert found[("smoke:base",)].startswith("data.parquet has 3 bytes instead of ")
    assert found[("smoke:report",)] == "more.txt does not belong to it"


def test_a_manifest_that_is_none_is_told_and_ends_nothing(filled):
    (filled.path(digest(filled, "labels")) / "manifest.json").write_text('{"a": 1}')
    assert told(filled) == [(LABELS, "manifest.json is not what it was made with")]


def test_a_manifest_that_was_changed_with_its_file_is_found(filled):
    manifest = filled.path(digest(filled, "labels")) / "manifest.json"
    manifest.write_text(manifest.read_text().replace("data.parquet", "date.parquet"))
    (manifest.parent / "data.parquet").rename(manifest.parent / "date.parquet")
    assert told(filled) == [(LABELS, "manifest.json is not what it was made with")]


def record_of(store: Store, instance: str):
    key = store.ref("smoke", instance)["key"]
    return store.root / "records" / instance.split("/")[0] / f"{key}.json"


def test_a_record_that_was_changed_is_found(filled):
    path = record_of(filled, "labels")
    document = json.loads(path.read_bytes())
    document["fingerprint"]["config"]["labels"]["pairs"]["min_margin"] = 9
    path.write_text(json.dumps(document))
    assert told(filled) == [(LABELS, "its fingerprint is not what its key was made of")]


def test_a_record_that_is_gone_or_no_record_is_found(filled):
    record_of(filled, "labels").unlink()
    record_of(filled, "base").write_text("{")
    found = [what for _, what in told(filled)]
    assert found == ["it points to no record", "it points to no record", "it is no record"]


def test_an_artefact_that_is_gone_is_found_by_its_record(filled):
    folder = filled.path(digest(filled, "labels"))
    folder.rename(filled.root / "elsewhere")
    assert told(filled) == [(LABELS, "its files are gone")]


@pytest.fixture
def accepted(filled) -> Store:
    """The workspace after somebody accepted another ``kl_coef``."""
    made = plan("smoke", load(SMOKE, ["policy.kl_coef=0.2"]), filled)
    accept(made, filled, "policy/reddit/context", "it is not read", ("config",))
    return filled


def test_an_accepted_record_is_counted_and_whole(accepted):
    found = verify(accepted)
    assert (found.accepted, found.findings) == (1, [])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"because": " "}, "it was accepted without a reason"),
        ({"causes": []}, "it was accepted for other causes"),
    ],
)
def test_an_accepted_record_that_does_not_say_what_happened_is_found(accepted, change, words):
    path = record_of(accepted, "policy/reddit/context/0")
    document = json.loads(path.read_bytes())
    document["accepted"][0] |= change
    path.write_text(json.dumps(document))
    assert [what for _, what in told(accepted)] == [words]


def test_the_command_ends_with_1_and_names_the_instance(filled):
    assert karma("verify", workspace=filled.root).returncode == 0
    (filled.path(digest(filled, "labels")) / "data.parquet").unlink()
    ran = karma("verify", workspace=filled.root)
    assert ran.returncode == 1
    assert ran.stdout.startswith("damaged  smoke:labels  objects/")
    assert "1 damaged." in ran.stdout
    document = json.loads(karma("verify", "--json", workspace=filled.root).stdout)
    assert document["findings"][0]["instances"] == ["smoke:labels"]
    nowhere = karma("verify", workspace=filled.root / "nowhere")
    assert (nowhere.returncode, "there is none" in nowhere.stderr) == (2, True)
