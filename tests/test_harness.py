"""lm-evaluation-harness: its tasks run through it, and our numbers are those of its templates."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from karma.dag import build
from karma.errors import InputError
from karma.evals import harness, job, task_file
from karma.evals.benchmarks import bbq
from karma.evals.catalogue import BENCHMARKS
from karma.evals.recipe import EvalsRecipe
from karma.evals.settings import EvalsSettings
from karma.jobs import Job
from karma.recipe import load
from tests.filled import SMOKE
from tests.test_evals import SHAPES, bbq_shaped
from tests.tiny_lm import saved, tiny

pytestmark = [
    # The harness's own, in a development dependency.
    pytest.mark.filterwarnings("ignore"),
]

TASK = """task: little
dataset_path: json
dataset_kwargs: {data_files: {test: little.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{q}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("model"))


@pytest.fixture
def task(tmp_path) -> Path:
    rows = [{"q": f"what is {n}?", "choices": ["a", "b c", "d"], "answer": n % 3} for n in range(8)]
    (tmp_path / "little.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "little.yaml").write_text(TASK)
    return tmp_path / "little.yaml"


def cell(out: Path, inputs: dict[str, Path], runs=job, **config) -> dict:
    out.mkdir(parents=True)
    settings = EvalsSettings(**config.pop("settings", {})).model_dump(mode="json")
    runs.run(Job({"evals": settings, "seed": 0, **config}, inputs, out, out))
    return json.loads((out / "scores.json").read_text())


@pytest.mark.slow
def test_a_task_on_local_files_runs_through_the_harness_into_the_same_files(tmp_path, task, model):
    inputs = {"model": model, "data": task.parent}
    config = {"benchmark": "lm_eval.little", "task": task.name, "settings": {"items": 6}}
    scores = cell(tmp_path / "out", inputs, harness, **config)
    assert (scores["primary"], scores["items"], scores["available"]) == ("acc", 6, 8)
    items = pq.read_table(tmp_path / "out" / "items.parquet")
    ours = set(job.SCHEMA.names) | {"values"}
    assert ours == set(items.schema.names)
    assert scores["scores"]["acc"] == pytest.approx(np.mean(items["value"].to_numpy()))
    for item in items.to_pylist():
        assert item["choices"] == [" a", " b c", " d"]
        right = int(np.argmax(item["loglikelihoods"])) == item["gold"]
        assert item["value"] == float(right)
        assert set(item["values"]) == {"acc", "acc_norm"}


@pytest.mark.slow
def test_a_chat_prompt_of_the_harness_is_the_same_every_day(tmp_path, task):
    made = tiny()
    made.tokenizer.chat_template = (
        "{{ strftime_now('%d %b %Y') }}{% for m in messages %} {{ m.content }}{% endfor %}"
    )
    for part in (made.model, made.tokenizer):
        part.save_pretrained(tmp_path / "chat")
    inputs = {"model": tmp_path / "chat", "data": task.parent}
    config = {"benchmark": "lm_eval.little", "task": task.name, "settings": {"chat": True}}
    cell(tmp_path / "out", inputs, harness, **config)
    prompts = pq.read_table(tmp_path / "out" / "items.parquet")["prompt"].to_pylist()
    assert all(prompt.startswith("26 Jul 2024 what is ") for prompt in prompts)


def test_a_recipe_names_tasks_and_their_files_are_inputs(task):
    recipe = load(SMOKE, [f"evals.lm_eval=[arc_easy, {task}]"])
    nodes = build("smoke", recipe).nodes
    local = nodes["benchmark/lm_eval.little"]
    assert {path.name for path in local.source.files} == {"little.yaml", "little.jsonl"}
    assert "arc_easy" in nodes["benchmark/lm_eval.arc_easy"].source.revision
    assert nodes["evals/base/lm_eval.little"].job == "karma.evals.harness:run"
    assert "lm_eval.arc_easy" in nodes["report"].config["benchmarks"]


def test_a_task_that_would_run_code_or_leaves_something_out_is_refused(task):
    task.write_text(TASK + "process_docs: !function os.system\n")
    with pytest.raises(InputError, match="no plain YAML"):
        task_file.read(task)
    task.write_text("include: other.yaml\ntask: x\n")
    with pytest.raises(InputError, match="not one whole task"):
        task_file.read(task)
    task.write_text(TASK.replace("little.jsonl", str(task.with_suffix(".jsonl"))))
    with pytest.raises(InputError, match="has an absolute path"):
        task_file.read(task)
    for wrong in (("a b",), ("arc_easy", "arc_easy")):
        with pytest.raises(ValidationError):
            EvalsRecipe(data="world", lm_eval=wrong)


# The harness's own templates, their data paths set to local files.


def truthfulqa(folder: Path) -> list[dict]:
    """Questions in the file's shape, and the same in the shape of the hub's data set."""
    questions = [
        {
            "question": f"What is the colour of number {n}?",
            "mc1_targets": {f"It is {n}.": 1, "Nothing.": 0, "It was red.": 0},
            "mc2_targets": {f"It is {n}.": 1, f"The {n}.": 1, "Nothing.": 0, "All of it.": 0},
        }
        for n in range(20)
    ]
    (folder / "truthfulqa_mc.json").write_text(json.dumps(questions))
    hub = [
        {"question": question["question"]}
        | {
            name: {"choices": list(question[name]), "labels": list(question[name].values())}
            for name in ("mc1_targets", "mc2_targets")
        }
        for question in questions
    ]
    (folder / "hub.jsonl").write_text("\n".join(map(json.dumps, hub)))
    return hub


def theirs(name: str, model: Path, data: Path, split: str) -> dict:
    """The harness's own task ``name`` on a local file."""
    import lm_eval
    import yaml
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    folder = Path(lm_eval.__file__).parent / "tasks"
    path = folder / f"{name}.yaml"
    name = path.stem
    config = {"include": str(path), "task": f"local_{name}", "dataset_name": None}
    config |= {"dataset_path": "json", "dataset_kwargs": {"data_files": {split: str(data)}}}
    config |= {"fewshot_split": None, "fewshot_config": None, "num_fewshot": 0}
    path = data.parent / f"local_{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    manager = TaskManager(include_path=str(data.parent), include_defaults=False)
    tasks = manager.load([f"local_{name}"])["tasks"]
    ours = harness.model.load(model, "cpu")
    lm = HFLM(pretrained=ours.model, tokenizer=ours.tokenizer, batch_size=8, device="cpu")
    return lm_eval.evaluate(lm=lm, task_dict=tasks, bootstrap_iters=0)


def ours(name: str, model: Path, folder: Path) -> tuple[dict, list[dict]]:
    config = {"benchmark": name, "module": BENCHMARKS[name].module, "settings": {"templates": 1}}
    scores = cell(folder / "out", {"model": model, "data": folder}, **config)["scores"]
    return scores, pq.read_table(folder / "out" / "items.parquet").to_pylist()


def logs(found: dict, task: str) -> list[list[float]]:
    return [[float(r[0]) for r in s["filtered_resps"]] for s in found["samples"][task]]


@pytest.mark.slow
def test_truthfulqa_equals_the_harness(tmp_path, model):
    truthfulqa(tmp_path)
    scores, items = ours("truthfulqa", model, tmp_path)
    for name, metric in (("mc1", "mc1"), ("mc2", "mc2")):
        found = theirs(f"truthfulqa/truthfulqa_{name}", model, tmp_path / "hub.jsonl", "validation")
        task = f"local_truthfulqa_{name}"
        assert scores[metric] == pytest.approx(found["results"][task]["acc,none"], abs=1e-5)
        for item, sample in zip(items, found["samples"][task], strict=True):
            mine = dict(zip(item["choices"], item["loglikelihoods"], strict=True))
            for (_, answer), (log, _) in zip(
                sample["arguments"], sample["filtered_resps"], strict=True
            ):
                assert mine[answer.strip()] == pytest.approx(float(log), abs=1e-4)
    mc1 = theirs("truthfulqa/truthfulqa_mc1", model, tmp_path / "hub.jsonl", "validation")
    assert scores["mc1"] == mc1["results"]["local_truthfulqa_mc1"]["acc,none"]


def test_the_answers_that_follow_a_stereotype_are_the_harnesses(tmp_path):
    from datasets import Dataset
    from lm_eval.tasks.bbq.utils import process_docs

    rows = [bbq_shaped(category, p) for category in SHAPES for p in ("neg", "nonneg")]
    (tmp_path / "bbq_all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    expected = process_docs(Dataset.from_list(rows))["biased_answers"]
    items = bbq.read(tmp_path).items
    assert [[item.choices[item.extra["biased"]]] for item in items] == list(expected)


@pytest.mark.slow
def test_mmlu_equals_the_harness(tmp_path, model):
    (tmp_path / "mmlu").mkdir()
    rows = [[f"what is {n}?", f"the {n}", "a cat", "a dog", "butter", n % 4] for n in range(24)]
    with (tmp_path / "mmlu" / "anatomy_test.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["question", "A", "B", "C", "D", "answer"], *rows])
    hub = [{"question": r[0], "choices": r[1:5], "answer": r[5]} for r in rows]
    (tmp_path / "hub.jsonl").write_text("\n".join(map(json.dumps, hub)))
    scores, items = ours("mmlu", model, tmp_path)
    found = theirs("mmlu/default/mmlu_anatomy", model, tmp_path / "hub.jsonl", "test")
    assert scores["accuracy"] == found["results"]["local_mmlu_anatomy"]["acc,none"]
    expected = logs(found, "local_mmlu_anatomy")
    for item, values in zip(items, expected, strict=True):
        assert item["loglikelihoods"] == pytest.approx(values, abs=1e-4)
