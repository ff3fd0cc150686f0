"""A benchmark's rows in every format, and from a data set of the hub at its revision."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from pydantic import ValidationError

from karma.dag import build
from karma.errors import InputError
from karma.evals.benchmark import Read
from karma.evals.benchmarks import (
    bbq,
    crows_pairs,
    humor,
    implicature,
    irony,
    mmlu,
    persona,
    sentiment,
    sycophancy,
    toxicity,
    truthfulqa,
)
from karma.evals.catalogue import BENCHMARKS
from karma.evals.hub import _lines
from karma.evals.recipe import ON_THE_HUB, EvalsRecipe
from karma.plan import plan
from karma.recipe import load
from karma.store import Store
from tests.filled import SMOKE
from tests.test_evals import bbq_rows, data, toxic_rows, written_rows

A, B = "a" * 40, "b" * 40
TABLES = {
    "colbert_humor.csv": humor,
    "implicature.csv": implicature,
    "crows_pairs.csv": crows_pairs,
    "pragmatics/Irony.csv": irony,
    "bbq_age.jsonl": bbq,
    "persona/bold.jsonl": persona,
    "realtoxicityprompts.jsonl": toxicity,
    "truthfulqa_mc.json": truthfulqa,
}


def rows_of(path: Path) -> list[dict]:
    """The good and the broken rows of a file of ``data``, but for what no table can hold."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".json":
        return json.loads(path.read_text())
    return [json.loads(line) for line in path.read_text().splitlines() if line != "{"]


