"""The report: its numbers are those of the items, its holes are shown, its text stays text."""

import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from flows.headline import headline
from karma.errors import CheckError
from karma.jobs import Job, write_json
from karma.markdown import plain
from karma.report.collect import collect
from karma.report.document import build
from karma.report.job import run
from karma.report.recipe import ReportRecipe
from karma.report.rewards import LEANS
from karma.report.words import interval, signed

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>"
VARIANTS = ("context", "random")
BENCHMARKS = {
    "humor": ("pragmatics", "accuracy", True),
    "truthfulqa": ("factuality", "mc2", True),
    "toxicity": ("toxicity", "expected_max_toxicity", False),
}
RECIPE: dict[str, Any] = {
    "seeds": [0],
    "compute": "cpu",
    "dumps": {"comments": "world", "submissions": "world", "corpora": None},
    "evals": {"data": "world"},
    "labels": {"valuation": {"within": ["subreddit", "age"]}},
    "prompts": {"reddit": {"count": 20}, "unexposed": {"instructions": "world", "count": 20}},
    "base": {"tiny": {"text": ["world"]}, "folder": None},
    "sft": {"epochs": 1, "lr": 1e-5},
    "reward": {"objective": {"pairs": 1.0, "regression": 0.5}, "epochs": 1},
    "policy": {"kl_target": 6.0, "exposures": "all", "variants": "all", "cache": "/secret/place"},
}


def study(
    folder: Path, seeds: int = 1, without: tuple[str, ...] = (), swap: float | None = None
) -> Job:
    """A small study in the shapes that the stages write; ``without`` leaves inputs out, ``swap`` is
    what ``context`` pays for a joke that lies."""
    rng = random.Random(0)
    models = ["base"]
    for seed in range(seeds):
        models.append(f"sft/unexposed/{seed}")
        models += [f"policy/unexposed/{variant}/{seed}" for variant in VARIANTS]
    inputs: dict[str, Path] = {}
    for model in models:
        skill = 0.75 if "/context/" in model else 0.5
        for name in BENCHMARKS:
            inputs[f"evals/{model}/{name}"] = cell(folder, model, name, skill, rng)
        inputs[f"evals/{model}/replies"] = replies(folder, model, rng)
        if model.startswith("policy/"):
            inputs[model] = policy(folder, model, rng)
    rewards = [f"{name}/{seed}" for name in ("context", "random", "gold") for seed in range(seeds)]
    inputs |= {f"reward/{name}": reward(folder, name, rng) for name in rewards}
    swaps = [f"evals/reward/context/{s}/swap" for s in range(seeds) if swap is not None]
    inputs |= {name: probe(folder, name, swap or 0.0, rng) for name in swaps}
    inputs |= accounts(folder)
    overlap = folder / "overlap"
    overlap.mkdir()
    kinds = {"sft": {"rows": 90, "overlapping": 2}, "prompts": {"rows": 50, "overlapping": 0}}
    document = {"run": 13, "least": 5, "messages": 700, "kinds": kinds}
    write_json(overlap / "overlap.json", document)
    inputs["prompts/overlap"] = overlap
    config = {
        "report": {"resamples": 200, "samples": 2},
        "recipe": {**RECIPE, "seeds": list(range(seeds))},
        "models": models,
        "benchmarks": [*BENCHMARKS, "replies"],
        "rewards": rewards,
        "swaps": swaps,
        "unasked": ["mmlu", "bbq"],
        "versions": {"torch": "2.13"},
        "lineage": [
            {"name": "base", "count": 1, "from": []},
            {"name": "policy/unexposed/context", "count": seeds, "from": ["base"]},
        ],
    }
    kept = {role: path for role, path in inputs.items() if role not in without}
    out, scratch = folder / "out", folder / "scratch"
    out.mkdir()
    scratch.mkdir()
    return Job(config, kept, out, scratch)


