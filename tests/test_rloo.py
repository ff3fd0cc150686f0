"""The stage ``policy`` by RLOO: it learns, resumes, is labelled, and stops at what is wrong."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from karma.dag import build, fingerprint
from karma.errors import RecipeError, StageError
from karma.jobs import Job
from karma.policy import models
from karma.policy.algorithms import ALGORITHMS, UNUSED, TuningRecipe
from karma.policy.checkpoint import Progress
from karma.policy.prompts import generator
from karma.policy.recipe import PolicyRecipe
from karma.policy.rloo import Trainer, run, train
from karma.policy.rollout import Rollout, evaluate
from karma.policy.study import Study
from karma.recipe import check, load
from tests.filled import SMOKE
from tests.small import karma, settings
from tests.test_policy import (
    LORA,
    PPO,
    constant,
    conversation,
    digests,
    inputs,
    killed,
    length,
    nth,
    sft,
    sharp,
    study,
)

__all__ = ["sft", "sharp"]  # fixtures


def trained(folder: Path, study: Study, replies: int = 4) -> Progress:
    (folder / "out").mkdir(parents=True, exist_ok=True)
    return train(Job({}, {}, folder / "out", folder), study, replies)


def cats(turns: Any, replies: list[str], slots: Any) -> list[float]:
    return [1.0 if "c" in reply else 0.0 for reply in replies]


@pytest.mark.parametrize("how", [{}, LORA], ids=["full", "lora"])
def test_a_reward_for_one_token_is_learned_to_its_maximum_in_seconds(tmp_path, sharp, how):
    settings = {"episodes": 2560 if how else 1920, "batch": 64, "lr": 0.03, "kl_coef": 1e-3}
    settings |= {"kl_target": None, "max_new_tokens": 3, "missing_eos_penalty": 0.0}
    progress = trained(tmp_path, study(sharp, cats, checkpoint_every=1000, **settings, **how))
    assert progress.curves[0]["reward/raw"] < 0.2
    assert sum(row["reward/raw"] for row in progress.curves[-5:]) / 5 > 0.9
    assert progress.curves[-1]["kl"] > 1


# What a run is made of, small.
HOW = {"kl_target": 0.01, "kl_horizon": 20, "kl_coef": 0.05, "kl_grid": [0.001]}


@pytest.mark.parametrize(
    "how",
    [HOW, {**HOW, **LORA}, {**HOW, "epochs": 2, "minibatches": 2, "micro_tokens": 80}],
    ids=["full", "lora", "several updates"],
)
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(tmp_path, sft, how):
    whole = study(sft, length, **how)
    expected = trained(tmp_path / "whole", whole)
    for call in (3, 1):
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "cut", study(sft, nth(length, {call: killed}), **how))
    resumed = study(sft, length, **how)
    assert trained(tmp_path / "cut", resumed) == expected
    for name, parameter in whole.model.state_dict().items():
        assert torch.equal(parameter, resumed.model.state_dict()[name]), name
    assert len({row["kl/coef"] for row in expected.curves}) == 5
    # Where all is done, nothing is done again.
    again = study(sft, nth(length, {0: killed}), **how)
    assert trained(tmp_path / "cut", again) == expected
    for name, parameter in whole.model.state_dict().items():
        assert torch.equal(parameter, again.model.state_dict()[name]), name


def test_a_checkpoint_that_was_cut_is_passed_over(tmp_path, sft):
    expected = trained(tmp_path / "whole", study(sft, length))
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", study(sft, nth(length, {4: killed})))
    (tmp_path / "cut" / "checkpoint-4" / "progress.json").write_text("{")
    assert trained(tmp_path / "cut", study(sft, length)) == expected


def stage(out: Path, given: dict[str, Path], **changes: Any) -> Path:
    """Run the stage into ``out``, its scratch beside it."""
    out.mkdir()
    scratch = out.with_name(f"{out.name}.scratch")
    scratch.mkdir()
    recipe = TuningRecipe.model_validate({**PPO, "algorithm": "rloo", **changes})
    section = recipe.result("exposures", "variants", "evaluate", "algorithm", "replies")
    settings = {"policy": section | recipe.manner(), "replies": recipe.replies}
    settings |= {"exposure": "reddit", "variant": "random", "seed": 0}
    run(Job(settings, given, out, scratch))
    return out


@pytest.mark.parametrize("how", [{}, LORA], ids=["full", "lora"])
def test_the_stage_leaves_a_plain_model_and_how_it_came_about(tmp_path, sft, how):
    given = inputs(tmp_path, sft)
    out = stage(tmp_path / "out", given, **how)
    assert digests(stage(tmp_path / "again", given, **how)) == digests(out)
    weights, before = (load_file(folder / "model.safetensors") for folder in (out, sft))
    assert weights.keys() == before.keys()
    moved = {name for name in weights if not torch.equal(weights[name], before[name])}
    assert moved == {name for name in weights if "_proj" in name or not how}
    assert not list(out.rglob("adapter*"))
    AutoModelForCausalLM.from_pretrained(out)
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert [sample["step"] for sample in samples] == [0] * 3 + [2] * 3 + [4] * 3 + [5] * 3
    assert str(tmp_path) not in (out / "config.json").read_text()


def test_its_metrics_are_ppos_by_the_same_names_and_those_that_the_documentation_names(
    tmp_path, sft
):
    out = stage(tmp_path / "out", inputs(tmp_path, sft))
    docs = Path(__file__).parents[1] / "docs"
    pages = {name: (docs / f"{name}.md").read_text() for name in ("ppo", "rloo")}
    parts = {
        name: dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", page, re.M | re.S))
        for name, page in pages.items()
    }

    def named(page: str, title: str) -> set[str]:
        return set(re.findall(r"^\| `([^`]+)` \|", parts[page][title], flags=re.MULTILINE))

    row = json.loads((out / "curves.json").read_text())[0]
    shared = named("ppo", "Metrics of a step") - named("rloo", "Not there")
    assert set(row) == shared | named("rloo", "Metrics of its own")
    line = json.loads((out / "log" / "metrics.jsonl").read_text().splitlines()[0])
    assert set(line) - set(row) - {"time"} == named("rloo", "Measured, not in the artefact")
    assert set(json.loads((out / "metrics.json").read_text())) == named("ppo", "Headline numbers")
    for name in UNUSED["rloo"]:
        assert f"`{name}`" in parts["rloo"]["Recipe"]


class Reread(Trainer):
    """Reads every reply once more by a pass of our own, and compares."""

    def _rollout(self, prompts: list[list[int]], replies: list[list[int]]) -> Rollout:
        found = super()._rollout(prompts, replies)
        start = models.ActorCritic(self.start, None, generator(0))
        for row in range(len(replies)):
            with torch.no_grad():
                now = evaluate(self.study.model, found, [row], self.study.recipe.temperature)
                past = evaluate(start, found, [row], self.study.recipe.temperature)
            inside = found.mask[row]
            assert torch.allclose(found.logprobs[row][inside], now.logprobs, atol=1e-5)
            assert torch.allclose(found.reference[row][inside], past.logprobs, atol=1e-5)
            assert torch.allclose(found.entropy[row][inside], now.entropy(), atol=1e-5)
        return found


@pytest.mark.parametrize("how", [{}, LORA], ids=["full", "lora"])
def test_what_the_curves_rest_on_is_what_a_pass_of_our_own_reads(tmp_path, sharp, how):
    given = study(sharp, length, lr=0.02, temperature=0.7, missing_eos_penalty=0.0, **how)
    (tmp_path / "out").mkdir()
    progress = Progress(kl_coef=0.05)
    trainer = Reread(Job({}, {}, tmp_path / "out", tmp_path), given, 4, progress)
    trainer.start = models.load_policy(sharp).eval()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        trainer.train()
    assert progress.curves[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert progress.curves[-1]["kl"] > 0.01
    for row in progress.curves:
        assert row["reward/kl"] == -row["kl/coef"] * row["kl"]


def test_a_heavy_price_keeps_the_policy_where_it_started(tmp_path, sft):
    settings = {"episodes": 120, "kl_target": None, "lr": 0.01}
    free = trained(tmp_path / "free", study(sft, length, kl_coef=1e-4, **settings))
    held = trained(tmp_path / "held", study(sft, length, kl_coef=5.0, **settings))
    kl = [sum(row["kl"] for row in run.curves[-10:]) / 10 for run in (free, held)]
    assert kl[0] > 3 * abs(kl[1])


def test_how_a_step_is_cut_into_passes_changes_nothing(tmp_path, sft):
    one, two = (study(sft, length, micro_tokens=size) for size in (10_000, 80))
    first, second = trained(tmp_path / "one", one), trained(tmp_path / "two", two)
    for ours, theirs in zip(first.curves, second.curves, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
    for name, parameter in one.model.state_dict().items():
        assert torch.allclose(parameter, two.model.state_dict()[name], atol=1e-4), name


def test_in_bfloat16_weights_stay_in_single_precision(tmp_path, sft):
    given = study(sft, length, episodes=16)
    given.model.half_precision = True
    progress = trained(tmp_path, given)
    assert progress.curves[0]["kl"] == pytest.approx(0, abs=1e-3)
    assert {weight.dtype for weight in given.model.policy.parameters()} == {torch.float32}


def test_gold_is_reported_and_changes_nothing(tmp_path, sft):
    first, second = study(sft, length, constant(1.0)), study(sft, length, constant(-5.0))
    one, two = trained(tmp_path / "one", first), trained(tmp_path / "two", second)
    assert [row["gold"] for row in one.curves] == [1.0] * 5
    assert [row["gold"] for row in two.curves] == [-5.0] * 5
    for name, parameter in first.model.state_dict().items():
        assert torch.equal(parameter, second.model.state_dict()[name])


def test_the_rewards_are_asked_for_text_and_the_prompts_metadata(tmp_path, sft):
    seen: list[Any] = []

    def spy(turns: list[Any], replies: list[str], slots: list[Any]) -> list[float]:
        seen.append((turns, replies, slots))
        return [0.0] * len(replies)

    trained(tmp_path, study(sft, spy, episodes=8))
    [(turns, replies, slots)] = seen
    assert [turns.count(turn) for turn in turns] == [4] * 8
    assert all(turn in [conversation(n) for n in range(11)] for turn in turns)
    assert all(reply == reply.strip() and "<eos>" not in reply for reply in replies)
    assert slots == [None] * 8


def test_a_reward_that_is_no_number_ends_the_run_in_words_and_leaves_a_checkpoint(tmp_path, sft):
    odd = {2: lambda n: [0.0] * (n - 1) + [float("nan")]}
    with pytest.raises(StageError, match=r"step 3: the reward is nan for 1 of 8.*skips no step"):
        trained(tmp_path / "run", study(sft, nth(length, odd)))
    resumed = trained(tmp_path / "run", study(sft, length))
    assert resumed == trained(tmp_path / "whole", study(sft, length))
    with pytest.raises(StageError, match="the reward returned 1 values for 8 replies"):
        trained(tmp_path / "short", study(sft, lambda *_: [0.0]))


def test_weights_that_run_away_end_the_run_in_words(tmp_path, sft):
    with pytest.raises(StageError, match=r"step \d: .* is (nan|inf); lower policy.lr"):
        trained(tmp_path, study(sft, length, lr=1e30, kl_target=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"critic": "separate", "lam": 0.9}, "algorithm rloo has no use for lam, critic"),
        ({"processes": 2}, "no use for processes; .* put the default back: processes=1"),
        ({"replies": 3}, r"batch \(8\) must be a multiple of replies \(3\)"),
        ({"minibatches": 3}, r"batch \(8\) must be a multiple of minibatches \(3\)"),
        ({"kl_coef": 0.0, "kl_target": None}, "kl_coef must be above 0"),
        ({"algorithm": "ppo", "replies": 8}, "algorithm ppo has no use for replies"),
        ({"algorithm": "grpo"}, "algorithm: Input should be 'ppo' or 'rloo'"),
    ],
)
def test_what_does_not_fit_the_algorithm_is_refused(changes, message):
    document = {**PPO, "algorithm": "rloo", **changes}
    with pytest.raises(RecipeError, match=message):
        check(TuningRecipe, document, "recipe", "Mend it.")


RLOO = ["policy.algorithm=rloo", "policy.vf_coef=0.1"]


def test_a_cell_of_ppo_is_as_if_there_were_no_other_algorithm():
    dag = build("smoke", load(SMOKE, []))
    node = dag.nodes["policy/reddit/context/0"]
    elsewhere = {"exposures", "variants", "evaluate", "unfrozen_layers"}
    known = set(PolicyRecipe.model_fields) - elsewhere
    assert set(node.job_config["policy"]) == known
    assert set(node.config) == {"policy", "exposure", "variant", "seed"}
    modules = fingerprint(node, dag.settings, dict.fromkeys(node.inputs, ""))["code"]
    assert "karma.policy.ppo" in modules
    assert not {"karma.policy.rloo", "karma.policy.algorithms"} & set(modules)


def test_a_cell_of_rloo_is_another_one_and_keeps_what_it_uses():
    dag = build("smoke", load(SMOKE, RLOO))
    node = dag.nodes["policy/reddit/context/0"]
    assert node.job == ALGORITHMS["rloo"]
    assert node.config["algorithm"] == "rloo"
    assert not set(UNUSED["rloo"]) & set(node.config["policy"])
    document = fingerprint(node, dag.settings, dict.fromkeys(node.inputs, ""))
    assert "trl" in document["version"]
    assert "karma.policy.rloo" in document["code"]
    # Nothing but policies and what follows is another one.
    ppo = build("smoke", load(SMOKE, []))
    other = {name for name, node in dag.nodes.items() if node.config != ppo.nodes[name].config}
    assert {name.split("/")[0] for name in other} == {"policy", "report"}


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1500)  # 76 processor seconds, which a busy machine stretches
def test_a_small_study_by_rloo_ends_with_a_report_that_says_so(tmp_path):
    few = ["reward.variants={random: {}}", "policy.variants=[random]", "policy.exposures=[reddit]"]
    few += ["policy.episodes=192", "evals.items=8", "evals.benchmarks=[humor]"]
    few += ["report.primary=[humor]"]
    ran = karma("run", str(SMOKE), *settings(*RLOO, *few), workspace=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    [page] = tmp_path.glob("objects/*/report.md")
    text = page.read_text()
    assert "## RLOO, policy by policy" in text
    assert "is trained by RLOO, not PPO" in text
    assert "### RLOO" in text
    [card] = page.parent.glob("cards/policy/reddit/random/*.md")
    assert "- rloo" in card.read_text()
    assert "A language model that RLOO tuned" in card.read_text()