def save(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def told(found: Read) -> tuple[list, list]:
    """What was read, without the names and lines of files."""
    return found.items, [row["reason"] for row in found.broken]


@pytest.mark.parametrize("ending", [".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize("name", TABLES)
def test_the_same_rows_in_another_format_are_the_same_items(tmp_path, name, ending):
    old = data(tmp_path / "old") / name
    rows = rows_of(old)
    if ending == ".parquet" and name.startswith("persona"):
        rows = [
            row for row in rows if not isinstance(row.get("answer_not_matching_behavior"), list)
        ]
    if ending == ".parquet" and name.startswith("truthfulqa"):
        pytest.skip("answers as column names would be one table for all questions")
    save(old.with_suffix(".jsonl"), rows)
    if old.suffix != ".jsonl":
        old.unlink()
    save((tmp_path / "new" / name).with_suffix(ending), rows)
    read = TABLES[name].read
    assert told(read(tmp_path / "new")) == told(read(tmp_path / "old"))
    assert len(read(tmp_path / "new").items) > 1
    paths = BENCHMARKS[TABLES[name].__name__.rsplit(".", 1)[1]].found(tmp_path / "new")
    assert all(paths.values())


def test_a_table_in_two_formats_and_one_that_is_none_are_refused(tmp_path):
    folder = data(tmp_path)
    save(folder / "colbert_humor.jsonl", [{"text": "a", "humor": True}])
    with pytest.raises(InputError, match=r"colbert_humor.csv lies beside it"):
        humor.read(folder)
    (folder / "colbert_humor.csv").unlink()
    assert [item.gold for item in humor.read(folder).items] == [1]
    (folder / "colbert_humor.jsonl").unlink()
    (folder / "colbert_humor.parquet").write_text("text")
    with pytest.raises(InputError, match="it is no Parquet"):
        humor.read(folder)
    (folder / "colbert_humor.parquet").unlink()
    (folder / "colbert_humor.csv").write_text("no,such,columns\n")
    with pytest.raises(InputError, match="it has no column text, humor"):
        humor.read(folder)
    (folder / "colbert_humor.csv").unlink()
    with pytest.raises(InputError, match=r"no such file with an ending of .csv, .json"):
        humor.read(folder)


# The hub


def hub_rows() -> dict[str, dict[str, list[dict]]]:
    """For each benchmark of the hub, rows in the data set's own shape by configuration."""
    targets = {"choices": ["it", "no"], "labels": [1, 0]}
    asked = {"question": "which?", "subject": "some_art", "choices": ["w", "x", "y", "z"]}
    pair = {"sent_more": "they are", "sent_less": "we are", "bias_type": "age"}
    bio = "Hello, my name is A. I am 3. What is better?\n (A) This\n (B) That\n\nAnswer:"
    views = {"answer_matching_behavior": " (B)", "answer_not_matching_behavior": " (A)"}
    return {
        "humor": {"default": [{"text": "a joke", "humor": True}, {"text": "b", "humor": False}]},
        "sentiment": {
            "default": [{"id": 7, "text": "so glad", "label": 2, "sentiment": "positive"}]
        },
        "implicature": {
            "0-shot": [{"id": 1, "utterance": "Is it?", "response": "Hm.", "implicature": "no"}]
        },
        "truthfulqa": {
            "multiple_choice": [
                {"question": "What?", "mc1_targets": targets, "mc2_targets": targets}
            ]
        },
        "mmlu": {"all": [{**asked, "answer": 3}], "anatomy": [{**asked, "answer": 0}]},
        "toxicity": {"default": toxic_rows(12)},
        "crows_pairs": {"english": [{**pair, "stereo_antistereo": 1}], "french": []},
        "bbq": {"All": bbq_rows(), "Age": bbq_rows()[:1]},
        "persona": {"bold": written_rows()[:2], "shy": written_rows()[:1]},
        "sycophancy": {"views": [{"question": bio, **views}]},
    }


def cached(cache: Path, name: str, revision: str, split: str, configs: dict) -> None:
    """A data set in the hub's cache as ``huggingface_hub`` lays it out: links to blobs."""
    root = cache / f"datasets--{name.replace('/', '--')}"
    place = root / "snapshots" / revision
    (root / "blobs").mkdir(parents=True)
    head = {"configs": [], "dataset_info": []}
    for config, rows in configs.items():
        if rows:
            file = f"{config}/{split}-00000-of-00001.parquet"
            save(root / "blobs" / f"{config}.parquet", rows)
            (place / config).mkdir(parents=True)
            (place / file).symlink_to(root / "blobs" / f"{config}.parquet")
            listed = [{"split": split, "path": f"{config}/{split}-*"}]
            head["configs"].append({"config_name": config, "data_files": listed})
    if "english" in configs:
        names = {"names": {"0": "stereo", "1": "antistereo"}}
        columns = [{"name": n, "dtype": "string"} for n in ("sent_more", "sent_less", "bias_type")]
        columns.append({"name": "stereo_antistereo", "dtype": {"class_label": names}})
        head["dataset_info"] = [{"config_name": "english", "features": columns}]
    (place / "README.md").write_text(f"---\n{json.dumps(head)}\n---\n# Rows\n")


# In a process of its own, because the hub's client reads its environment when it is imported.
FETCH = """
import json, sys
from pathlib import Path
from karma.evals.hub import fetch
for where, layout, out in json.loads(sys.argv[1]):
    try:
        fetch(where, layout, Path(out))
    except Exception as error:
        print(error)
"""


def test_a_class_that_the_hub_does_not_tell_is_no_other_class():
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    rows = Dataset.from_dict({"text": ["a", "b"], "label": [1, -1]}, features=features)
    assert [json.loads(line)["label"] for line in _lines(rows)] == ["yes", -1]


def test_the_rows_come_from_the_hubs_cache_at_the_revision_that_is_named(tmp_path):
    jobs = []
    for name, configs in hub_rows().items():
        hub = BENCHMARKS[name].hub
        cached(tmp_path / "cache", hub.name, A, hub.split, configs)
        jobs.append([f"{hub.name}@{A}", hub._asdict(), str(tmp_path / name)])
    jobs.append([f"cais/mmlu@{B}", BENCHMARKS["mmlu"].hub._asdict(), str(tmp_path / "none")])
    wrong = {**BENCHMARKS["mmlu"].hub._asdict(), "split": "exam"}
    jobs.append([f"cais/mmlu@{A}", wrong, str(tmp_path / "wrong")])
    env = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "cache")}
    env |= {"HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(Path(__file__).parents[1])}
    ran = subprocess.run(
        [sys.executable, "-c", FETCH, json.dumps(jobs)], env=env, capture_output=True, text=True
    )
    first, second = ran.stdout.splitlines()
    assert f"evals.hub cais/mmlu@{B}: it cannot be loaded" in first
    assert "exam" in second
    modules = [humor, sentiment, implicature, truthfulqa, mmlu, toxicity, crows_pairs]
    modules += [bbq, persona, sycophancy]
    read = {module.__name__.rsplit(".", 1)[1]: module.read for module in modules}
    assert set(read) == set(ON_THE_HUB)
    found = {name: read[name](tmp_path / name / "data") for name in read}
    assert not [broken for part in found.values() for broken in part.broken]
    counts = {name: len(part.items) for name, part in found.items() if name != "toxicity"}
    assert counts == {
        "humor": 2,
        "sentiment": 1,
        "implicature": 1,
        "truthfulqa": 1,
        "mmlu": 1,
        "crows_pairs": 1,
        "bbq": 4,
        "persona": 3,
        "sycophancy": 1,
    }
    assert [item.gold for item in found["humor"].items] == [1, 0]
    [asked] = found["mmlu"].items
    assert (asked.category, asked.gold, asked.fields["D"]) == ("some_art", 3, "z")
    assert found["crows_pairs"].items[0].extra["direction"] == "antistereo"
    assert {item.category for item in found["persona"].items} == {"bold", "shy"}
    assert found["truthfulqa"].items[0].choices == ("it", "no")


def hub_recipe(*settings: str):
    pins = f"evals.hub={{mmlu: 'cais/mmlu@{A}', truthfulqa: 'truthfulqa/truthful_qa@{A}'}}"
    return load(SMOKE, ["evals.data=hub", pins, *settings])


def test_a_plan_knows_the_hubs_rows_by_their_revision_and_asks_nobody(tmp_path):
    nodes = build("smoke", hub_recipe()).nodes
    cells = {name.rsplit("/", 1)[1] for name in nodes if name.startswith("evals/base/")}
    assert cells == {"mmlu", "truthfulqa", "replies"}
    assert nodes["benchmark/mmlu"].source.revision == f"cais/mmlu@{A}"
    layout = nodes["evals/base/mmlu"].config["hub"]
    assert (layout["name"], layout["config"]) == (f"cais/mmlu@{A}", "all")
    entry = plan("smoke", hub_recipe(), Store(tmp_path)).entries["benchmark/mmlu"]
    assert entry.state == "FRESH"
    other = hub_recipe(f"evals.hub.mmlu='cais/mmlu@{B}'")
    assert plan("smoke", other, Store(tmp_path)).entries["benchmark/mmlu"].digest != entry.digest


def test_one_benchmark_can_come_from_the_hub_and_the_others_from_elsewhere():
    recipe = load(SMOKE, [f"evals.hub={{mmlu: 'cais/mmlu@{A}', bbq: 'oskarvanderwal/bbq@{A}'}}"])
    nodes = build("smoke", recipe).nodes
    assert nodes["benchmark/mmlu"].source.revision
    assert nodes["benchmark/humor"].inputs == {"world": "world"}
    assert {"benchmark/bbq", "evals/base/bbq"} <= set(nodes)
    assert "hub" not in nodes["evals/base/humor"].config


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ({"data": "hub"}, "data is hub, and hub is empty; karma pin RECIPE fills it"),
        (
            {"data": "hub", "benchmarks": ("mmlu",), "hub": {"humor": f"x/y@{A}"}},
            "no data set for mmlu; karma pin",
        ),
        ({"data": "hub", "benchmarks": ("irony",)}, "irony is not on the hub; name a folder"),
        ({"data": "world", "hub": {"irony": f"x/y@{A}"}}, "irony is not on the hub; known are"),
        ({"data": "world", "hub": {"mmlu": "cais/mmlu@main"}}, "no full revision; karma pin"),
    ],
)
def test_a_hub_without_a_revision_is_refused_before_anything_runs(section, reason):
    with pytest.raises(ValidationError, match=reason):
        EvalsRecipe(**section)
