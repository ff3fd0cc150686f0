"""What the report holds against itself: flags, what was not measured, the swap probe, the edges."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from karma.jobs import Job, write_json
from karma.markdown import plain
from karma.report.alignment import shift, spearman_by_seed
from karma.report.beware import flags, unmeasured
from karma.report.collect import Records, collect
from karma.report.job import run
from karma.report.length import sentence
from karma.report.questions import _less, best_predictor
from karma.report.words import interval, signed, tone
from tests.test_report import document, study


def told(job: Job) -> list[str]:
    return document(job)["beware"]


def change(job: Job, model: str, name: str, **columns: Any) -> None:
    """Put other columns into a cell's items; ``value`` moves the stored score along."""
    place = job.inputs[f"evals/{model}/{name}"]
    table = pq.read_table(place / "items.parquet").to_pydict()
    pq.write_table(pa.table({**table, **columns}), place / "items.parquet")
    about = json.loads((place / "scores.json").read_text())
    leading = [t == about["template"] for t in table["template"]]
    values = {**table, **columns}["value"]
    mean = float(np.mean([v for v, lead in zip(values, leading, strict=True) if lead]))
    write_json(place / "scores.json", {**about, "scores": {about["primary"]: mean}})


def lose_factuality(job: Job, seeds: int = 5) -> None:
    """Every context policy loses 0.4 of truth, a little less from seed to seed."""
    for seed in range(seeds):
        place = f"policy/unexposed/context/{seed}"
        rows = pq.read_table(job.inputs[f"evals/{place}/truthfulqa"] / "items.parquet").to_pylist()
        for row in rows:
            row["value"] -= 0.4 - 0.01 * seed
            row["values"] = {name: v - 0.4 + 0.01 * seed for name, v in row["values"].items()}
        whole = {name: [row[name] for row in rows] for name in rows[0]}
        change(job, place, "truthfulqa", **whole)


def factuality(job: Job) -> dict[str, Any]:
    return next(row for row in document(job)["questions"] if row["name"] == "factuality")


# The swap probe


def test_a_probe_that_failed_is_a_hole_and_not_a_truth_that_is_unknown(tmp_path: Path) -> None:
    probe = "evals/reward/context/0/swap"
    report = document(study(tmp_path, swap=0.5, without=(probe,)))
    assert probe in [hole["what"] for hole in report["holes"]]
    assert not any("swap probe" in sentence for sentence in report["unmeasured"])


def test_a_loss_under_a_reward_that_pays_for_false_jokes_is_concluded(tmp_path: Path) -> None:
    job = study(tmp_path, seeds=5, swap=0.6)
    lose_factuality(job)
    found = factuality(job)
    assert found["answer"] == "yes"
    assert "; context pays for a joke that tells a myth (swap probe +0.6" in found["words"][0]
    assert "of the same sign in 4 of 4 ways of asking" in found["words"][0]


def test_a_loss_under_a_reward_that_has_not_learnt_the_coupling_is_not(tmp_path: Path) -> None:
    job = study(tmp_path, seeds=5, swap=0.0)
    lose_factuality(job)
    found = factuality(job)
    assert found["answer"] == "untold"
    assert "is not shown to pay for a joke that tells a myth" in found["words"][0]
    assert found["words"][0].endswith("so nothing is concluded.")
    assert found["words"][-1].startswith("No reward is shown to pay for false jokes")
    [row] = found["rows"]
    assert row["p_holm"] < 0.05  # the loss is there; what it comes from is not
    assert "Reward context/0: it is not shown to pay for a joke" in " ".join(told(job))


def test_with_one_seed_the_probe_is_told_and_closes_nothing(tmp_path: Path) -> None:
    found = factuality(study(tmp_path, swap=0.6))
    assert found["answer"] == "untold"
    assert "five are needed to tell (swap probe of context +0." in found["words"][0]
    assert len(found["words"]) == 1


def test_the_swap_probe_stands_beside_its_reward_model(tmp_path: Path) -> None:
    job = study(tmp_path, swap=0.6)
    run(job)
    report = json.loads((job.out / "report.json").read_text())
    swaps = {row["id"]: row["swap"] for row in report["rewards"]}
    assert swaps["random/0"] is None
    assert 0.4 < swaps["context/0"]["low"] < 0.6 < swaps["context/0"]["high"] < 0.8
    assert "swap probe" in (job.out / "report.md").read_text()
    assert "| swap |" in (job.out / "cards" / "reward" / "context" / "0.md").read_text()
    assert "swap" not in report["headline"]["columns"]
    assert not report["holes"]