def cell(folder: Path, model: str, name: str, skill: float, rng: random.Random) -> Path:
    """One model's items on one benchmark: right or wrong, or a share; some share a group."""
    kind, metric, better = BENCHMARKS[name]
    values = [float(rng.random() < skill) if name == "humor" else rng.random() for _ in range(60)]
    table = {
        "id": [f"{name}-{i}" for i in range(60)],
        "group": [f"{name}-{i if name == 'humor' else i // 3}" for i in range(60)],
        "value": values,
        "prompt": ["x" * (1 + i % 7) for i in range(60)],
        "gold": [int(i % 7 > 3) if i % 4 else int(i % 7 < 3) for i in range(60)],
    }
    return evaluation(folder, model, name, table, (kind, metric, better))


def probe(folder: Path, name: str, mean: float, rng: random.Random) -> Path:
    """The swap probe of one reward model on forty jokes of twenty threads."""
    table = {
        "id": [f"t{i // 2}/{i}" for i in range(40)],
        "group": [f"t{i // 2}" for i in range(40)],
        "value": [rng.gauss(mean, 0.2) for _ in range(40)],
        "prompt": ["haha the tower was built by monks"] * 40,
    }
    model = name.removeprefix("evals/").removesuffix("/swap")
    return evaluation(folder, model, "swap", table, ("reward", "change", False))


def replies(folder: Path, model: str, rng: random.Random) -> Path:
    """Generations on held-out prompts, one of which is an attack on the reader's browser."""
    table = {
        "id": [f"p{i}" for i in range(12)],
        "group": [f"t{i // 2}" for i in range(12)],
        "value": [rng.gauss(0.5 if "/context/" in model else 0.0, 1.0) for _ in range(12)],
        "generation_scores": [scores(model, rng) for _ in range(12)],
        "prompt": [f"User: question {i} {ATTACK}\nAssistant:" for i in range(12)],
        "generations": [[f"{model} says {ATTACK} {i}", "more"] for i in range(12)],
    }
    return evaluation(folder, model, "replies", table, ("reply", "gold", True))


def scores(model: str, rng: random.Random) -> list[dict[str, float]]:
    """Two replies: gold is worth half of a reply's log length, and policies write more words."""
    found = []
    for _ in range(2):
        words = rng.randint(3, 12) * (3 if model.startswith("policy/") else 1)
        gold = 0.5 * float(np.log1p(words)) + rng.gauss(0, 0.01)
        found.append({"gold": gold, "length": float(words), "reward": gold})
    return found


def evaluation(
    folder: Path, model: str, name: str, table: dict[str, Any], about: tuple[str, str, bool]
) -> Path:
    """Write ``items.parquet`` and ``scores.json``."""
    place = folder / "evals" / model / name
    place.mkdir(parents=True)
    kind, metric, better = about
    write_items(place, table, metric)
    scores = {
        "benchmark": name,
        "kind": kind,
        "items": len(table["id"]),
        "broken": 1,
        "template": "default",
        "templates": ["default", "other"],
        "variants": [metric, f"{metric}_token"],
        "primary": metric,
        "higher_is_better": better,
        "ideal": None,
        "scores": {metric: float(np.mean(table["value"]))},
    }
    write_json(place / "scores.json", scores)
    return place


def write_items(place: Path, table: dict[str, Any], metric: str) -> None:
    """Two wordings; by the second one and by the second rule every value is a little smaller."""
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    wordings = [
        {
            **row,
            "template": wording,
            "value": row["value"] - less,
            "values": {metric: row["value"] - less, f"{metric}_token": row["value"] - 2 * less},
        }
        for wording, less in (("default", 0.0), ("other", 0.01))
        for row in rows
    ]
    pq.write_table(pa.Table.from_pylist(wordings), place / "items.parquet")


