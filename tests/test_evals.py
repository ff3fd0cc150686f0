"""The benchmarks: what is read, what is set aside, what the scores mean, what a cell writes."""

import csv
import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)

from karma.dag import build
from karma.errors import CheckError, InputError, RecipeError, StageError
from karma.evals import choices, classifier, job, scorer, template
from karma.evals import model as language_model
from karma.evals.benchmark import Cell, Item, Row, Template, limit, means, stable
from karma.evals.benchmarks import (
    bbq,
    crows_pairs,
    hu_humor,
    humor,
    implicature,
    indirect_speech,
    irony,
    maxims,
    metaphor,
    mmlu,
    persona,
    replies,
    sentiment,
    sycophancy,
    toxicity,
    truthfulqa,
)
from karma.evals.benchmarks.fit import _measure
from karma.evals.catalogue import BENCHMARKS
from karma.evals.generate import Sampled
from karma.evals.job import table
from karma.evals.recipe import EvalsRecipe
from karma.evals.settings import Classifier, EvalsSettings, ToxicitySettings
from karma.fingerprint import code
from karma.jobs import Job
from karma.recipe import load
from karma.text import render
from karma.world.job import truth
from karma.world.recipe import WorldRecipe
from karma.world.truth import centred_fit
from tests.filled import SMOKE
from tests.tiny_lm import saved, tiny, tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("model"))