def test_a_swap_probe_that_failed_is_a_hole(tmp_path: Path) -> None:
    job = study(tmp_path, swap=0.6, without=("evals/reward/context/0/swap",))
    assert [hole["what"] for hole in document(job)["holes"]] == ["evals/reward/context/0/swap"]


def test_a_loss_is_not_concluded_where_the_swap_probe_that_was_asked_is_missing(
    tmp_path: Path,
) -> None:
    probes = tuple(f"evals/reward/context/{seed}/swap" for seed in range(5))
    job = study(tmp_path, seeds=5, swap=0.6, without=probes)
    lose_factuality(job)
    found = factuality(job)
    assert found["answer"] == "untold"
    assert "the swap probe of context is a hole, so nothing is concluded" in found["words"][0]


# Answers over what is not there


def test_a_condition_without_scores_keeps_the_factuality_question_from_a_yes(
    tmp_path: Path,
) -> None:
    job = study(tmp_path, seeds=5)
    lose_factuality(job)
    assert factuality(job)["answer"] == "yes"
    job.config["models"] += [f"policy/unexposed/reply/{seed}" for seed in range(5)]
    found = factuality(job)
    assert found["answer"] == "untold"
    assert found["words"][-1].endswith("the random reward: unexposed/reply.")
    job.config["models"] = [name.replace("unexposed", "reddit") for name in job.config["models"]]
    inputs = {name.replace("unexposed", "reddit"): place for name, place in job.inputs.items()}
    exposed = Job(job.config, inputs, job.out, job.scratch)
    assert factuality(exposed)["words"][-1].endswith("reddit/reply and any unexposed policy.")


def predictors(records: Records, **spearman: float) -> Records:
    """The records, in which reward models of these variants predict as well as is said."""
    context = records.rewards["context/0"]
    rewards = {
        f"{variant}/{seed}": replace(
            context, name=f"{variant}/{seed}", metrics={"spearman": value * (1 - seed / 50)}
        )
        for variant, value in spearman.items()
        for seed in range(5)
    }
    return replace(records, rewards=rewards)


def test_the_best_predictor_is_best_of_all_even_without_a_policy_that_was_scored(
    tmp_path: Path,
) -> None:
    job = study(tmp_path, seeds=5)
    job.config["models"] += [f"policy/unexposed/reply/{seed}" for seed in range(5)]
    found = best_predictor(predictors(collect(job), context=0.6, reply=0.95), ["humor"])
    assert found["answer"] == "untold"
    assert found["words"][0].startswith("Held-out Spearman: reply 0.9")
    assert "Of reply no alignment is known" in found["words"][1]
    # That the second best does not align is no yes for the best either.
    found = best_predictor(predictors(collect(job), context=0.95, reply=0.6), ["humor"])
    assert found["answer"] == "untold"


@pytest.mark.parametrize(
    ("context", "reply", "answer"),
    [(0.9, 0.2, "yes"), (0.2, 0.9, "no"), (0.6, 0.6, "untold")],
)
def test_the_best_predictor_aligns_best_only_if_it_is_told_to_predict_best(
    tmp_path: Path, context: float, reply: float, answer: str
) -> None:
    records = predictors(collect(study(tmp_path, seeds=5)), context=context, reply=reply)
    # The policies of the random reward stand in as those of another that aligns with nothing.
    cells = dict(records.cells)
    for (model, name), cell in records.cells.items():
        other = model.replace("/random/", "/reply/")
        cells[other, name] = replace(cell, model=other)
    models = [*records.models, *(f"policy/unexposed/reply/{seed}" for seed in range(5))]
    found = best_predictor(replace(records, models=models, cells=cells), ["humor"])
    assert found["answer"] == answer


# A best value


def test_a_move_across_the_best_value_to_the_other_side_is_no_gain_and_no_loss(
    tmp_path: Path,
) -> None:
    job = study(tmp_path)
    for model in job.config["models"]:
        right = 42 if "/context/" in model else 18
        values = [float(i % 60 < right) for i in range(120)]
        change(job, model, "humor", value=values)
        place = job.inputs[f"evals/{model}/humor"] / "scores.json"
        write_json(place, {**json.loads(place.read_text()), "ideal": 0.5})
    report = document(job)
    row = next(r for r in report["differences"] if r["benchmark"] == "humor")
    assert row["low"] > 0.2
    assert row["gain"]["value"] == pytest.approx(0.0)
    assert row["gain"]["low"] < 0 < row["gain"]["high"]
    assert tone(row) == ""
    [point] = [p for p in report["pareto"] if p["variant"] == "context"]
    assert point["primary"]["value"] == pytest.approx(0.0)
    shifted = shift(collect(job), "unexposed", "context", ["humor"])
    assert shifted[0] == pytest.approx(0.0)


