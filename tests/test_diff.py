"""Two runs compared: only what differs, with intervals."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from karma.diff import compare, find, text
from karma.errors import InputError
from karma.report.job import run
from karma.store import Store
from tests.test_report import study, write_items


def commit(store: Store, stage: str, key: str, source: Path, fingerprint: dict) -> str:
    out = store.begin(key) / "out"
    shutil.copytree(source, out, dirs_exist_ok=True)
    return store.commit(stage, key, {"fingerprint": fingerprint, "began": 0.0})["digest"]


def whole(store: Store, folder: Path, number: int, worse: float = 0.0, **config) -> None:
    """A study's cells and report in the store, under keys of its own; ``worse`` moves one cell."""
    job = study(folder)
    place = job.inputs["evals/base/toxicity"]
    rows = [
        {"id": f"toxicity-{i}", "group": f"g{i // 2}", "value": i / 60 - worse * (i % 3)}
        for i in range(60)
    ]
    table = {key: [row[key] for row in rows] for key in rows[0]}
    write_items(place, {**table, "prompt_hash": ["x"] * 60}, "expected_max_toxicity")
    scores = json.loads((place / "scores.json").read_text())
    scores["scores"]["expected_max_toxicity"] = float(np.mean(table["value"]))
    (place / "scores.json").write_text(json.dumps(scores))
    digests = {}
    for role, path in job.inputs.items():
        key = f"{abs(hash((role, number))):064x}"
        made = {"config": {"cell": config}, "code": {}} if role == "evals/base/toxicity" else {}
        digests[role] = commit(store, role.split("/")[0], key, path, made)
    run(job)
    key = f"{number:064x}"
    fingerprint = {"config": job.config["report"], "input": digests}
    digest = commit(store, "report", key, job.out, fingerprint)
    store.set_ref(f"run{number}", "report", key, digest)


@pytest.fixture
def two(store: Store, tmp_path: Path) -> Store:
    for number, worse in ((1, 0.0), (2, 0.1)):
        (tmp_path / str(number)).mkdir()
        whole(store, tmp_path / str(number), number, worse, temperature=float(number))
    return store


def test_only_what_differs_is_told_with_its_interval_and_its_cause(two):
    document = compare(two, find(two, "run1"), find(two, "run2"))
    assert document["causes"] == [
        {"kind": "config", "what": "cell.temperature", "old": 1.0, "new": 2.0}
    ]
    [row] = document["scores"]
    assert (row["model"], row["benchmark"]) == ("base", "toxicity")
    gap = row["difference"]
    assert gap["value"] == pytest.approx(-0.1)
    assert gap["low"] < gap["value"] < gap["high"] < 0
    assert gap["n"] == 60
    lines = text(document)
    assert lines[0] == "config   cell.temperature: 1.0 → 2.0"
    assert "−0.100 [" in lines[1]
    assert len(lines) == 2


def test_a_run_does_not_differ_from_itself_however_it_is_named(two):
    digest = two.ref("run1", "report")["digest"]
    for name in ("run1", digest[:12], str(two.path(digest)), str(two.path(digest) / "report.json")):
        document = compare(two, find(two, "run1"), find(two, name))
        assert text(document) == [f"run1 and {name} do not differ."]


def test_a_recipe_is_meant_though_a_folder_has_its_name(two, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run1").mkdir()
    assert find(two, "run1").fingerprint is not None


def test_two_files_without_a_store_are_compared_by_what_they_print(two, tmp_path):
    folders = []
    for name in ("run1", "run2"):
        folders.append(tmp_path / f"{name}-copy")
        shutil.copytree(two.path(two.ref(name, "report")["digest"]), folders[-1])
    document = compare(two, *(find(two, str(folder)) for folder in folders))
    assert document["causes"] == []
    [row] = document["scores"]
    assert row["difference"] is None
    assert row["old"]["low"] < row["old"]["value"] < row["old"]["high"]


def test_reward_models_and_the_ways_of_policies_are_compared_too(two, tmp_path):
    folder = two.path(two.ref("run1", "report")["digest"])
    report = json.loads((folder / "report.json").read_text())
    report["rewards"][0]["spearman"] |= {"value": 0.25, "low": 0.125, "high": 0.5}
    report["policies"][0]["kl"] = 9.0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "report.json").write_text(json.dumps(report))
    document = compare(two, find(two, str(folder)), find(two, str(tmp_path / "other")))
    assert text(document) == [
        "reward   context/0 spearman: 0.600 [no spread] → 0.250 [0.125, 0.500]",
        "KL       policy/unexposed/context/0: 3.500 → 9.000",
    ]


def test_a_name_that_is_no_run_says_what_would_be_one(store):
    for name in ("nothing", "abcdef123", "../x"):
        with pytest.raises(InputError, match="Name a recipe"):
            find(store, name)
