"""``karma score`` and ``karma export``: a reward model used outside the pipeline."""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from huggingface_hub import ModelCard
from transformers import AutoModelForSequenceClassification

from karma.errors import InputError
from karma.policy.prompts import read as read_prompts
from karma.reward.card import REPLY, SLOT, TURNS
from karma.reward.data import read
from karma.reward.export import export
from karma.reward.job import run
from karma.reward.locate import locate
from karma.reward.recipe import RewardRecipe
from karma.reward.score import load
from karma.reward.stream import Reader, score_lines
from karma.store import Store
from tests.small import karma
from tests.test_reward import make_job, make_world

GOOD = {"id": "a", "context": TURNS, "reply": REPLY, **SLOT}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def metadata(world: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("metadata") / "out"
    run(make_job(world, out, "metadata", epochs=1, max_tokens=256))
    return out


def ask(model: Path, *records: object, neutral: bool = False, strict: bool = False, batch: int = 3):
    """Lines out and words said, for records or raw lines in."""
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    sink, said = io.StringIO(), []
    source = io.BytesIO(b"\n".join(lines) + b"\n")
    options = {"batch": batch, "neutral": neutral, "strict": strict}
    score_lines(load(model), source, sink, said.append, **options)
    return [json.loads(line) for line in sink.getvalue().splitlines()], said


def test_score_gives_held_out_rows_the_rewards_that_the_stage_measured(metadata, world):
    rows = pq.read_table(world["threads/0-100"] / "conversations.parquet").to_pylist()
    measured = {
        r["id"]: r["reward"] for r in pq.read_table(metadata / "heldout.parquet").to_pylist()
    }
    held = [row for row in rows if row["id"] in measured]
    found, said = ask(metadata, *held, batch=50)
    assert [line["id"] for line in found] == [row["id"] for row in held]
    expected = [measured[row["id"]] for row in held]
    assert np.allclose([line["reward"] for line in found], expected, atol=1e-5)
    assert said == [said[0]]
    assert said[0].startswith("280 of 280 records scored")


def test_training_evaluation_ppo_and_score_read_the_same_bytes(metadata, world, tmp_path):
    rows = pq.read_table(world["threads/0-100"] / "conversations.parquet")
    rows = rows.slice(0, 5)
    prompts = rows.rename_columns(["turns" if n == "context" else n for n in rows.column_names])
    place = prompts.schema.get_field_index("split")
    prompts = prompts.set_column(place, "split", [["train"] * 5])
    pq.write_table(prompts, tmp_path / "prompts.parquet")
    view = load(metadata).scorer.view
    job = make_job(world, tmp_path / "out", "metadata")
    train = read(job, RewardRecipe.model_validate(job.config["reward"]), "reward")
    trained = {r.id: (r.context, r.reply, r.slot) for s in train.values() for r in s.rows}
    taken = Reader(load(metadata), neutral=False)
    compared = 0
    for row, (turns, slot) in zip(rows.to_pylist(), read_prompts(tmp_path), strict=True):
        given, given_slot = taken(json.dumps(row).encode())
        scored = view.text([t.model_dump() for t in given.context], given.reply, given_slot)
        assert view.text(turns, row["reply"], slot).encode() == scored.encode()
        if row["id"] in trained:  # the others are gold's
            compared += 1
            assert view.text(*trained[row["id"]]).encode() == scored.encode()
    assert compared


def test_a_bad_record_gets_one_line_and_the_next_ones_are_scored(metadata):
    bad = [
        b'{"reply": ',
        b"",
        b"[1]",
        b"\xff\xfe",
        {"context": TURNS, **SLOT},
        {**GOOD, "reply": 7},
        {**GOOD, "context": [{"role": "judge", "text": "a"}]},
        {**GOOD, "delay": "soon"},
        {**GOOD, "hour": 24},
        {**GOOD, "id": True},
        b'{"reply": "a", "context": [], "subreddit": null, "depth": NaN}',
        {**GOOD, "reply": "\ud800"},
        {key: value for key, value in GOOD.items() if key != "hour"},
    ]
    found, said = ask(metadata, GOOD, *bad, GOOD)
    assert [line["line"] for line in found] == list(range(1, 16))
    assert found[0]["reward"] == found[-1]["reward"]
    assert all(line["reward"] is None and line["error"] for line in found[1:-1])
    assert len(said) == len(bad) + 1
    assert (
        said[-2] == "line 14: it lacks hour, which the model sees; --neutral puts in the view's own"
    )
    assert said[-1].endswith("13 refused")
    assert said[0] == (
        "line 2: it is no JSON object that can be read "
        "(invalid JSON: EOF while parsing a value at column 9)"
    )
    assert "id: it should be a string or a whole number" in found[10]["error"]
    assert [line.get("id") for line in found] == [
        "a", *[None] * 5, *["a"] * 4, *[None] * 3, "a", "a",
    ]  # fmt: skip
    assert "Reply" not in "".join(said)


def test_strict_stops_at_the_first_bad_record_after_writing_those_before(metadata):
    sink = io.StringIO()
    source = io.BytesIO(json.dumps(GOOD).encode() + b"\nno\n" + json.dumps(GOOD).encode())
    with pytest.raises(InputError, match=r"line 2: it is no JSON object"):
        score_lines(
            load(metadata), source, sink, lambda _: None, batch=9, neutral=False, strict=True
        )
    assert len(sink.getvalue().splitlines()) == 1


def test_neutral_stands_in_for_missing_fields_only(metadata):
    short = {key: value for key, value in GOOD.items() if key != "parent_score"}
    neutral = json.loads((metadata / "reward.json").read_text())["neutral"]
    whole = {**GOOD, "parent_score": neutral["parent_score"]}
    (first, second), _ = ask(metadata, short, whole, neutral=True)
    assert first["reward"] == pytest.approx(second["reward"], abs=1e-6)
    found, _ = ask(metadata, {"reply": "a"}, neutral=True)
    assert found[0]["error"].startswith("it lacks context")


def test_what_was_cut_is_told_at_the_end(metadata):
    long = {**GOOD, "context": [*TURNS, {"role": "comment", "text": "a " * 300}]}
    _, said = ask(metadata, GOOD, long, {**GOOD, "reply": "a " * 300}, neutral=True)
    assert said[-1].endswith("; 2 lost their oldest turns; 1 lost the end of the reply")


def test_random_length_and_sums_are_scored_like_any_other(metadata, world, tmp_path):
    variants = {"mixed": {"kind": "sum", "terms": {"random": 1.0, "length": -0.5}}}
    for name in ("random", "length", "mixed"):
        run(make_job(world, tmp_path / name, name, variants=variants))
    found, _ = ask(tmp_path / "length", {"reply": "lol"})
    assert isinstance(found[0]["reward"], float)
    found, _ = ask(tmp_path / "random", {"reply": "lol"})
    assert found[0]["error"] == "it lacks context, which the model sees"
    found, _ = ask(tmp_path / "mixed", {"reply": "lol", "context": []})
    assert set(found[0]["terms"]) == {"random", "length"}
    with pytest.raises(InputError, match=r"kind sum has no weights to export.*computes it\.$"):
        export(tmp_path / "mixed", tmp_path / "out")
    shutil.copytree(metadata, tmp_path / "mixed" / "terms" / "metadata")
    with pytest.raises(InputError, match=r"of its terms: [^,]*terms/metadata\.$"):
        export(tmp_path / "mixed", tmp_path / "out")


def test_an_export_loads_plainly_and_its_card_computes_what_score_does(metadata, tmp_path):
    out = tmp_path / "exported"
    export(metadata, out)
    model = AutoModelForSequenceClassification.from_pretrained(out)
    assert model.config.num_labels == 1
    card = ModelCard.load(out / "README.md")
    assert card.data.to_dict()["library_name"] == "transformers"
    assert {r.metric_type for r in card.data.eval_results} >= {"spearman", "pair_accuracy"}
    (code,) = re.findall(r"```python\n(.*?)```", card.text, flags=re.DOTALL)
    program = code + "\nprint(reward)"
    ran = subprocess.run([sys.executable, "-c", program], cwd=out, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    (expected,), _ = ask(metadata, GOOD)
    assert float(ran.stdout) == pytest.approx(expected["reward"], abs=1e-5)
    (again,), _ = ask(out, GOOD)
    assert again == expected
    with pytest.raises(InputError, match="not an empty folder"):
        export(metadata, out)
    with pytest.raises(InputError, match="it is an export already"):
        export(out, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_an_export_names_the_hub_model_that_it_started_from(metadata, tmp_path):
    folder = tmp_path / "artefact"
    shutil.copytree(metadata, folder)
    document = json.loads((folder / "reward.json").read_text())
    document["training"]["backbone"] = "meta-llama/Llama-3.2-1B"
    (folder / "reward.json").write_text(json.dumps(document))
    export(folder, tmp_path / "out")
    data = ModelCard.load(tmp_path / "out" / "README.md").data
    assert data.base_model == "meta-llama/Llama-3.2-1B"


def commit(store: Store, recipe: str, key: str, content: str) -> Path:
    out = store.begin(key) / "out"
    (out / "reward.json").write_text(content)
    record = store.commit("reward", key, {"fingerprint": {}, "seconds": 1.0, "began": 0.0})
    store.set_try(recipe, "reward/context/0", key)
    store.set_ref(recipe, "reward/context/0", key, record["digest"])
    return store.path(record["digest"])


def test_a_model_is_named_by_folder_instance_or_recipe_and_instance(store, tmp_path):
    first = commit(store, "one", "1" * 64, "{}")
    assert locate("reward/context/0", store) == locate("one:reward/context/0", store) == first
    assert locate(str(first), store) == first
    second = commit(store, "two", "2" * 64, '{"a": 1}')
    assert locate("two:reward/context/0", store) == second
    with pytest.raises(InputError, match=r"Choose: .*one:reward/context/0"):
        locate("reward/context/0", store)
    for name in ("reward/context/1", "three:reward/context/0", "labels", "reward/../../x"):
        with pytest.raises(InputError, match="no recipe has made"):
            locate(name, store)
    with pytest.raises(InputError, match=r"holds no reward\.json"):
        locate(str(tmp_path), store)
    (second / "reward.json").unlink()
    with pytest.raises(InputError, match="files of its artefact are missing"):
        locate("two:reward/context/0", store)


def test_the_command_scores_standard_input(metadata, tmp_path):
    ran = karma("score", "reward/nothing/0", workspace=tmp_path)
    assert ran.returncode == 2
    assert "no recipe has made" in ran.stderr
    command = [Path(sys.executable).parent / "karma", "score", metadata, "--strict"]
    given = json.dumps(GOOD) + "\n"
    ran = subprocess.run(command, input=given, capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert list(json.loads(ran.stdout)) == ["line", "id", "reward"]
    assert len(ran.stderr.splitlines()) == 1