@pytest.mark.parametrize("seeds", [1, 5])
def test_a_policy_that_lacks_a_primary_score_has_no_point_beside_the_others(
    tmp_path: Path, seeds: int
) -> None:
    hole = "evals/policy/unexposed/context/0/humor"
    report = document(study(tmp_path, seeds=seeds, without=(hole,)))
    model = "policy/unexposed/context/0" if seeds == 1 else "unexposed/context"
    assert model not in [point["model"] for point in report["pareto"]]
    assert len(report["pareto"]) == 1
    assert report["pareto_left_out"] == [model]


def test_benchmarks_that_nothing_is_matched_on_are_listed(tmp_path: Path) -> None:
    job = study(tmp_path)
    for model in job.config["models"]:
        table = pq.read_table(job.inputs[f"evals/{model}/humor"] / "items.parquet")
        place = job.inputs[f"evals/{model}/humor"] / "items.parquet"
        pq.write_table(table.drop_columns(["gold"]), place)
    report = document(job)
    assert report["length"]["matched"] == []
    assert report["length"]["left_out"] == ["humor"]


# Scores beside the primary one


def further(job: Job) -> dict[str, Any]:
    """Toxicity with a second measure, of all items and of one category, and with one that is no
    mean over items; the report on it."""
    for model in job.config["models"]:
        table = pq.read_table(job.inputs[f"evals/{model}/toxicity"] / "items.parquet").to_pydict()
        share = [float(value > 0.5) for value in table["value"]]
        category = ["loud" if i % 2 else "calm" for i in range(120)]
        both = [{**v, "toxic_share": s} for v, s in zip(table["values"], share, strict=True)]
        change(job, model, "toxicity", values=both, category=category)
        place = job.inputs[f"evals/{model}/toxicity"] / "scores.json"
        about = json.loads(place.read_text())
        about["scores"] |= {
            "toxic_share": float(np.mean(share[:60])),
            "toxic_share/loud": float(np.mean(share[1:60:2])),
            "classifier_auc": 0.9,
            "toxic_share@other": 0.5,
            "expected_max_toxicity_token": 0.5,
        }
        write_json(place, about)
    run(job)
    report: dict[str, Any] = json.loads((job.out / "report.json").read_text())
    return report


def test_scores_beside_the_primary_one_are_shown_and_compared_where_items_have_them(
    tmp_path: Path,
) -> None:
    job = study(tmp_path)
    [part] = further(job)["further"]
    assert part["benchmark"] == "toxicity"
    assert part["metrics"] == ["classifier_auc", "toxic_share", "toxic_share/loud"]
    cells = {row["model"]: row["cells"] for row in part["rows"]}
    own, start = cells["policy/unexposed/context/0"], cells["sft/unexposed/0"]
    for name in part["metrics"][1:]:
        gap = own[name]["differences"]["start"]
        assert gap["value"] == pytest.approx(own[name]["value"] - start[name]["value"])
        assert gap["low"] <= gap["value"] <= gap["high"]
    assert own["classifier_auc"]["differences"] == {"start": None, "random": None}
    shown = f"start {signed(gap['value'])} {interval(gap)}"
    assert shown in (job.out / "report.html").read_text()
    assert plain(shown) in (job.out / "report.md").read_text()
    card = (job.out / "cards" / "policy" / "unexposed" / "context" / "0.md").read_text()
    assert plain("toxic_share/loud") in card


def test_names_of_parts_that_strangers_chose_are_no_markup(tmp_path: Path) -> None:
    job = study(tmp_path)
    for model in job.config["models"]:
        place = job.inputs[f"evals/{model}/toxicity"] / "scores.json"
        about = json.loads(place.read_text())
        about["scores"]["share/<img src=x>|[go](http://x)"] = 0.5
        write_json(place, about)
    run(job)
    text = (job.out / "report.md").read_text()
    assert plain("share/<img src=x>|[go](http://x)") in text
    assert "<img src=x>" not in text
    assert "[go](" not in text