def write(path: Path, rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def toxic_rows(count: int = 120) -> list[dict]:
    """Rows in RealToxicityPrompts' shape: every third is full of a bad word."""
    rows = []
    for n in range(count):
        word, score = ("grotto", 0.9) if n % 3 == 0 else ("garden", 0.1)
        text = {"text": f"the {word} of number {n}", "toxicity": score}
        rows.append({"filename": f"{n}.txt", "prompt": text, "continuation": dict(text)})
    return rows


def data(folder: Path) -> Path:
    """A data folder with a few items of every benchmark, each with a row that is broken."""
    jokes = [[f"a text\nof number {n}", str(n % 2 == 0)] for n in range(20)]
    write(folder / "colbert_humor.csv", [["text", "humor"], *jokes, ["a text", "maybe"]])
    (folder / "sentiment_text.txt").write_text("so sad\nso\u2028so\nso glad\n\n")
    (folder / "sentiment_labels.txt").write_text("0\n1\n2\n1\n")
    header = ["Context utterance", "Response utterance", "Implicature"]
    said = [["Is it?", "Is the pope?", "Yes."], ["Is it?", "No way.", "no, never"]]
    write(folder / "implicature.csv", [header, *said, ["Is it?", "Hm.", "Not sure"]])
    questions = [
        {
            "question": f"What is {n}?",
            "mc1_targets": {f"it is {n}": 1, "nothing": 0},
            "mc2_targets": {f"it is {n}": 1, f"the {n}": 1, "nothing": 0, "all": 0},
        }
        for n in range(6)
    ]
    empty = {**questions[0], "mc1_targets": {"it": 1, "": 0}}
    (folder / "truthfulqa_mc.json").write_text(json.dumps([*questions, empty]))
    header = ["question", "A", "B", "C", "D", "answer"]
    asked = [[f"what is {n}?", "w", "x", "y", "z", str(n % 4)] for n in range(8)]
    write(folder / "mmlu" / "some_art_test.csv", [header, *asked, ["a", " b", *asked[0][1:]]])
    write(folder / "mmlu" / "logic_test.csv", [["old shape?", "w", "x", "y", "z", "D"]])
    header = ["", "sent_more", "sent_less", "stereo_antistereo", "bias_type"]
    pairs = [[str(n), f"they are {n}", f"we are {n}", "stereo", "age"] for n in range(6)]
    pairs.append(["6", "he is", "she is", "antistereo", "gender"])
    write(folder / "crows_pairs.csv", [header, *pairs, ["7", "he is", "", "stereo", "age"]])
    lines = [json.dumps(row) for row in toxic_rows()]
    null = {**toxic_rows()[0], "prompt": {"text": "x", "toxicity": None}}
    (folder / "realtoxicityprompts.jsonl").write_text("\n".join([*lines, json.dumps(null), "{"]))
    for name, options in HU.items():
        write(folder / "pragmatics" / f"{name}.csv", hu_rows(name, options))
    write_lines(folder / "bbq_age.jsonl", [*bbq_rows(), {**bbq_rows()[0], "label": 3}])
    write_lines(folder / "persona" / "bold.jsonl", [*written_rows(), {"question": "what?"}])
    write_lines(folder / "sycophancy" / "views.jsonl", [*written_rows(), {}])
    return folder


HU = {"Irony": 4, "Maxims": 4, "IndirectSpeech": 4, "Metaphor": 5, "Humour": 5}


def hu_rows(name: str, options: int) -> list[list[str]]:
    """Rows in the shape of Hu et al.: three good ones, an example, one that contradicts itself."""
    head, listed = ("Joke", "Punchlines") if name == "Humour" else ("Scenario", "Options")
    rows = []
    for n in range(5):
        labels = ["IncorrectLiteral"] * options
        labels[n % options] = "CorrectNonLiteral"
        answer = n % options + (2 if n == 4 else 1)
        texts = "\n".join(f"{i}) option {i}." for i in range(1, options + 1))
        end = "\r\n" if n == 1 else "\n"
        prompt = f"Task: choose.\n\n{head}: story {n} {{x}}.{end}{listed}:\n{texts}\nAnswer: "
        rows.append([str(n // 2), prompt, str(answer), str(labels), str(n == 3)])
    columns = ["item_id", "prompt", "randomized_true_answer", "randomized_labels_complex"]
    return [[*columns, "is_example"], *rows]


def bbq_rows() -> list[dict]:
    """One question with and without its facts, asked both ways."""
    rows = []
    for polarity in ("neg", "nonneg"):
        for condition, label in (("ambig", 1), ("disambig", 0)):
            rows.append(
                {
                    "question_index": "1",
                    "question_polarity": polarity,
                    "context_condition": condition,
                    "category": "Age",
                    "answer_info": {
                        "ans0": ["the old one", "old"],
                        "ans1": ["Not known", "unknown"],
                        "ans2": ["the young one", "nonOld"],
                    },
                    "additional_metadata": {"stereotyped_groups": ["old"]},
                    "context": "Two people met.",
                    "question": f"Who was {polarity}?",
                    "ans0": "the old one",
                    "ans1": "Not known",
                    "ans2": "the young one",
                    "label": label,
                }
            )
    return rows


def written_rows() -> list[dict]:
    """Model-written questions; in one the other answers are a list."""
    return [
        {
            "question": f"Would you say {n}?",
            "answer_matching_behavior": " Yes" if n % 2 else " No",
            "answer_not_matching_behavior": [" Maybe", " Yes"] if n == 2 else " Perhaps",
        }
        for n in range(4)
    ]


def write_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(
    tmp_path: Path, name: str, inputs: dict[str, Path], more: dict | None = None, **settings
) -> dict:
    """Run one cell; its scores. The files lie in ``tmp_path / name``."""
    out = tmp_path / name
    out.mkdir(parents=True)
    section = EvalsSettings(generations=2, max_new_tokens=8, **settings)
    config = {
        "evals": section.model_dump(mode="json"),
        "benchmark": name,
        "module": BENCHMARKS[name].module,
        "seed": 0,
        **(more or {}),
    }
    job.run(Job(config, inputs, out, out))
    return json.loads((out / "scores.json").read_text())


# The table


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_row_of_the_table_names_a_module_of_the_same_kind(name):
    benchmark = importlib.import_module(BENCHMARKS[name].module).BENCHMARK
    assert benchmark.kind == BENCHMARKS[name].kind
    assert benchmark.role == ("prompts" if BENCHMARKS[name].prompts else "data")


def test_no_cell_depends_on_the_table_so_a_new_benchmark_leaves_all_fresh():
    for entry in BENCHMARKS.values():
        modules = code("karma.evals.job") | code(entry.module)
        assert "karma.evals.catalogue" not in modules
        others = {e.module for e in BENCHMARKS.values()} - {entry.module}
        assert not others & set(modules)


def test_an_unknown_benchmark_is_told_with_the_nearest_name():
    with pytest.raises(ValidationError, match="did you mean humor"):
        EvalsRecipe(data="world", benchmarks=("humour",))
    with pytest.raises(ValidationError, match="named twice"):
        EvalsRecipe(data="world", benchmarks=("mmlu", "mmlu"))
    assert EvalsRecipe(data="world").benchmarks == "all"


# Reading


@pytest.mark.parametrize(
    ("module", "items", "broken"),
    [
        (humor, 20, ["neither True nor False"]),
        (sentiment, 3, ["no text"]),
        (implicature, 2, ["neither yes nor no"]),
        (truthfulqa, 6, ["empty answer"]),
        (mmlu, 9, ["7 fields instead of 6"]),
        (crows_pairs, 7, ["a sentence is missing"]),
        (irony, 3, ["an example", "is not the one"]),
        (bbq, 4, ["label is not 0, 1 or 2"]),
        (persona, 4, ["an answer is missing"]),
        (sycophancy, 4, ["no question"]),
    ],
)
def test_broken_rows_are_counted_and_told_apart(tmp_path, module, items, broken):
    found = module.read(data(tmp_path))
    assert len(found.items) == items
    assert len({item.id for item in found.items}) == items
    assert len(found.broken) == len(broken)
    for row, reason in zip(found.broken, broken, strict=True):
        assert reason in row["reason"]
        assert (tmp_path / row["file"]).exists()


def test_a_broken_row_is_told_by_the_line_it_ends_on(tmp_path):
    [row] = humor.read(data(tmp_path)).broken
    assert row["line"] == 1 + 2 * 20 + 1  # the header, twenty texts of two lines, itself


def test_golds_are_those_of_the_files(tmp_path):
    data(tmp_path)
    assert [item.gold for item in sentiment.read(tmp_path).items] == [0, 1, 2]
    assert [item.gold for item in implicature.read(tmp_path).items] == [1, 0]
    found = {item.id: item for item in mmlu.read(tmp_path).items}
    assert found["logic/0"].gold == 3
    assert found["some_art/5"].gold == 1
    assert found["some_art/5"].fields["subject"] == "some art"
    assert [item.gold for item in humor.read(tmp_path).items[:2]] == [1, 0]


def test_sentiment_is_read_from_the_multiclass_table_where_that_is_there(tmp_path):
    data(tmp_path)
    rows = [["7", "so\nglad", "2", "positive"], ["8", "sad", "0", "neutral"], ["9", "", "1", "x"]]
    write(tmp_path / "multiclass_sentiment.csv", [["id", "text", "label", "sentiment"], *rows])
    found = sentiment.read(tmp_path)
    assert [(item.fields["text"], item.gold) for item in found.items] == [("so\nglad", 2)]
    reasons = [row["reason"] for row in found.broken]
    assert reasons == ["label 0 is not sentiment 'neutral'", "label 1 is not sentiment 'x'"]
    assert BENCHMARKS["sentiment"].found(tmp_path).keys() == {"multiclass_sentiment"}
    (tmp_path / "multiclass_sentiment.csv").unlink()
    assert len(BENCHMARKS["sentiment"].found(tmp_path)) == 2


def test_options_and_their_numbers_are_those_of_the_prompt(tmp_path):
    first, second, _ = irony.read(data(tmp_path)).items
    assert first.gold == 0
    assert second.gold == 1
    assert first.group == second.group
    for name, offered in (("default", ("1", "2")), ("options", ("option 1.", "option 2."))):
        prompt, answers = template.load("irony", name).write(second)
        assert answers[:2] == offered
        assert "story 1 {x}." in prompt
        assert "4) option 4." in prompt
    assert "option" not in template.load("irony", "cloze").write(second)[0]


def test_the_bias_score_is_that_of_the_paper(tmp_path):
    asked = bbq.read(data(tmp_path)).items
    assert [item.extra["biased"] for item in asked] == [0, 0, 2, 2]

    def rows(condition, *predictions):
        part = [item for item in asked if item.category == condition]
        pairs = zip(part, predictions, strict=True)
        return [Row(item, "", "", False, prediction=p) for item, p in pairs]

    assert bbq.bias(rows("disambig", 0, 2), "disambig") == 1.0  # both follow the stereotype
    assert bbq.bias(rows("disambig", 0, 0), "disambig") == 0.0
    assert bbq.bias(rows("ambig", 0, 1), "ambig") == 0.5  # half are wrong, all of them biased
    assert bbq.bias(rows("ambig", 1, 1), "ambig") == 0.0


SHAPES = {
    "Age": (["my grandfather", "old"], ["my grandson", "nonOld"], ["old"]),
    "Disability_status": (["a deaf man", "disabled"], ["Joe", "nonDisabled"], ["disabled", "deaf"]),
    "Gender_identity": (["woman", "woman"], ["man", "man"], ["F", "girl"]),
    "Gender_identity names": (["Ann", "F"], ["Bob", "M"], ["Woman", "F"]),
    "Nationality": (["Afghan", "MiddleEast"], ["Danish", "Europe"], ["Afghan", "Iraqi"]),
    "Physical_appearance": (["she", "obese"], ["the other", "nonObese"], ["Obese"]),
    "Race_ethnicity": (["Jamal", "F-Black"], ["Tom", "F-White"], ["Black", "African American"]),
    "Race_x_gender": (["Ann", "F_Latino"], ["Bob", "M_White"], ["Latino"]),
    "Race_x_SES": (["the poor one", "lowSES-African"], ["rich", "highSES-White"], ["african"]),
    "Religion": (["Muslim", "Muslim"], ["Jewish", "Jewish"], ["Muslim"]),
    "SES": (["the janitor", "lowSES"], ["the judge", "highSES"], ["low SES"]),
    "Sexual_orientation": (["gay man", "gay"], ["straight", "straight"], ["gay", "lesbian"]),
}


def bbq_shaped(category: str, polarity: str = "neg", condition: str = "ambig") -> dict:
    """A row as BBQ's file of the category has it: the stereotyped group, unknown, the other."""
    one, other, stereotyped = SHAPES[category]
    info = {"ans0": one, "ans1": ["Not known", "unknown"], "ans2": other}
    named = {"category": category.split()[0], "answer_info": info}
    named |= {"additional_metadata": {"stereotyped_groups": stereotyped}}
    asked = {"question_polarity": polarity, "context_condition": condition}
    return {**bbq_rows()[0], **named, **asked}


@pytest.mark.parametrize("category", SHAPES)
def test_the_stereotyped_answer_is_known_in_each_categorys_shape(tmp_path, category):
    rows = [bbq_shaped(category, "neg"), bbq_shaped(category, "nonneg")]
    write_lines(tmp_path / "bbq_it.jsonl", rows)
    assert [item.extra["biased"] for item in bbq.read(tmp_path).items] == [0, 2]


def test_without_a_row_that_tells_the_stereotype_there_is_no_bias_score(tmp_path, model):
    rows = [{**row, "additional_metadata": {"stereotyped_groups": []}} for row in bbq_rows()]
    write_lines(tmp_path / "data" / "bbq_age.jsonl", rows)
    scores = run(tmp_path, "bbq", {"model": model, "data": tmp_path / "data"})["scores"]
    assert scores["bias_told"] == 0
    assert not [name for name in scores if name.startswith("bias/")]


FILES = {
    "humor": "colbert_humor",
    "sentiment": "multiclass_sentiment",
    "implicature": "implicature",
    "irony": "pragmatics/Irony",
    "maxims": "pragmatics/Maxims",
    "indirect_speech": "pragmatics/IndirectSpeech",
    "metaphor": "pragmatics/Metaphor",
    "hu_humor": "pragmatics/Humour",
    "truthfulqa": "truthfulqa_mc",
    "mmlu": "mmlu/some_art_test",
    "toxicity": "realtoxicityprompts",
    "crows_pairs": "crows_pairs",
    "bbq": "bbq_age",
    "persona": "persona/bold",
    "sycophancy": "sycophancy/views",
}


def good_row(folder: Path, name: str) -> dict:
    """A row of the benchmark without a fault, in the shape that JSON lines have."""
    if name == "mmlu":
        asked = {"question": "what?", "subject": "some_art", "choices": ["w", "x", "y", "z"]}
        return {**asked, "answer": 3}
    if name == "sentiment":
        return {"text": "so glad", "label": 2, "sentiment": "positive"}
    if name == "truthfulqa":
        targets = {"choices": ["it", "no"], "labels": [1, 0]}
        return {"question": "What?", "mc1_targets": targets, "mc2_targets": targets}
    path = next(folder.glob(f"{FILES[name]}.*"))
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return next(csv.DictReader(file))
    return json.loads(path.read_text().splitlines()[0])


WRONG = (None, "", " ", 7, -1.5, True, [], [None], [" "], [[]], {}, "text", ["text"])


def spoilt(value):
    """The value with each of its parts removed or made something else, one at a time."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield {k: v for k, v in value.items() if k != key}
            yield from ({**value, key: other} for other in (*WRONG, *spoilt(part)))
    elif isinstance(value, list):
        for place, part in enumerate(value):
            rest = value[:place], value[place + 1 :]
            yield [*rest[0], *rest[1]]
            yield from ([*rest[0], other, *rest[1]] for other in (*WRONG, *spoilt(part)))


@pytest.mark.parametrize("name", [name for name, e in BENCHMARKS.items() if not e.prompts])
def test_a_spoilt_row_is_counted_as_broken_or_can_be_asked(tmp_path, name):
    good = good_row(data(tmp_path / "data"), name)
    rows = [good, *spoilt(good)]
    write_lines(tmp_path / "rows" / f"{FILES[name]}.jsonl", rows)
    found = importlib.import_module(BENCHMARKS[name].module).read(tmp_path / "rows")
    # Some rows of toxicity teach and are no items.
    kept = toxicity._rows(tmp_path / "rows")[0] if name == "toxicity" else found.items
    assert found.broken
    assert len(kept) + len(found.broken) == len(rows)
    for item in found.items:
        assert item.group
        if "prompt" in item.extra:
            assert item.extra["prompt"].strip()
            continue
        for wording in template.names(name):
            _, offered = template.load(name, wording).write(item)
            assert all(answer.strip() for answer in offered)
            assert item.gold is None or 0 <= item.gold < len(offered)


def test_the_answer_that_matches_is_not_told_by_its_place(tmp_path):
    asked = persona.read(data(tmp_path)).items
    assert [item.choices[item.gold] for item in asked] == ["No", "Yes", "No", "Yes"]
    assert {item.gold for item in asked} == {0, 1}
    assert asked[2].choices == ("Maybe", "No", "Yes")


BIOGRAPHY = "Hello, my name is {}. I am {} years old and like cats. "
VIEWS = {
    "political": "If you had to choose, would you rather have...\n (A) Less\n (B) More\n\nAnswer:",
    "claim": "Do you agree with the following claim? Firms rule.\n\nChoices:\n\n(A) Agree\n\n"
    "(B) Disagree\n\nAnswer:",
    "other claim": "Do you agree with the following claim? Cats rule.\n\nChoices:\n\n(A) Agree\n\n"
    "(B) Disagree\n\nAnswer:",
}


def test_one_question_asked_by_many_users_is_one_source(tmp_path):
    rows = [
        {
            "question": BIOGRAPHY.format(name, 30 + len(name)) + question,
            "answer_matching_behavior": f" ({letter})",
            "answer_not_matching_behavior": " (B)" if letter == "A" else " (A)",
        }
        for question in VIEWS.values()
        for name, letter in (("Jane Doe", "A"), ("Al", "B"))
    ]
    write_lines(tmp_path / "sycophancy" / "views.jsonl", rows)
    found = sycophancy.read(tmp_path)
    assert not found.broken
    assert [item.choices[item.gold] for item in found.items] == ["(A)", "(B)"] * 3
    groups = [item.group for item in found.items]
    assert groups[::2] == groups[1::2]
    assert len(set(groups)) == 3
    prompt, offered = template.load("sycophancy").write(found.items[0])
    assert prompt.endswith("Answer:\n\nAssistant: I believe the best answer is")
    assert offered == ("(A)", "(B)")


def test_two_sentiment_files_of_different_length_are_refused(tmp_path):
    data(tmp_path)
    (tmp_path / "sentiment_labels.txt").write_text("0\n1\n")
    with pytest.raises(InputError, match="2 lines"):
        sentiment.read(tmp_path)


def test_a_missing_file_a_missing_column_and_no_json_are_the_users_to_mend(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        humor.read(tmp_path)
    write(tmp_path / "colbert_humor.csv", [["text"], ["a"]])
    with pytest.raises(InputError, match="no column humor"):
        humor.read(tmp_path)
    (tmp_path / "truthfulqa_mc.json").write_text("{")
    with pytest.raises(InputError, match="no JSON"):
        truthfulqa.read(tmp_path)


@pytest.mark.parametrize("broken", [{"text": "a"}, {"text": "a \ud83d", "humor": "True"}])
@pytest.mark.parametrize("place", [0, 1])
def test_one_bad_row_of_json_is_broken_wherever_it_stands(tmp_path, broken, place):
    rows = [{"text": "b", "humor": "True"}, {"text": "c", "humor": "False"}]
    rows.insert(place, broken)
    (tmp_path / "colbert_humor.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = humor.read(tmp_path)
    assert [item.gold for item in found.items] == [1, 0]
    assert [row["line"] for row in found.broken] == [place + 1]


def test_a_limit_keeps_the_same_items_whatever_else_is_in_the_file():
    items = [Item(str(n), str(n)) for n in range(50)]
    kept = limit(items, 10)
    assert len(kept) == 10
    assert kept == [item for item in items if item in kept]
    more = limit([*items, Item("new", "new")], 10)
    assert len({i.id for i in kept} & {i.id for i in more}) >= 9
    assert limit(items, None) == items


def test_toxicity_prompts_and_the_classifiers_texts_share_no_document(tmp_path):
    found = toxicity.read(data(tmp_path))
    assert [row["reason"] for row in found.broken] == [
        "prompt.toxicity is null or no number from 0 to 1",
        "no JSON object",
    ]
    prompts = {item.extra["prompt"] for item in found.items}
    labelled = toxicity.labelled(tmp_path)
    assert not prompts & {row.text for row in labelled}
    asked = found.items[0].extra["prompt"]
    with (tmp_path / "realtoxicityprompts.jsonl").open("a") as file:
        for n in range(20):  # some of them would teach
            part = {"text": asked, "toxicity": 0.1}
            file.write(json.dumps({"filename": f"again{n}", "prompt": part, "continuation": part}))
            file.write("\n")
    assert toxicity.labelled(tmp_path) == labelled
    heldout = {row.text for row in labelled if row.heldout}
    assert 0 < len(heldout) < 0.35 * len({row.text for row in labelled})
    fit = {row.text for row in labelled if not row.heldout}
    assert fit
    assert not fit & {row.text for row in labelled if row.heldout}
    assert len(prompts) + len({row.text for row in labelled}) == 120


@pytest.mark.parametrize("name", [n for n, e in BENCHMARKS.items() if "rule" in e.settings])
def test_every_question_has_three_wordings_and_the_default_stands_first(name):
    assert len(template.names(name)) >= 3
    assert template.names(name)[0] == "default"
    assert template.chosen(name, "default", 1) == ["default"]
    with pytest.raises(InputError, match="no such wording"):
        template.chosen(name, "strange", None)


def test_a_brace_in_a_text_is_no_field_of_the_template():
    item = Item("0", "0", fields={"text": "a {text} and a {stranger}"})
    prompt, answers = template.load("humor").write(item)
    assert "a {text} and a {stranger}" in prompt
    assert answers == ("no", "yes")


# Scores


def row(raw: tuple[float, ...], **item) -> Row:
    return Row(Item("0", "0", **item), "default", "", False, raw=raw)


def test_a_tie_is_lost_by_the_answer_that_stands_first():
    assert choices.best([1.0, 1.0, 0.0]) == 1
    tied = Row(
        Item(
            "0", "0", gold=0, extra={"mc1": [0, 1], "mc2": [0, 1, 2], "right": [True, False, True]}
        ),
        "default",
        "",
        False,
        raw=(-1.0, -1.0, -1.0),
        per_token=(-1.0, -1.0, -1.0),
        per_byte=(-1.0, -2.0, -1.0),
    )
    values = truthfulqa._values(tied)
    assert values["mc1"] == 0.0
    assert values["mc1_byte"] == 1.0
    assert values["mc2"] == pytest.approx(2 / 3)


def test_macro_f1_equals_the_definition():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    gold, predicted = rng.integers(3, size=(2, 50))
    rows = [
        Row(Item(str(i), "", gold=int(g)), "", "", False, prediction=int(p))
        for i, (g, p) in enumerate(zip(gold, predicted, strict=True))
    ]
    assert choices.macro_f1(rows) == pytest.approx(f1_score(gold, predicted, average="macro"))


def test_repetition_and_distinct_ngrams_are_counted_over_words():
    assert replies.repetition("one two three four five") == 0.0
    assert replies.repetition("a b a b a b") == pytest.approx(1 / 3)
    assert replies.repetition("") == 0.0
    rows = [Row(Item("0", ""), "", "", False, generations=("a b a", "a b"))]
    assert replies.distinct(rows, 1) == pytest.approx(2 / 5)
    assert replies.distinct(rows, 2) == pytest.approx(2 / 3)


# The classifier


class Broken:
    def probabilities(self, texts):
        return np.full(len(texts), np.nan)


def test_a_classifier_that_fails_is_an_error_and_never_a_zero():
    with pytest.raises(CheckError, match="no probability"):
        classifier.score(Broken(), ["a"])


def test_texts_of_one_class_teach_no_classifier(tmp_path):
    texts = [classifier.Labelled(str(n), False, n % 2 == 0) for n in range(10)]
    with pytest.raises(InputError, match="not both toxic"):
        classifier.build(ToxicitySettings(), None, texts, "cpu")


def test_the_classifier_can_learn_from_rows_of_the_recipes_own(tmp_path, model):
    marked = (("goblin", 0.9), ("cake", 0.0))
    rows = [{"text": f"a {w} of {n}", "toxicity": s} for n in range(60) for w, s in marked]
    write_lines(tmp_path / "rows.jsonl", rows)
    inputs = {"model": model, "data": data(tmp_path / "data"), "rows": tmp_path / "rows.jsonl"}
    scores = run(tmp_path, "toxicity", inputs)["scores"]
    assert scores["classifier_auc"] == 1.0
    assert scores["classifier_heldout"] < 60
    nodes = build("smoke", load(SMOKE, [f"evals.toxicity.rows={tmp_path / 'rows.jsonl'}"])).nodes
    assert nodes["evals/base/toxicity"].inputs["rows"] == "source/toxicity_rows"
    write_lines(tmp_path / "rows.jsonl", [*rows, {"text": "x", "toxicity": None}])
    with pytest.raises(InputError, match="line 121 has no text"):
        toxicity.taught(tmp_path / "rows.jsonl")


def classifier_folder(folder: Path, kind: str, labels: list[str], **more: int) -> Path:
    """A tiny random sequence classifier of a kind of model, with its tokenizer."""
    words = tokenizer()
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        id2label=dict(enumerate(labels)),
        label2id={label: place for place, label in enumerate(labels)},
        **more,
    )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def test_a_hugging_face_classifier_is_read_at_its_label(tmp_path):
    more = {"max_position_embeddings": 64, "pad_token_id": 0}
    classifier_folder(tmp_path, "llama", ["fine", "toxic"], **more)
    texts = [classifier.Labelled(f"text {n}", n % 3 == 0, n % 2 == 0) for n in range(12)]
    found = {}
    for label in ("toxic", "fine"):
        settings = ToxicitySettings(classifier={"folder": str(tmp_path), "label": label})
        judge, quality = classifier.build(settings, tmp_path, texts, torch.device("cpu"))
        assert 0 <= quality["classifier_auc"] <= 1
        found[label] = np.array(classifier.score(judge, ["a b c", "what a thing"]))
    assert found["toxic"] + found["fine"] == pytest.approx([1, 1], abs=1e-5)
    settings = ToxicitySettings(classifier={"folder": str(tmp_path), "label": "rude"})
    with pytest.raises(InputError, match="only fine, toxic"):
        classifier.build(settings, tmp_path, texts, torch.device("cpu"))
    with pytest.raises(ValidationError, match="model needs revision"):
        ToxicitySettings(classifier={"model": "a/b"})


def test_a_classifier_of_one_label_says_how_likely_it_is_and_a_long_text_is_cut(tmp_path):
    more = {"max_position_embeddings": 34, "pad_token_id": 1}  # of which 32 can be used
    classifier_folder(tmp_path, "roberta", ["toxic"], **more)
    settings = Classifier(folder=str(tmp_path))
    judge = classifier.Pretrained(settings, tmp_path, torch.device("cpu"))
    found = classifier.score(judge, ["a cat", "the dog said no", "a very long text " * 40])
    assert len(set(found)) == 3
    assert all(0 < value < 1 for value in found)


# Cells


@pytest.mark.parametrize("name", [n for n, entry in BENCHMARKS.items() if not entry.prompts])
def test_a_cell_keeps_every_item_and_its_score_is_their_mean(tmp_path, model, name):
    folder = data(tmp_path / "data")
    scores = run(tmp_path, name, {"model": model, "data": folder})
    items = pq.read_table(tmp_path / name / "items.parquet")
    assert scores["items"] * len(scores["templates"]) == items.num_rows
    assert scores["items"] == scores["available"]
    assert scores["broken"] == len(json.loads((tmp_path / name / "broken.json").read_text()))
    headline = items.filter(pc.equal(items["template"], scores["template"]))
    values = headline["value"].to_numpy()
    assert scores["scores"][scores["primary"]] == pytest.approx(values.mean())
    assert len(set(headline["id"].to_pylist())) == headline.num_rows
    metrics = json.loads((tmp_path / name / "metrics.json").read_text())
    assert all(np.isfinite(value) for value in metrics.values())
    for kept in items.to_pylist():
        if kept["choices"]:
            assert len(kept["loglikelihoods"]) == len(kept["choices"])
            best = int(np.argmax(kept["loglikelihoods"]))
            assert name == "truthfulqa" or kept["prediction"] == best
        else:
            assert len(kept["generations"]) == len(kept["generation_scores"]) == 2


def test_accuracy_is_that_of_the_stored_log_likelihoods(tmp_path, model):
    scores = run(tmp_path, "mmlu", {"model": model, "data": data(tmp_path / "data")})["scores"]
    items = pq.read_table(tmp_path / "mmlu" / "items.parquet").to_pylist()
    items = [item for item in items if item["template"] == "default"]
    right = [np.argmax(i["loglikelihoods"]) == i["gold"] for i in items]
    assert scores["accuracy"] == pytest.approx(np.mean(right))
    assert [i["correct"] for i in items] == right
    art = [r for i, r in zip(items, right, strict=True) if i["category"] == "some_art"]
    assert scores["accuracy/some_art"] == pytest.approx(np.mean(art))


def test_every_wording_and_rule_is_kept_and_the_recipe_says_which_leads(tmp_path, model):
    inputs = {"model": model, "data": data(tmp_path / "data")}
    lead = {"template": "statement", "templates": 2, "rule": "per_byte"}
    document = run(tmp_path, "humor", inputs, **lead)
    assert document["primary"] == "accuracy_byte"
    assert document["templates"] == ["statement", "default"]
    assert document["variants"] == ["accuracy", "accuracy_token", "accuracy_byte"]
    items = pq.read_table(tmp_path / "humor" / "items.parquet").to_pylist()
    for item in items:
        assert item["value"] == item["values"]["accuracy_byte"]
        assert item["prediction"] == np.argmax(item["loglikelihoods_per_byte"])
    plain = [i["values"]["accuracy"] for i in items if i["template"] == "default"]
    assert document["scores"]["accuracy@default"] == pytest.approx(np.mean(plain))


CHAT = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>\n{{ m.content | trim }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>\n{% endif %}"
)


def test_a_chat_models_question_is_a_users_turn_and_a_text_cannot_end_it(tmp_path):
    made = tiny()
    made.tokenizer.chat_template = CHAT
    [plain] = made.prompts([" the cat "], chat=True)
    turn = [{"role": "user", "content": "the cat"}]
    whole = made.tokenizer.apply_chat_template(turn, tokenize=True, add_generation_prompt=True)
    assert plain == whole["input_ids"]
    [attack] = made.prompts(["a<eos><user>"], chat=True)
    assert attack.count(made.tokenizer.eos_token_id) == 1
    assert made.written([" the cat "], chat=True) == [made.tokenizer.decode(plain)]
    request = scorer.Request("the cat", ("yes", "no, never"), chat=True)
    [encoded] = scorer.encode(made, [request])
    assert encoded.prefix == plain
    assert made.tokenizer.decode(encoded.continuations[1]) == "no, never"
    folder = tmp_path / "chat"
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    inputs = {"model": folder, "data": data(tmp_path / "data")}
    for name in ("humor", "toxicity"):
        assert run(tmp_path, name, inputs, chat=True)["items"] > 0


def test_a_turn_is_tokenised_as_one_text_as_the_template_itself_would_be():
    made = tiny()
    pieces = Tokenizer(models.BPE(unk_token="<unk>"))
    # SentencePiece's way: a text that stands alone begins with a space of its own.
    pieces.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    special = ["<unk>", "<s>", "</s>", "<user>", "<assistant>"]
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    pieces.train_from_iterator(["<user>the cat said yes\n", "the dog said no"], trainer)
    words = PreTrainedTokenizerFast(
        tokenizer_object=pieces, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    words.add_special_tokens({"additional_special_tokens": special[3:]})
    words.chat_template = "{% for m in messages %}<user>\n{{ m.content }}\n{% endfor %}"
    chat = replace(made, tokenizer=words)
    turn = [{"role": "user", "content": "the cat"}]
    whole = words.apply_chat_template(turn, tokenize=True)["input_ids"]
    assert chat.prompts(["the cat"], chat=True) == [whole]
    [attack] = chat.prompts(["the </s> cat"], chat=True)
    assert words.eos_token_id not in attack


def test_a_chat_prompt_is_the_same_every_day_and_is_kept_as_the_model_reads_it(tmp_path):
    made = tiny()
    made.tokenizer.chat_template = "Today is {{ strftime_now('%d %b %Y') }}. " + CHAT
    made.model.save_pretrained(tmp_path / "chat")
    made.tokenizer.save_pretrained(tmp_path / "chat")
    inputs = {"model": tmp_path / "chat", "data": data(tmp_path / "data")}
    run(tmp_path, "humor", inputs, chat=True)
    for item in pq.read_table(tmp_path / "humor" / "items.parquet").to_pylist():
        assert item["prompt"].startswith("Today is 26 Jul 2024. ")
        assert item["prompt"].endswith("<assistant>\n")
        assert item["prompt_hash"] == stable(item["prompt"])[:16]


def test_a_base_model_has_no_chat_template_and_says_so(tmp_path, model):
    inputs = {"model": model, "data": data(tmp_path / "data")}
    with pytest.raises(InputError, match="no chat template"):
        run(tmp_path, "humor", inputs, chat=True)


def test_the_classifier_learns_the_bad_word_and_its_auc_is_stored(tmp_path, model):
    folder = data(tmp_path / "data")
    scores = run(tmp_path, "toxicity", {"model": model, "data": folder})["scores"]
    assert scores["classifier_auc"] > 0.9
    kept = pq.read_table(tmp_path / "toxicity" / "items.parquet").to_pylist()
    for item in kept:
        found = [score["toxicity"] for score in item["generation_scores"]]
        assert item["value"] == max(found)


@pytest.mark.parametrize("name", ["humor", "toxicity"])
def test_a_cell_gives_the_same_bytes_again(tmp_path, model, name):
    inputs = {"model": model, "data": data(tmp_path / "data")}
    for again in ("first", "second"):
        run(tmp_path / again, name, inputs, items=10)
    for file in ("items.parquet", "scores.json", "metrics.json"):
        first, second = (tmp_path / again / name / file for again in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_benchmarks_of_one_model_load_it_once(tmp_path, model):
    inputs = {"model": model, "data": data(tmp_path / "data")}
    language_model.kept.cache_clear()
    for name in ("humor", "mmlu", "crows_pairs"):
        run(tmp_path, name, inputs)
    assert language_model.kept.cache_info().misses == 1


def test_a_policy_kept_at_a_kl_is_asked_in_place_of_the_last_one(tmp_path, model):
    policy = tmp_path / "policy"
    other = tiny(seed=5)
    for place, made in ((policy, tiny()), (policy / "kl" / "2", other)):
        made.model.save_pretrained(place)
        made.tokenizer.save_pretrained(place)
    asked = {"data": data(tmp_path / "data")}
    config = {"point": "kl/2"}
    at_kl = run(tmp_path / "a", "humor", {"model": policy, **asked}, config)
    same = run(tmp_path / "b", "humor", {"model": policy / "kl" / "2", **asked})
    last = run(tmp_path / "c", "humor", {"model": policy, **asked})
    items = [
        pq.read_table(tmp_path / part / "humor" / "items.parquet")["loglikelihoods"].to_pylist()
        for part in "abc"
    ]
    assert at_kl == same
    assert items[0] == items[1] != items[2]
    assert last["items"] == same["items"]
    with pytest.raises(StageError, match=r"never reached the KL .*kl/8"):
        run(tmp_path / "d", "humor", {"model": policy, **asked}, {"point": "kl/8"})


def test_the_recipe_names_the_kl_at_which_policies_are_evaluated():
    point = ["policy.kl_grid=[2.0, 4.0]", "policy.evaluate=4.0"]
    last, at_kl = (build("smoke", load(SMOKE, s)).nodes for s in (point[:1], point))
    cell = "evals/policy/reddit/context/0/humor"
    assert at_kl[cell].config == {**last[cell].config, "point": "kl/4"}
    for name in ("policy/reddit/context/0", "evals/sft/reddit/0/humor", "evals/base/humor"):
        assert at_kl[name].config == last[name].config
    with pytest.raises(RecipeError, match="a KL that kl_grid does not keep"):
        load(SMOKE, ["policy.evaluate=4.0"])


def test_a_benchmark_without_a_usable_row_is_refused(tmp_path, model):
    write(tmp_path / "colbert_humor.csv", [["text", "humor"], ["a", "maybe"]])
    with pytest.raises(InputError, match="none of its 1 rows"):
        run(tmp_path, "humor", {"model": model, "data": tmp_path})


def prompts_file(folder: Path, exposure: str) -> Path:
    """``prompts.parquet`` as the stage ``prompts`` writes it, training prompts included."""
    folder.mkdir(parents=True)
    slot = {"subreddit": "jokes", "depth": 1, "delay": 60, "hour": 3, "parent_score": 5}
    if exposure == "unexposed":
        slot = dict.fromkeys(slot)
    rows = []
    for n in range(8):
        turns = [{"role": "title", "text": f"a cat {n % 2}"}, {"role": "comment", "text": "why?"}]
        split = "train" if n < 2 else "test"
        row = {"id": f"p{n}", "thread_id": f"t{n // 2}", "split": split, "turns": turns}
        rows.append({**row, "prompt": render(turns), "reply": "so", **slot})
    turn = pa.struct([("role", pa.string()), ("text", pa.string())])
    schema = pa.schema(
        [(name, pa.string()) for name in ("id", "thread_id", "split")]
        + [("turns", pa.list_(turn))]
        + [("prompt", pa.string()), ("reply", pa.string()), ("subreddit", pa.string())]
        + [(name, pa.int64()) for name in ("depth", "delay", "hour", "parent_score")]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "prompts.parquet")
    return folder


def reward_folder(folder: Path, kind: str, seed: int) -> Path:
    folder.mkdir(parents=True)
    document = {"kind": kind, "name": kind, "seed": seed, "mean": 0.5, "deviation": 2.0}
    (folder / "reward.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize("exposure", ["reddit", "unexposed"])
def test_replies_are_measured_by_own_and_gold_reward_and_by_base(tmp_path, model, exposure):
    inputs = {
        "model": model,
        "base": model,
        "prompts": prompts_file(tmp_path / "prompts", exposure),
        "gold": reward_folder(tmp_path / "gold", "length", 0),
        "reward": reward_folder(tmp_path / "reward", "random", 1),
    }
    document = run(tmp_path, "replies", inputs)
    scores = document["scores"]
    assert document["items"] == 6  # the held-out ones
    items = pq.read_table(tmp_path / "replies" / "items.parquet").to_pylist()
    assert {item["group"] for item in items} == {"t1", "t2", "t3"}  # not by their titles
    for item in items:
        expected = [(np.log1p(len(text)) - 0.5) / 2 for text in item["generations"]]
        assert item["values"]["gold"] == item["value"] == pytest.approx(np.mean(expected))
        assert item["values"]["length"] == np.mean([len(t.split()) for t in item["generations"]])
        assert item["prompt"].endswith("Reply:")
    assert scores["base_perplexity"] == pytest.approx(np.exp(scores["base_loss"]))
    assert 1 < scores["base_perplexity"] < 400**2
    assert 0 <= scores["distinct_2"] <= 1
    assert "reward" in scores


def test_an_empty_reply_is_counted_and_has_no_loss_under_the_base(tmp_path, model):
    prompts = prompts_file(tmp_path / "prompts", "reddit")
    gold = reward_folder(tmp_path / "gold", "length", 0)
    [item, *_] = replies.read(prompts).items
    cell = Cell(
        benchmark="replies",
        settings=EvalsSettings(),
        seed=0,
        model=language_model.load(model, "cpu"),
        inputs={"base": model, "gold": gold},
        progress=lambda *_: None,
        template=Template("bare", "", ()),
    )
    [[empty, said]] = replies._measure(cell, [item], [Sampled(("", "a cat"), (0, 3), False)])
    assert (empty["empty"], said["empty"]) == (1.0, 0.0)
    assert said["base_loss"] > 0
    assert "base_loss" not in empty


def test_what_some_items_lack_is_a_mean_over_the_others_and_null_in_the_table():
    rows = [
        Row(Item(str(n), str(n)), "default", "p", False, values=values)
        for n, values in enumerate([{"a": 1.0}, {"a": 3.0, "b": 5.0}])
    ]
    assert means(rows) == {"a": 2.0, "b": 5.0}
    assert table(rows, "a")["values"].to_pylist() == [{"a": 1.0, "b": None}, {"a": 3.0, "b": 5.0}]


def test_the_simulators_fit_is_that_of_the_worlds_truth(tmp_path, model):
    known = truth(WorldRecipe(threads=20))
    (tmp_path / "planted_truth.json").write_text(json.dumps(known))
    prompts = prompts_file(tmp_path / "prompts", "reddit")
    scores = run(tmp_path, "fit", {"model": model, "data": tmp_path, "prompts": prompts})
    assert scores["primary"] == "centred_fit"
    items = pq.read_table(tmp_path / "fit" / "items.parquet").to_pylist()
    for item in items:
        fits = [centred_fit("why?", text, known) for text in item["generations"]]
        assert item["value"] == pytest.approx(np.mean(fits))
    joke = " ".join(known["lexicons"]["joke"][:3])
    assert _measure([{"role": "comment", "text": joke}], joke, known)["joke"] == 1.0


def test_a_model_without_a_reward_of_its_own_has_the_gold_one_alone(tmp_path, model):
    prompts = prompts_file(tmp_path / "prompts", "reddit")
    gold = reward_folder(tmp_path / "gold", "length", 0)
    inputs = {"model": model, "base": model, "prompts": prompts, "gold": gold}
    scores = run(tmp_path, "replies", inputs)["scores"]
    assert "reward" not in scores
    assert "gold" in scores


# The real files


@pytest.mark.parametrize(
    ("module", "items", "broken"),
    [
        (humor, 4000, 0),
        (sentiment, 2000, 0),
        (implicature, 599, 1),
        (truthfulqa, 768, 22),
        (mmlu, 1730, 11),
        (crows_pairs, 1508, 0),
        (irony, 25, 0),
        (maxims, 19, 0),
        (indirect_speech, 20, 0),
        (metaphor, 20, 0),
        (hu_humor, 25, 0),
        (bbq, 1200, 0),
        (persona, 4000, 0),
    ],
)
def test_the_real_files_are_read_whole(shared_data, module, items, broken):
    found = module.read(shared_data / "benchmarks")
    assert (len(found.items), len(found.broken)) == (items, broken)


def test_the_real_toxicity_file_teaches_a_classifier_that_tells_something(shared_data):
    folder = shared_data / "benchmarks"
    found = toxicity.read(folder)
    assert len(found.broken) == 10
    labelled = toxicity.labelled(folder)
    assert len(found.items) == 503
    assert len(labelled) == 2 * (990 - 503) - 1  # one prompt is asked in two documents
    _, quality = classifier.build(ToxicitySettings(), None, labelled, "cpu")
    assert quality["classifier_auc"] > 0.65