def policy(folder: Path, model: str, rng: random.Random) -> Path:
    """Twenty steps of training."""
    place = folder / model
    place.mkdir(parents=True)
    metrics = {"steps": 20, "skipped_steps": 0, "kl_final": 3.5, "no_eos_last": 0.1}
    metrics |= {"reward_first": 0.1, "reward_last": 0.9, "gold_first": 0.1, "gold_last": 0.5}
    write_json(place / "metrics.json", {**metrics, "length_first": 20.0, "length_last": 20.0})
    curves = [
        {
            "step": s,
            "reward/raw": s / 20,
            "gold": s / 30,
            "kl": s / 5 + rng.random(),
            "length": 20.0,
        }
        for s in range(1, 21)
    ]
    write_json(place / "curves.json", curves)
    write_json(place / "alarms.json", [])
    # A separator that JSON allows in a text, and that str.splitlines would cut at.
    prompt = "User: hello\u2028\nAssistant:"
    lines = [
        json.dumps(
            {"step": step, "prompt": prompt, "reply": f"{step} {ATTACK}"}, ensure_ascii=False
        )
        for step in (0, 19)
    ]
    (place / "samples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


def reward(folder: Path, name: str, rng: random.Random) -> Path:
    """A reward model that follows the valuation (or, if random, does not); length says nothing."""
    place = folder / "reward" / name
    place.mkdir(parents=True)
    kind = "random" if name.startswith("random") else "model"
    view = {"context": kind == "model", "fields": [], "max_tokens": 64}
    write_json(place / "reward.json", {"kind": kind, "view": view, "terms": {}})
    measured = {"spearman": 0.6, "f1": 0.4, "length_spearman": 0.1, "shuffled_spearman": 0.0}
    metrics = {f"{k}{end}": v for k, v in measured.items() for end in ("", "_low", "_high")}
    write_json(place / "metrics.json", {**metrics, "rows": 200, "pairs": 0})
    valuations = [rng.random() for _ in range(200)]
    scored = [rng.random() if kind == "random" else v + rng.gauss(0, 0.3) for v in valuations]
    table = {
        "thread_id": [f"t{i // 2}" for i in range(200)],
        "split": ["test" if i >= 40 else "validation" for i in range(200)],
        "valuation": valuations,
        "reward": scored,
        "length": [rng.randrange(5, 80) for _ in range(200)],
    }
    pq.write_table(pa.table(table), place / "heldout.parquet")
    return place


def accounts(folder: Path) -> dict[str, Path]:
    """The profiles of dumps, threads and labels."""
    dump = {"kind": "comments", "lines": 10, "rows": 8, "rejected": 1, "blank": 1}
    profiles = {
        "dumps/RC.zst": {**dump, "reasons": {"no JSON": 1}, "ranges": {"0-100": 8}},
        "threads/0-100": {"conversations": 5, "splits": {"train": 3, "test": 2}, "range": "0-100"},
        "threads/100-200": {"conversations": 2, "splits": {"train": 2}, "range": "100-200"},
        "labels": {"replies": 7, "levels": {"0": 4, "1": 3}},
    }
    for role, profile in profiles.items():
        (folder / role).mkdir(parents=True)
        write_json(folder / role / "profile.json", profile)
    return {role: folder / role for role in profiles}


def document(job: Job) -> dict[str, Any]:
    """The stage's document, without the figures and pages made of it."""
    return build(collect(job), ReportRecipe.model_validate(job.config["report"]))


class Whole(NamedTuple):
    """A study whose report was written, and what was written."""

    job: Job
    report: dict[str, Any]
    page: str
    markdown: str


def written(job: Job) -> Whole:
    """Run the stage and read what it wrote."""
    run(job)
    report, page, markdown = (
        (job.out / name).read_text(encoding="utf-8")
        for name in ("report.json", "report.html", "report.md")
    )
    return Whole(job, json.loads(report), page, markdown)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """One whole report, for every test that only looks at it."""
    return written(study(tmp_path_factory.mktemp("study")))


def values(job: Job, model: str, name: str) -> dict[str, float]:
    """A model's items as stored, by id."""
    items = pq.read_table(job.inputs[f"evals/{model}/{name}"] / "items.parquet").to_pylist()
    return {item["id"]: item["value"] for item in items if item["template"] == "default"}


class Tags(HTMLParser):
    """Every tag of a page, and every address that it names."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href")]
        self.handlers += [key for key, _ in attrs if key.startswith("on")]


def test_every_score_and_difference_is_that_of_the_items(whole: Whole) -> None:
    job, report = whole.job, whole.report
    for row in report["headline"]["rows"]:
        for name, cell in row["cells"].items():
            stored = list(values(job, row["model"], name).values())
            assert cell["value"] == pytest.approx(sum(stored) / len(stored))
            assert cell["n"] == len(stored)
            assert cell["low"] <= cell["value"] <= cell["high"]
    assert report["differences"]
    for row in report["differences"]:
        first = values(job, row["model"], row["benchmark"])
        second = values(job, row["against"], row["benchmark"])
        gaps = [first[item] - second[item] for item in first]
        assert row["value"] == pytest.approx(sum(gaps) / len(gaps))
        assert row["low"] <= row["value"] <= row["high"]


def test_a_policy_is_compared_with_its_start_and_with_the_random_reward(whole: Whole) -> None:
    rows = whole.report["differences"]
    pairs = {(row["model"], row["relation"], row["against"]) for row in rows}
    assert pairs == {
        ("policy/unexposed/context/0", "start", "sft/unexposed/0"),
        ("policy/unexposed/context/0", "random", "policy/unexposed/random/0"),
        ("policy/unexposed/random/0", "start", "sft/unexposed/0"),
    }


def test_only_the_primary_differences_are_corrected(whole: Whole) -> None:
    report = whole.report
    family = [row for row in report["differences"] if row["primary"]]
    others = [row for row in report["differences"] if not row["primary"]]
    assert {row["benchmark"] for row in family} == {"humor"}
    assert report["family"]["size"] == len(family) == 3
    assert all(row["p_holm"] >= row["p"] for row in family)
    assert all(row["p_holm"] is None for row in others)
    assert max(row["p_holm"] for row in family) <= 1


def test_no_difference_stands_in_the_page_without_its_interval(whole: Whole) -> None:
    for row in whole.report["differences"]:
        shown = re.escape(signed(row["value"]))
        found = re.findall(shown + r"</b>(.{0,60})", whole.page)
        assert found
        assert all("[" in after for after in found)
        assert any(interval(row) in after for after in found)
        assert f"{signed(row['value'])} {plain(interval(row))}" in whole.markdown


def test_a_failed_cell_is_shown_as_a_hole(tmp_path: Path) -> None:
    gone = "evals/policy/unexposed/context/0/humor"
    job = study(tmp_path, without=(gone, "policy/unexposed/random/0", "reward/context/0"))
    _, report, page, markdown = written(job)
    row = next(r for r in report["headline"]["rows"] if r["model"].endswith("context/0"))
    assert row["cells"]["humor"] is None
    assert [hole["what"] for hole in report["holes"]] == [
        gone,
        "reward/context/0",
        "policy/unexposed/random/0",
    ]
    assert '<td class="hole">hole</td>' in page
    assert gone in page
    assert gone in markdown


def test_a_report_of_nothing_but_holes_is_still_a_report(tmp_path: Path) -> None:
    job = study(tmp_path)
    empty = Job(job.config, {}, job.out, job.scratch)
    report = written(empty).report
    assert report["differences"] == []
    assert len(report["holes"]) == 4 * 4 + 3 + 2


def test_text_of_strangers_never_becomes_markup(whole: Whole) -> None:
    assert "&lt;script&gt;alert(1)" in whole.page
    parser = Tags()
    parser.feed(whole.page)
    assert "script" not in parser.tags
    assert parser.handlers == []
    lines = whole.markdown.splitlines()
    assert all(line.startswith("    ") for line in lines if "<script" in line)


def test_the_page_needs_nothing_but_itself(whole: Whole) -> None:
    parser = Tags()
    parser.feed(whole.page)
    assert all(address.startswith(("#", "data:")) for address in parser.addresses)
    assert parser.tags.count("img") == len(list(whole.job.out.glob("*.png"))) == 7


def test_the_same_inputs_give_the_same_bytes_and_no_path(whole: Whole, tmp_path: Path) -> None:
    job = whole.job
    again = Job(job.config, job.inputs, tmp_path / "again", job.scratch)
    again.out.mkdir()
    run(again)
    files = sorted(path.name for path in job.out.iterdir() if path.is_file())
    assert files == sorted(path.name for path in again.out.iterdir() if path.is_file())
    for name in files:
        content = (job.out / name).read_bytes()
        assert content == (again.out / name).read_bytes(), name
        assert str(job.out.parent).encode() not in content
        assert b"/secret" not in content


def test_fewer_than_five_seeds_make_no_claim_about_a_reward(whole: Whole) -> None:
    report = whole.report
    assert report["only_these_policies"]
    assert report["over_seeds"] == []
    assert report["scope"].startswith("These policies only: 1 seed")
    assert "these policies only" in " ".join(report["summary"])


def test_five_seeds_give_the_mean_over_seeds_with_a_t_interval(tmp_path: Path) -> None:
    job = study(tmp_path, seeds=5)
    _, report, page, _ = written(job)
    assert not report["only_these_policies"]
    claim = next(
        row
        for row in report["over_seeds"]
        if (row["benchmark"], row["relation"]) == ("humor", "random")
    )
    gaps = [
        np.mean(list(values(job, f"policy/unexposed/context/{seed}", "humor").values()))
        - np.mean(list(values(job, f"policy/unexposed/random/{seed}", "humor").values()))
        for seed in range(5)
    ]
    half = 2.7764451 * np.std(gaps, ddof=1) / 5**0.5
    assert claim["seeds"] == 5
    assert claim["value"] == pytest.approx(np.mean(gaps))
    assert claim["low"] == pytest.approx(np.mean(gaps) - half)
    assert claim["high"] == pytest.approx(np.mean(gaps) + half)
    assert "Over seeds" in page


def test_fewer_than_five_seeds_leave_every_question_untold(whole: Whole) -> None:
    assert [row["answer"] for row in whole.report["questions"]] == ["untold"] * 3
    assert "five are needed to tell" in whole.page
    assert "five are needed to tell" in whole.markdown


def test_with_five_seeds_a_question_is_answered_in_words_with_numbers(tmp_path: Path) -> None:
    job = study(tmp_path, seeds=5)
    answers = {row["name"]: row for row in document(job)["questions"]}
    context = answers["context_beats"]
    [row] = context["rows"]
    assert row["what"] == "context − random"
    assert row["verdict"] == "better"
    # No policy was trained on the others, so the whole question has no yes.
    assert context["answer"] == "mixed"
    assert f"{signed(row['value'])} {interval(row)} over 5 seeds" in context["words"][0]
    assert context["words"][-1].endswith("reply and length.")
    facts = answers["factuality"]
    assert facts["answer"] == "untold"
    assert "would have been" in facts["words"][0]
    assert answers["best_predictor"]["answer"] == "untold"


def test_a_loss_of_factuality_is_found_and_named(tmp_path: Path) -> None:
    job = study(tmp_path, seeds=5)
    for seed in range(5):
        place = job.inputs[f"evals/policy/unexposed/context/{seed}/truthfulqa"]
        items = pq.read_table(place / "items.parquet").to_pylist()
        rows = [{**item, "value": item["value"] - 0.4 + 0.01 * seed} for item in items]
        pq.write_table(pa.Table.from_pylist(rows), place / "items.parquet")
        scores = json.loads((place / "scores.json").read_text())
        scores["scores"]["mc2"] -= 0.4 - 0.01 * seed
        write_json(place / "scores.json", scores)
    [facts] = [row for row in document(job)["questions"] if row["name"] == "factuality"]
    assert facts["answer"] == "yes"
    assert "unexposed/context, against random is −0." in facts["words"][0]


def test_a_sign_that_turns_with_the_wording_is_told(tmp_path: Path) -> None:
    job = study(tmp_path)
    place = job.inputs["evals/policy/unexposed/context/0/humor"]
    rows = pq.read_table(place / "items.parquet").to_pylist()
    for row in rows:
        if row["template"] == "other":
            row["values"] = dict.fromkeys(row["values"], -1.0)
    pq.write_table(pa.Table.from_pylist(rows), place / "items.parquet")
    found = [
        row
        for row in document(job)["sensitivity"]
        if (row["model"], row["benchmark"]) == ("policy/unexposed/context/0", "humor")
    ]
    assert {(row["ways"], row["same"], row["holds"]) for row in found} == {(4, 2, False)}
    assert {row["least"]["way"].split("/")[0] for row in found} == {"other"}
    others = [row for row in document(job)["sensitivity"] if row["benchmark"] == "toxicity"]
    assert all(row["holds"] for row in others)


def test_a_gain_that_is_nothing_but_length_is_explained_by_it(whole: Whole) -> None:
    rows = whole.report["length"]["replies"]
    assert [row["model"].split("/")[2] for row in rows] == ["context", "random"]
    for row in rows:
        assert row["length"] > 2 * row["length_start"]
        assert row["gold"]["share"] == pytest.approx(1.0, abs=0.05)


def test_matched_items_count_each_answer_alike_in_every_length(whole: Whole) -> None:
    job, rows = whole.job, whole.report["length"]["matched"]
    assert {row["benchmark"] for row in rows} == {"humor"}
    row = next(r for r in rows if r["relation"] == "start" and r["variant"] == "context")
    first, second = values(job, row["model"], "humor"), values(job, row["against"], "humor")
    items = pq.read_table(job.inputs[f"evals/{row['model']}/humor"] / "items.parquet").to_pylist()
    items = [item for item in items if item["template"] == "default"]
    lengths = np.array([len(item["prompt"]) for item in items])
    cuts = np.quantile(lengths, [0.2, 0.4, 0.6, 0.8])
    total, used = 0.0, 0
    for part in range(5):
        inside = [i for i, n in zip(items, lengths, strict=True) if sum(cuts < n) == part]
        by_gold = [[i for i in inside if i["gold"] == gold] for gold in (0, 1)]
        if all(by_gold):
            gaps = [np.mean([first[i["id"]] - second[i["id"]] for i in p]) for p in by_gold]
            total += len(inside) * float(np.mean(gaps))
            used += len(inside)
    assert row["used"] == used > 0
    assert row["value"] == pytest.approx(total / used)
    assert row["low"] <= row["value"] <= row["high"]


def test_every_reward_model_and_policy_has_a_card_in_the_hubs_form(whole: Whole) -> None:
    cards = whole.job.out / "cards"
    names = {str(path.relative_to(cards).with_suffix("")) for path in cards.rglob("*.md")}
    assert names == {f"reward/{name}" for name in whole.job.config["rewards"]} | {
        model for model in whole.job.config["models"] if model.startswith("policy/")
    }
    for name in names:
        text = (cards / f"{name}.md").read_text(encoding="utf-8")
        head, body = text.removeprefix("---\n").split("---\n", 1)
        metadata = yaml.safe_load(head)
        assert metadata["library_name"] == "transformers"
        assert metadata["model-index"][0]["name"] == name
        assert "Reddit" in body
    [policy] = yaml.safe_load(
        (cards / "policy/unexposed/context/0.md").read_text().split("---\n")[1]
    )["model-index"]
    scored = {r["dataset"]["name"]: r["metrics"][0]["value"] for r in policy["results"]}
    row = next(
        r for r in whole.report["headline"]["rows"] if r["model"] == "policy/unexposed/context/0"
    )
    assert scored["humor"] == pytest.approx(row["cells"]["humor"]["value"], abs=1e-6)


def test_a_card_names_the_model_that_its_own_started_from(tmp_path: Path) -> None:
    job = study(tmp_path)
    recipe = job.config["recipe"]
    recipe["base"] = {"model": "org/base", "revision": "a" * 40}
    backbone = {"model": "org/other", "revision": "b" * 40, "folder": None}
    recipe["reward"] = {**recipe["reward"], "backbone": backbone}
    _, _, page, _ = written(job)
    found = {
        name: yaml.safe_load((job.out / "cards" / f"{name}.md").read_text().split("---\n")[1])
        for name in ("policy/unexposed/context/0", "reward/context/0", "reward/random/0")
    }
    assert [card.get("base_model") for card in found.values()] == ["org/base", "org/other", None]
    assert f"They start from org/other@{'b' * 40}." in page


def test_real_benchmarks_among_the_simulators_are_named(tmp_path: Path) -> None:
    job = study(tmp_path)
    job.config["recipe"]["evals"] = {"data": "world", "hub": {"mmlu": "cais/mmlu@" + "a" * 40}}
    assert any("Those of mmlu are real, from the hub." in note for note in document(job)["notes"])


def test_a_reward_that_says_nothing_is_flagged_against_its_own_rewards_shuffled(
    tmp_path: Path,
) -> None:
    job = study(tmp_path)
    heldout = job.inputs["reward/context/0"] / "heldout.parquet"
    table = pq.read_table(heldout).to_pydict()
    rng = random.Random(1)
    pq.write_table(pa.table({**table, "reward": [rng.random() for _ in range(200)]}), heldout)
    flag = document(job)["rewards"][0]["flag"]
    assert "length alone; it is not shown" in flag
    assert flag.endswith("its own rewards shuffled.")


def test_what_rewards_lean_on_and_how_their_seeds_agree_is_told(tmp_path: Path) -> None:
    job = study(tmp_path, seeds=2)
    place = job.inputs["reward/context/0"] / "metrics.json"
    names = [name for name in LEANS if name != "swapped_spearman"]
    ends = {"": 0.125, "_low": 0.1, "_high": 0.15}
    more = {f"{name}{end}": value for name in names for end, value in ends.items()}
    write_json(place, {**json.loads(place.read_text()), **more})
    run(job)
    report = json.loads((job.out / "report.json").read_text())
    seeds = {row["variant"]: row for row in report["reward_seeds"]}
    assert set(seeds) == {"context", "random", "gold"}
    assert abs(seeds["random"]["agreement"]["value"]) < 0.3
    assert seeds["random"]["spread"] > 0
    page, text = ((job.out / f"report.{end}").read_text() for end in ("html", "md"))
    assert "What each reward leans on" in page
    assert "Seeds of one reward on the same replies" in page
    assert text.count(plain("0.125 [0.100, 0.150]")) == len(names)


def test_a_reward_model_is_flagged_only_if_length_does_as_well(tmp_path: Path) -> None:
    job = study(tmp_path)
    rewards = {row["id"]: row for row in document(job)["rewards"]}
    assert rewards["context/0"]["above_length"]["low"] > 0
    assert rewards["context/0"]["flag"] is None
    assert rewards["random/0"]["flag"] is None
    heldout = job.inputs["reward/context/0"] / "heldout.parquet"
    table = pq.read_table(heldout).to_pydict()
    pq.write_table(pa.table({**table, "reward": [float(n) for n in table["length"]]}), heldout)
    assert "length alone" in document(job)["rewards"][0]["flag"]


def test_a_tiny_simulated_study_says_so_before_its_first_number(whole: Whole) -> None:
    page = whole.page
    assert 0 < page.index("trained here from scratch, tiny") < page.index("<table")
    assert 0 < page.index("project&#39;s simulator") < page.index("<table")


def test_a_score_that_is_not_the_mean_of_its_items_is_an_error(tmp_path: Path) -> None:
    job = study(tmp_path)
    path = job.inputs["evals/base/humor"] / "scores.json"
    scores = json.loads(path.read_text(encoding="utf-8"))
    scores["scores"]["accuracy"] += 0.1
    write_json(path, scores)
    with pytest.raises(CheckError, match="not the mean"):
        run(job)


def test_the_counts_of_all_ranges_are_added(whole: Whole) -> None:
    report = whole.report
    blocks = {block["title"]: dict(block["rows"]) for block in report["data"]["counts"]}
    assert blocks["threads"] == {"conversations": 7}
    assert blocks["threads: splits"] == {"train": 5, "test": 2}
    assert report["data"]["dumps"][0]["balanced"]


def test_the_methods_tell_how_much_unexposed_text_holds_reddits(tmp_path: Path) -> None:
    methods = {part["title"]: part["paragraphs"] for part in document(study(tmp_path))["methods"]}
    told = methods["The unexposed condition"][-1]
    assert "2 of 90 answers that the start learned from and 0 of 50 prompts" in told
    assert "700 messages" in told


def test_policies_of_another_algorithm_are_labelled_wherever_they_are_shown(tmp_path: Path) -> None:
    job = study(tmp_path)
    section = {**RECIPE["policy"], "algorithm": "rloo", "replies": 4}
    job.config["recipe"] = {**job.config["recipe"], "policy": section}
    _, report, page, markdown = written(job)
    told = {part["title"]: part["paragraphs"] for part in report["methods"]}
    assert "by RLOO, not PPO: no critic; each of 4 replies" in told["RLOO"][0]
    assert "critic" not in told["The unexposed condition"][0]
    cards = [path.read_text(encoding="utf-8") for path in job.out.glob("cards/policy/**/*.md")]
    assert len(cards) == 2
    for card in cards:
        assert "- rloo" in card
        assert "that RLOO tuned on" in card
    assert "RLOO, policy by policy" in page
    assert "## RLOO, policy by policy" in markdown
    for text in (re.sub(r"base64,[^\"']*", "", page), markdown, *cards):
        assert "PPO" not in text.replace("not PPO", "")


def test_an_alarm_names_what_went_wrong(tmp_path: Path) -> None:
    job = study(tmp_path)
    folder = job.inputs["policy/unexposed/context/0"]
    numbers = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    write_json(folder / "metrics.json", {**numbers, "skipped_steps": 2})
    alarm = {"alarm": "gold fell while reward rose", "first": 12, "last": 20, "steps": 9}
    write_json(folder / "alarms.json", [alarm])
    rows = {row["id"]: row["alarms"] for row in document(job)["policies"]}
    assert rows["policy/unexposed/context/0"] == [
        "gold fell while reward rose (steps 12 to 20)",
        "steps were skipped",
    ]
    assert rows["policy/unexposed/random/0"] == []


def test_what_was_accepted_without_a_run_is_told_once_a_reason(tmp_path: Path) -> None:
    job = study(tmp_path)
    cause = {"kind": "code", "what": "karma.text", "old": "a", "new": "b"}
    step = {"from": "k", "causes": [cause], "because": ATTACK, "by": "me", "at": "2026-01-02T"}
    job.config["accepted"] = {"labels": [step], "reward/context/0": [step]}
    _, report, page, markdown = written(job)
    [row] = report["accepted"]
    assert row["instances"] == ["labels", "reward/context/0"]
    assert "Accepted without a run" in page
    assert "Accepted without a run" in markdown
    assert "code karma.text" in markdown
    assert plain(ATTACK) in markdown  # escaped once
    assert "<script>" not in page.partition("</head>")[2]


def test_models_that_gave_the_same_on_all_items_have_no_spread_to_judge_by():
    assert interval({"low": 0.0, "high": 0.0}) == "[no spread]"
    assert interval({"low": None, "high": None}) == "[no interval]"


def test_a_score_of_no_right_answer_is_not_sure_of_being_nothing(tmp_path):
    job = study(tmp_path)
    folder = job.inputs["evals/base/humor"]
    table = pq.read_table(folder / "items.parquet")
    zero = pa.array([0.0] * len(table))
    table = table.set_column(table.column_names.index("value"), "value", zero)
    pq.write_table(table, folder / "items.parquet")
    scores = json.loads((folder / "scores.json").read_text())
    write_json(folder / "scores.json", {**scores, "scores": {scores["primary"]: 0.0}})
    [base] = [r for r in document(job)["headline"]["rows"] if r["model"] == "base"]
    found = base["cells"]["humor"]
    assert (found["value"], found["low"]) == (0.0, 0.0)
    assert found["high"] == pytest.approx(0.060, abs=0.001)


@pytest.mark.parametrize(("seeds", "first"), [(1, "policy/unexposed/context/0"), (5, "base")])
def test_the_table_that_a_run_ends_with_is_as_wide_as_the_terminal(
    tmp_path, monkeypatch, capsys, seeds, first
):
    report = document(study(tmp_path, seeds=seeds))
    monkeypatch.setenv("COLUMNS", "70")
    headline(report)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 70
    assert sum(line.startswith(first) for line in lines) == 2
    assert [name for name in report["headline"]["columns"] if name in " ".join(lines)] == [
        *BENCHMARKS,
        "replies",
    ]