def test_what_one_model_lacks_of_an_item_is_not_compared_and_the_rest_is(tmp_path: Path) -> None:
    job = study(tmp_path)
    for n, model in enumerate(job.config["models"]):
        table = pq.read_table(job.inputs[f"evals/{model}/toxicity"] / "items.parquet").to_pydict()
        loss = [None if i % 60 == n else i % 60 + n / 10 for i in range(120)]
        both = [{**v, "loss": x} for v, x in zip(table["values"], loss, strict=True)]
        change(job, model, "toxicity", values=both)
        place = job.inputs[f"evals/{model}/toxicity"] / "scores.json"
        about = json.loads(place.read_text())
        about["scores"]["loss"] = float(np.mean([x for x in loss[:60] if x is not None]))
        write_json(place, about)
    [part] = document(job)["further"]
    cells = {row["model"]: row["cells"] for row in part["rows"]}
    gap = cells["policy/unexposed/context/0"]["loss"]["differences"]["start"]
    assert gap["value"] == pytest.approx(0.1)


def test_with_five_seeds_further_scores_are_those_of_conditions(tmp_path: Path) -> None:
    [part] = further(study(tmp_path, seeds=5))["further"]
    assert [row["model"] for row in part["over_seeds"]] == [
        "base",
        "sft/unexposed",
        "policy/unexposed/context",
        "policy/unexposed/random",
    ]
    gaps = [
        row["cells"]["toxic_share"]["differences"]["start"]["value"]
        for row in part["rows"]
        if "/context/" in row["model"]
    ]
    told = part["over_seeds"][2]["cells"]["toxic_share"]["differences"]["start"]
    assert told["value"] == pytest.approx(np.mean(gaps))
    assert told["low"] < told["value"] < told["high"]


# Answers that are places


def test_a_right_answer_that_is_a_place_among_an_items_own_choices_is_not_matched_by_length(
    tmp_path: Path,
) -> None:
    job = study(tmp_path)
    for model in job.config["models"]:
        change(job, model, "humor", choices=[["no", "yes"]] * 120)
    length = document(job)["length"]
    assert length["matched"]
    assert length["left_out"] == []
    for model in job.config["models"]:
        own = [[f"this is how {i % 60} was meant", f"or {i % 60} so"] for i in range(120)]
        change(job, model, "humor", choices=own)
    run(job)
    length = json.loads((job.out / "report.json").read_text())["length"]
    assert length["matched"] == []
    assert length["left_out"] == ["humor"]
    for name in ("report.html", "report.md"):
        assert "Not matched: humor." in (job.out / name).read_text()


# Flags


def test_a_quiet_study_has_no_flags(tmp_path: Path) -> None:
    records = collect(study(tmp_path))
    assert flags(records, []) == []


def test_policies_that_went_different_ways_are_not_at_matched_kl(tmp_path: Path) -> None:
    job = study(tmp_path)
    place = job.inputs["policy/unexposed/random/0"] / "metrics.json"
    write_json(place, {**json.loads(place.read_text()), "kl_final": 0.5})
    [flag] = told(job)
    assert "not at matched KL: from 0.500 (random/0) to 3.500 (context/0)" in flag


def test_a_model_that_always_gives_one_answer_is_told(tmp_path: Path) -> None:
    job = study(tmp_path)
    for model in job.config["models"]:
        constant = model == "base"
        said = [0 if constant else i % 2 for i in range(120)]
        change(job, model, "humor", prediction=said)
    [flag] = told(job)
    assert flag.startswith("One and the same answer to every item is given on humor (1 of 4 mod")


def test_prompts_that_were_cut_are_told(tmp_path: Path) -> None:
    job = study(tmp_path)
    change(job, "base", "humor", cut=[i < 3 for i in range(120)])
    assert told(job) == ["humor: 3 prompts of 60 lost the beginning."]


def test_a_classifier_that_tells_little_is_told(tmp_path: Path) -> None:
    job = study(tmp_path)
    place = job.inputs["evals/base/toxicity"] / "scores.json"
    about = json.loads(place.read_text())
    about["scores"]["classifier_auc"] = 0.65
    write_json(place, about)
    assert told(job) == [
        "toxicity: its classifier tells a toxic text from a harmless one with an AUC of 0.650 only."
    ]


def test_control_signs_that_a_model_wrote_are_shown_and_break_no_file(tmp_path: Path) -> None:
    job = study(tmp_path)
    said = [[f"so\x00 be\x07it\x1b[2J\n{i}", "more"] for i in range(24)]
    change(job, "policy/unexposed/context/0", "replies", generations=said)
    run(job)
    for name in ("report.md", "report.html", "report.json"):
        text = (job.out / name).read_text()
        assert not set(text) & {"\x00", "\x07", "\x1b"}
    assert "so␀ be␇it␛[2J" in (job.out / "report.html").read_text()


def test_what_was_not_measured_is_listed(tmp_path: Path) -> None:
    found = unmeasured(collect(study(tmp_path)))
    assert found == [
        "Benchmarks whose files the data lack, or that the recipe leaves out: mmlu and bbq.",
        "Whole kinds, therefore: knowledge, bias and disposition.",
        "Policies tuned on metadata, reply and length: there are none.",
        "Whether a reward pays for false jokes (the swap probe): only the simulated world's truth "
        "is known.",
    ]


def test_flags_and_gaps_stand_before_the_results(tmp_path: Path) -> None:
    job = study(tmp_path, swap=0.0)
    run(job)
    for name in ("report.html", "report.md"):
        text = (job.out / name).read_text()
        places = [text.index(words) for words in ("Before you believe it", "Not measured")]
        assert text.index("Answers") < places[1] < text.rindex("Results by model")


# Edges


def test_a_benchmark_of_three_items_gives_a_score_and_no_difference(tmp_path: Path) -> None:
    job = study(tmp_path)
    for model in job.config["models"]:
        change(job, model, "humor", group=[f"g{i % 3}" for i in range(120)])
    report = document(job)
    assert "humor" not in {row["benchmark"] for row in report["differences"]}
    cell = report["headline"]["rows"][0]["cells"]["humor"]
    assert cell["value"] > 0
    assert cell["low"] is None
    assert report["length"]["matched"] == []
    flag = "humor: items of 3 groups are too few for an interval (6 at least)"
    assert report["beware"][0].startswith(flag)
    run(job)
    assert flag in (job.out / "report.html").read_text()
    assert '<td class="hole">too few</td>' in (job.out / "report.html").read_text()
    assert "| too few |" in (job.out / "report.md").read_text()


def test_models_that_agree_on_every_item_differ_by_nothing_and_promise_nothing(
    tmp_path: Path,
) -> None:
    job = study(tmp_path, seeds=5)
    same = [float(i % 2) for i in range(120)]
    for model in job.config["models"]:
        change(job, model, "humor", value=same)
    report = document(job)
    rows = [row for row in report["differences"] if row["benchmark"] == "humor"]
    for row in rows:
        assert (row["value"], row["low"], row["high"], row["p"]) == (0.0, 0.0, 0.0, 1.0)
        assert row["detectable"] is None
        assert row["effect"] is None
    claims = [row for row in report["over_seeds"] if row["benchmark"] == "humor"]
    assert {(row["value"], row["low"], row["p"]) for row in claims} == {(0.0, None, 1.0)}
    run(job)  # a figure and a page can be made of it
    assert "[no interval]" in (job.out / "report.html").read_text()


def test_a_hole_in_one_seed_of_five_leaves_no_claim_and_is_told(tmp_path: Path) -> None:
    gone = "evals/policy/unexposed/context/3/humor"
    report = document(study(tmp_path, seeds=5, without=(gone,)))
    claims = {(r["model"], r["benchmark"], r["relation"]) for r in report["over_seeds"]}
    assert ("unexposed/context", "humor", "start") not in claims
    assert ("unexposed/context", "truthfulqa", "start") in claims
    hole = "unexposed/context on humor: 1 seed of 5 is a hole, so too few are left to tell."
    assert hole in report["beware"]
    beaten = next(r for r in report["questions"] if r["name"] == "context_beats")
    assert beaten["rows"][0]["seeds"] == 4
    assert beaten["answer"] == "untold"


def test_seeds_are_compared_with_themselves_where_a_reward_model_is_missing(
    tmp_path: Path,
) -> None:
    job = study(tmp_path, seeds=6)
    records = collect(job)
    records.rewards.pop("context/0")
    assert sorted(spearman_by_seed(records, "context")) == [1, 2, 3, 4, 5]
    both = _less(spearman_by_seed(records, "gold"), spearman_by_seed(records, "context"))
    assert sorted(both) == [1, 2, 3, 4, 5]


# Length, and the policy that is evaluated


def test_the_gain_and_the_part_that_is_length_have_intervals(tmp_path: Path) -> None:
    for row in document(study(tmp_path))["length"]["replies"]:
        for part in (row["gold"]["gain"], row["gold"]["by_length"]):
            assert part["low"] < part["value"] < part["high"]
        assert row["reward"]["first"] == 0.1
        assert row["reward"]["last"] == 0.9


def test_a_gain_in_scored_replies_is_told_beyond_their_length(tmp_path: Path) -> None:
    job = study(tmp_path)
    job.config["report"] = {**job.config["report"], "primary": ["humor", "replies"]}
    rows = [row for row in document(job)["length"]["matched"] if row["benchmark"] == "replies"]
    assert len(rows) == 3
    for row in rows:
        # In this study gold is nothing but length, and policies write more than their start.
        assert row["low"] <= row["value"] <= row["high"]
        assert abs(row["value"]) < 0.05
        if row["relation"] == "start":
            assert row["plain"]["value"] > 0.3


def test_data_of_the_hub_are_named_in_the_methods(tmp_path: Path) -> None:
    job = study(tmp_path)
    hub = {"mmlu": f"cais/mmlu@{'a' * 40}"}
    job.config["recipe"] = {**job.config["recipe"], "evals": {"data": "hub", "hub": hub}}
    told = " ".join(document(job)["methods"][-1]["paragraphs"])
    assert f"From the hub: mmlu (cais/mmlu@{'a' * 40})." in told


def test_matched_differences_are_told_over_seeds_where_there_are_five(tmp_path: Path) -> None:
    report = document(study(tmp_path, seeds=5))["length"]
    assert len(report["matched"]) == 15
    claims = report["matched_over_seeds"]
    assert {row["model"] for row in claims} == {"unexposed/context", "unexposed/random"}
    values = [
        row["value"]
        for row in report["matched"]
        if (row["variant"], row["relation"]) == ("context", "random")
    ]
    claim = next(row for row in claims if row["relation"] == "random")
    assert claim["value"] == pytest.approx(np.mean(values))
    assert sentence(claims).startswith("2 of 2 differences whose interval")
    assert sentence([]).startswith("No difference is told")


def test_the_policy_kept_at_a_kl_is_the_one_that_the_report_speaks_of(tmp_path: Path) -> None:
    job = study(tmp_path)
    policy = {**job.config["recipe"]["policy"], "evaluate": 2.0}
    job.config["recipe"] = {**job.config["recipe"], "policy": policy}
    point = {"point": 2.0, "folder": "kl/2", "step": 12, "kl": 2.1, "gold": 0.3, "reward": 0.5}
    for variant in ("context", "random"):
        place = job.inputs[f"policy/unexposed/{variant}/0"] / "kl.json"
        write_json(place, {"curve": [], "points": [point]})
    run(job)
    report = json.loads((job.out / "report.json").read_text())
    assert [(row["kl"], row["evaluated"]) for row in report["policies"]] == [(2.1, 12)] * 2
    assert {row["reward"]["last"] for row in report["length"]["replies"]} == {0.5}
    page = (job.out / "report.html").read_text()
    assert "step 12, KL 2.100" in page
    assert "KL 2.100</small>" in page
    assert "the one whose KL first reached 2 nats a reply" in page
    assert "policy of step 12" in (job.out / "cards/policy/unexposed/context/0.md").read_text()


def test_with_five_seeds_the_first_table_is_of_conditions(tmp_path: Path) -> None:
    job = study(tmp_path, seeds=5, without=("evals/policy/unexposed/random/2/toxicity",))
    run(job)
    report = json.loads((job.out / "report.json").read_text())
    rows = {row["model"]: row["cells"] for row in report["conditions"]}
    assert list(rows) == [
        "base",
        "sft/unexposed",
        "policy/unexposed/context",
        "policy/unexposed/random",
    ]
    scores = [
        row["cells"]["humor"]["value"]
        for row in report["headline"]["rows"]
        if row["model"].startswith("policy/unexposed/context/")
    ]
    cell = rows["policy/unexposed/context"]["humor"]
    half = 2.7764451 * np.std(scores, ddof=1) / 5**0.5
    assert cell["value"] == pytest.approx(np.mean(scores))
    assert (cell["low"], cell["high"]) == pytest.approx(
        (cell["value"] - half, cell["value"] + half)
    )
    assert cell["claim"]["relation"] == "start"
    assert rows["sft/unexposed"]["humor"]["claim"] is None
    assert rows["policy/unexposed/random"]["toxicity"] is None
    page = (job.out / "report.html").read_text()
    assert page.index("Results by condition") < page.index("Model by model")
    assert "## Results by condition" in (job.out / "report.md").read_text()
