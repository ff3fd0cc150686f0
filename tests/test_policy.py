"""The stage ``policy``: it learns, resumes, watches, and stops at what is wrong."""

import hashlib
import json
import re
import resource
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from karma.base import tokenizer as base_tokenizer
from karma.errors import InputError, StageError, UserError
from karma.jobs import Job
from karma.policy import alarms, checkpoint, models
from karma.policy.checkpoint import Progress
from karma.policy.job import run
from karma.policy.prompts import chosen, encode, read
from karma.policy.recipe import PolicyRecipe
from karma.policy.rewards import Reward, Said, shape
from karma.policy.study import Study, kept_samples
from karma.policy.train import train
from karma.reward.views import Slot
from karma.text import Turn
from tests.small import wait_until

PPO: dict[str, Any] = {
    "episodes": 40,
    "batch": 8,
    "lr": 1e-3,
    "max_new_tokens": 6,
    "max_prompt_tokens": 60,
    "checkpoint_every": 2,
    "samples": 3,
    "samples_every": 2,
    "micro_tokens": 1024,
}
WINDOW = 80


@pytest.fixture(scope="module")
def sft(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sft")
    texts = [f"Post: About {n}\nReply: Is it a cat or a dog?" for n in range(20)]
    tokenizer = base_tokenizer.train(texts, 280, WINDOW)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(config(len(tokenizer))).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sharp(sft, tmp_path_factory) -> Path:
    """The same with larger weights: frozen small embeddings could not favour any token."""
    folder = tmp_path_factory.mktemp("sharp")
    tokenizer = AutoTokenizer.from_pretrained(sft)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(config(len(tokenizer), initializer_range=0.6)).save_pretrained(folder)
    return folder


def config(vocabulary: int, **changes: Any) -> LlamaConfig:
    return LlamaConfig(
        **changes,
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def conversation(n: int) -> list[Turn]:
    return [Turn(role="title", text=f"About {n}"), Turn(role="comment", text="Is it a cat?")]


def prompts(folder: Path, turns: list[list[Turn]], split: str = "train") -> Path:
    """A folder as the stage ``prompts`` writes it; odd rows have no slot."""
    folder.mkdir()
    rows = [
        {
            "split": split,
            "turns": row,
            "subreddit": None if n % 2 else "cats",
            "depth": None if n % 2 else 2,
            "delay": None,
            "hour": None if n % 2 else 0,
            "parent_score": None if n % 2 else 5,
        }
        for n, row in enumerate(turns)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "prompts.parquet")
    return folder


def reward(folder: Path, kind: str, name: str) -> Path:
    folder.mkdir()
    document = {"kind": kind, "name": name, "seed": 0, "mean": 1.0, "deviation": 0.5}
    (folder / "reward.json").write_text(json.dumps(document))
    return folder


def inputs(tmp_path: Path, sft: Path) -> dict[str, Path]:
    return {
        "sft": sft,
        "reward": reward(tmp_path / "reward", "random", "random"),
        "gold": reward(tmp_path / "gold", "length", "gold"),
        "prompts": prompts(tmp_path / "prompts", [conversation(n) for n in range(11)]),
    }


def policy(out: Path, given: dict[str, Path], **changes: Any) -> Path:
    """Run the stage into ``out``, its scratch beside it."""
    out.mkdir()
    scratch = out.with_name(f"{out.name}.scratch")
    scratch.mkdir(exist_ok=True)
    section = PolicyRecipe.model_validate({**PPO, **changes}).model_dump(mode="json")
    del section["exposures"], section["variants"]
    settings = {"policy": section, "exposure": "reddit", "variant": "random", "seed": 0}
    run(Job(settings, given, out, scratch))
    return out


def digests(folder: Path) -> dict[str, str]:
    """The artefact's files by content, the log left out."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }


Plain = Callable[[list[list[Turn]], list[str], list[Slot | None]], list[float]]


def without_terms(reward: Plain) -> Reward:
    def asked(turns: list[list[Turn]], replies: list[str], slots: list[Slot | None]) -> Said:
        return reward(turns, replies, slots), {}

    return asked


def study(sft: Path, reward: Plain, gold: Plain | None = None, **changes: Any) -> Study:
    recipe = PolicyRecipe.model_validate({**PPO, **changes})
    tokenizer = AutoTokenizer.from_pretrained(sft)
    rows = [(conversation(n), None) for n in range(11)]
    trunk = models.load_policy(sft).base_model if recipe.critic == "separate" else None
    model = models.actor_critic(models.load_policy(sft), trunk, recipe, 0)
    return Study(
        recipe=recipe,
        seed=0,
        model=model,
        reference=models.reference(model.policy, sft, "cpu", model.lower),
        tokenizer=tokenizer,
        prompts=encode(rows, tokenizer, recipe, WINDOW),
        reward=without_terms(reward),
        gold=without_terms(gold or constant(1.0)),
    )


def trained(folder: Path, study: Study) -> Progress:
    """Train in ``folder``, going on where a run there was killed."""
    (folder / "out").mkdir(parents=True, exist_ok=True)
    return train(Job({}, {}, folder / "out", folder), study)


def constant(value: float) -> Plain:
    def same(turns: Any, replies: list[str], slots: Any) -> list[float]:
        return [value] * len(replies)

    return same


def length(turns: list[list[Turn]], replies: list[str], slots: list[Slot | None]) -> list[float]:
    return [len(reply) / 10 for reply in replies]


def nth(reward: Plain, special: dict[int, Callable[[int], list[float]]]) -> Plain:
    """``reward``, but its n-th call (the trial before the first step is the 0th) does as told."""
    calls = iter(range(10**6))

    def asked(turns: Any, replies: Any, slots: Any) -> list[float]:
        call = next(calls)
        return special[call](len(replies)) if call in special else reward(turns, replies, slots)

    return asked


def killed(count: int) -> list[float]:
    raise KeyboardInterrupt


def test_the_stage_leaves_a_plain_model_and_how_it_came_about(tmp_path, sft):
    out = policy(tmp_path / "out", inputs(tmp_path, sft))
    weights = load_file(out / "model.safetensors")
    before = load_file(sft / "model.safetensors")
    assert weights.keys() == before.keys()
    assert all(not torch.equal(weights[name], before[name]) for name in weights)
    assert str(tmp_path) not in (out / "config.json").read_text()
    AutoModelForCausalLM.from_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert (
        tokenizer("a cat")["input_ids"] == AutoTokenizer.from_pretrained(sft)("a cat")["input_ids"]
    )
    curves = json.loads((out / "curves.json").read_text())
    assert [row["step"] for row in curves] == [1, 2, 3, 4, 5]
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert [sample["step"] for sample in samples] == [0] * 3 + [2] * 3 + [4] * 3 + [5] * 3
    assert len({sample["prompt"] for sample in samples}) == 3
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["reward_gain"] == pytest.approx(
        curves[-1]["reward/raw"] - curves[0]["reward/raw"]
    )
    assert metrics["steps"] == 5
    assert metrics["skipped_steps"] == 0


def test_the_same_seed_gives_the_same_bytes(tmp_path, sft):
    given = inputs(tmp_path, sft)
    first = digests(policy(tmp_path / "first", given))
    assert digests(policy(tmp_path / "second", given)) == first


def test_the_metrics_are_those_that_the_documentation_names(tmp_path, sft):
    page = (Path(__file__).parents[1] / "docs" / "ppo.md").read_text()
    tables = {
        title: set(re.findall(r"^\| `([^`]+)` \|", part, flags=re.MULTILINE))
        for title, part in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    }
    out = policy(tmp_path / "out", inputs(tmp_path, sft))
    row = json.loads((out / "curves.json").read_text())[0]
    assert set(row) == tables["Metrics of a step"]
    lines = (out / "log" / "metrics.jsonl").read_text().splitlines()
    logged = set(json.loads(lines[0])) - {"time"}
    assert logged - set(row) == tables["Measured, not in the artefact"]
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics) == tables["Headline numbers"]
    described = set(re.findall(r"^\| ([^|`]+) \|", page.split("## Alarms")[1], flags=re.MULTILINE))
    known = (alarms.GOLD, alarms.LONG, alarms.SHORT, alarms.FAR, alarms.WILD, alarms.ENDLESS)
    assert {*known, alarms.STRANGE} <= described


LORA = {"lora": {"rank": 4, "alpha": 8}}
MANNERS = [
    {"critic": "shared"},
    {"critic": "separate"},
    {"critic": "shared", **LORA},
    {"critic": "separate", **LORA},
]


def manner(changes: dict[str, Any]) -> str:
    return "-".join([changes["critic"], *(["lora"] if "lora" in changes else [])])


@pytest.mark.parametrize("how", MANNERS, ids=manner)
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(tmp_path, sft, how):
    settings = {"kl_horizon": 20, "kl_target": 0.01, **how}
    whole = study(sft, length, **settings)
    expected = trained(tmp_path / "whole", whole)
    for call in (4, 3):
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "cut", study(sft, nth(length, {call: killed}), **settings))
    resumed = study(sft, length, **settings)
    assert trained(tmp_path / "cut", resumed) == expected
    for name, parameter in whole.model.state_dict().items():
        assert torch.equal(parameter, resumed.model.state_dict()[name]), name
    assert len({row["kl/coef"] for row in expected.curves}) == 5


def test_a_killed_job_leaves_the_same_files(tmp_path, sft):
    given = inputs(tmp_path, sft)
    expected = digests(policy(tmp_path / "whole", given))
    settings = PolicyRecipe.model_validate(PPO)
    (tmp_path / "cut.scratch").mkdir()
    half = study(sft, length)
    optimizer = torch.optim.Adam(half.model.parameters())
    (tmp_path / "lost").mkdir()
    section = settings.model_dump(mode="json")
    config = {"policy": section, "exposure": "reddit", "variant": "random", "seed": 0}
    job = Job(config, given, tmp_path / "lost", tmp_path / "cut.scratch", report=_gone_after_three)
    # Whoever waited is gone in the middle: the job dies between two checkpoints.
    with pytest.raises(FileNotFoundError):
        run(job)
    progress = checkpoint.load(tmp_path / "cut.scratch", half.model, optimizer)
    assert progress is not None
    assert progress.step == 2
    assert digests(policy(tmp_path / "cut", given)) == expected


@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_adapters_leave_a_plain_merged_model_with_equal_digests_after_a_kill(tmp_path, sft, critic):
    given = inputs(tmp_path, sft)
    settings = {**LORA, "critic": critic, "lr": 0.01, "kl_grid": [0.001]}
    out = policy(tmp_path / "whole", given, **settings)
    scratch = tmp_path / "cut.scratch"
    scratch.mkdir()
    section = PolicyRecipe.model_validate({**PPO, **settings}).model_dump(mode="json")
    config = {"policy": section, "exposure": "reddit", "variant": "random", "seed": 0}
    (tmp_path / "lost").mkdir()
    with pytest.raises(FileNotFoundError):
        run(Job(config, given, tmp_path / "lost", scratch, report=_gone_after_three))
    assert digests(policy(tmp_path / "cut", given, **settings)) == digests(out)
    weights, before = (load_file(f / "model.safetensors") for f in (out, sft))
    assert weights.keys() == before.keys()
    moved = {name for name in weights if not torch.equal(weights[name], before[name])}
    assert moved == {name for name in weights if name.endswith("_proj.weight")}
    assert not list(out.rglob("adapter*"))
    kept = load_file(out / "kl" / "0.001" / "model.safetensors")
    assert {n for n in kept if not torch.equal(kept[n], before[n])} == moved
    AutoModelForCausalLM.from_pretrained(out / "kl" / "0.001")


def _gone_after_three(done: float, total: float, unit: str) -> None:
    if done == 3:
        raise FileNotFoundError("whoever waited is gone")


@pytest.mark.parametrize("how", MANNERS, ids=manner)
def test_a_reward_for_one_token_is_learned_to_its_maximum_in_seconds(tmp_path, sharp, how):
    def cats(turns: Any, replies: list[str], slots: Any) -> list[float]:
        return [1.0 if "c" in reply else 0.0 for reply in replies]

    # A fraction of the weights takes more steps.
    episodes = 6400 if "lora" in how else 1920
    settings = {"episodes": episodes, "batch": 64, "lr": 0.03, "kl_coef": 0.0, "kl_target": None}
    progress = trained(
        tmp_path,
        study(sharp, cats, max_new_tokens=3, missing_eos_penalty=0.0, **settings, **how),
    )
    assert progress.curves[0]["reward/raw"] < 0.2
    assert sum(row["reward/raw"] for row in progress.curves[-5:]) / 5 > 0.95
    assert progress.curves[-1]["kl"] > 1


def test_a_heavy_coefficient_keeps_the_policy_where_it_started(tmp_path, sft):
    settings = {"episodes": 200, "kl_target": None, "whiten_rewards": True, "lr": 0.01}
    free = trained(tmp_path / "free", study(sft, length, kl_coef=0.0, **settings))
    held = trained(tmp_path / "held", study(sft, length, kl_coef=5.0, **settings))
    kl = [sum(row["kl"] for row in run.curves[-10:]) / 10 for run in (free, held)]
    assert kl[0] > 3 * abs(kl[1])


@pytest.mark.slow
def test_steering_brings_the_kl_to_its_target(tmp_path, sft):
    settings = {"episodes": 3200, "batch": 32, "lr": 0.01, "kl_target": 2.0, "kl_coef": 0.2}
    progress = trained(tmp_path, study(sft, length, kl_horizon=200, **settings))
    last = [row["kl"] for row in progress.curves[-20:]]
    assert 1.2 < sum(last) / 20 < 2.8
    assert min(row["kl/coef"] for row in progress.curves) < 0.1


def test_one_odd_reward_skips_its_step_and_is_counted(tmp_path, sft):
    odd = {2: lambda n: [float("nan")] * n, 4: lambda n: [float("inf")] * n}
    progress = trained(tmp_path, study(sft, nth(length, odd)))
    assert [row["step"] for row in progress.curves] == [1, 3, 5]
    assert (progress.skipped, progress.skipped_in_a_row) == (2, 0)


def test_three_odd_steps_in_a_row_end_the_run_and_leave_a_checkpoint(tmp_path, sft):
    odd = {call: lambda n: [0.0] * (n - 1) + [float("nan")] for call in (1, 2, 3)}
    with pytest.raises(StageError, match=r"3 steps in a row.*step 3: the reward is nan for 1 of 8"):
        trained(tmp_path, study(sft, nth(length, odd)))
    progress = trained(tmp_path, study(sft, length))
    assert [row["step"] for row in progress.curves] == [4, 5]
    assert progress.skipped == 3


def test_gold_is_reported_and_changes_nothing(tmp_path, sft):
    first, second = study(sft, length, constant(1.0)), study(sft, length, constant(-5.0))
    one, two = trained(tmp_path / "one", first), trained(tmp_path / "two", second)
    assert [row["gold"] for row in one.curves] == [1.0] * 5
    assert [row["gold"] for row in two.curves] == [-5.0] * 5
    for name, parameter in first.model.state_dict().items():
        assert torch.equal(parameter, second.model.state_dict()[name])


def test_a_reward_with_the_wrong_number_of_values_ends_before_the_first_step(tmp_path, sft):
    with pytest.raises(StageError, match="the reward returned 1 values for 2 replies"):
        trained(tmp_path, study(sft, lambda *_: [0.0]))
    with pytest.raises(StageError, match="the gold reward returned 0 values"):
        trained(tmp_path, study(sft, length, lambda *_: []))
    with pytest.raises(StageError, match=r"the reward is nan.*before the first step"):
        trained(tmp_path, study(sft, constant(float("nan"))))
    assert not (tmp_path / "out" / "log").exists()


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, sft):
    started = study(sft, length)
    optimizer = torch.optim.Adam(started.model.parameters())
    checkpoint.save(tmp_path, started.model, optimizer, Progress(kl_coef=0.1, step=7))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises((OSError, RuntimeError)):
            checkpoint.save(tmp_path, started.model, optimizer, Progress(kl_coef=0.1, step=8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    found = checkpoint.load(tmp_path, started.model, optimizer)
    assert found is not None
    assert found.step == 7


def test_prompts_come_with_the_slot_of_the_real_reply_where_there_is_one(tmp_path, sft):
    rows = read(prompts(tmp_path / "prompts", [conversation(0), conversation(1)]))
    slot = Slot(subreddit="cats", depth=2, delay=None, hour=0, parent_score=5)
    assert rows == [(conversation(0), slot), (conversation(1), None)]


def test_a_reward_is_given_the_conversation_and_the_reply_as_text(tmp_path, sft):
    seen: list[Any] = []

    def spy(turns: list[list[Turn]], replies: list[str], slots: list[Any]) -> list[float]:
        seen.extend(zip(turns, replies, slots, strict=True))
        return [0.0] * len(replies)

    trained(tmp_path, study(sft, spy, episodes=8))
    for turns, reply, slot in seen[2:]:
        assert turns in [conversation(n) for n in range(11)]
        assert reply == reply.strip()
        assert "<eos>" not in reply
        assert slot is None


def test_every_prompt_comes_up_before_one_comes_twice():
    drawn = [row for step in range(1, 12) for row in chosen(11, 4, 0, step)]
    for start in range(0, 44, 11):
        assert sorted(drawn[start : start + 11]) == list(range(11))
    assert drawn[:11] != drawn[11:22]
    assert drawn != [row for step in range(1, 12) for row in chosen(11, 4, 1, step)]


def test_long_prompts_lose_their_oldest_turns_or_are_left_out(sft):
    tokenizer = AutoTokenizer.from_pretrained(sft)
    long = Turn(role="comment", text="cat " * 60)
    rows = [([long, *conversation(0)], None), ([long], None), (conversation(1), None)]
    kept = encode(rows, tokenizer, PolicyRecipe.model_validate(PPO), WINDOW)
    assert [prompt.turns for prompt in kept] == [conversation(0), conversation(1)]


def test_what_cannot_work_is_told_before_the_first_step(tmp_path, sft):
    given = inputs(tmp_path, sft)
    with pytest.raises(InputError, match=r"exceeds the model's window of 80.*max_prompt_tokens"):
        policy(tmp_path / "a", given, max_new_tokens=70)
    with pytest.raises(InputError, match="none of 11 can be used"):
        policy(tmp_path / "b", given, max_prompt_tokens=3)
    held_out = prompts(tmp_path / "held_out", [conversation(0)], split="test")
    with pytest.raises(InputError, match="none of 0 can be used"):
        policy(tmp_path / "c", {**given, "prompts": held_out})


@pytest.mark.parametrize(("missing", "message"), [("pad", "no pad"), ("eos", "no end-of-text")])
def test_a_tokenizer_without_pad_or_end_is_told(tmp_path, sft, missing, message):
    tokenizer = AutoTokenizer.from_pretrained(sft)
    setattr(tokenizer, f"{missing}_token", None)
    broken = tmp_path / "sft"
    models.load_policy(sft).save_pretrained(broken)
    tokenizer.save_pretrained(broken)
    with pytest.raises(InputError, match=rf"sft/reddit/0: its tokenizer has {message}"):
        policy(tmp_path / "out", inputs(tmp_path, broken))


def test_a_separate_critic_starts_from_a_reward_model_of_the_same_vocabulary(tmp_path, sft):
    tokenizer = AutoTokenizer.from_pretrained(sft)
    classifier = LlamaForSequenceClassification(config(len(tokenizer)))
    classifier.save_pretrained(tmp_path / "reward" / "model")
    tokenizer.save_pretrained(tmp_path / "reward" / "model")
    trunk, origin = models.load_trunk(sft, tmp_path / "reward", tokenizer)
    assert origin == "reward"
    for name, parameter in classifier.base_model.named_parameters():
        assert torch.equal(parameter, trunk.get_parameter(name))
    tokenizer.add_tokens("meow")
    trunk, origin = models.load_trunk(sft, tmp_path / "reward", tokenizer)
    assert origin == "policy"
    for name, parameter in models.load_policy(sft).base_model.named_parameters():
        assert torch.equal(parameter, trunk.get_parameter(name))


def test_rewards_are_held_within_bounds_and_replies_without_end_pay():
    recipe = PolicyRecipe(reward_clip=2.0, missing_eos_penalty=0.5, length_penalty=0.1)
    assert shape([5.0, -5.0, 1.0], [True, True, False], [3, 1, 10], recipe) == {
        "score": [2.0, -2.0, 1.0],
        "missing_eos": [0.0, 0.0, -0.5],
        "length": pytest.approx([-0.3, -0.1, -1.0]),
    }
    free = PolicyRecipe(reward_clip=None, missing_eos_penalty=0.0)
    terms = shape([5.0, -5.0], [True, False], [3, 1], free)
    assert [sum(row) for row in zip(*terms.values(), strict=True)] == [5.0, -5.0]


def test_a_recipe_that_cannot_make_a_step_is_refused():
    with pytest.raises(ValidationError, match=r"minibatches \(9\) exceeds batch \(8\)"):
        PolicyRecipe.model_validate({**PPO, "minibatches": 9})
    with pytest.raises(ValidationError, match="kl_coef is 0, which steering to kl_target cannot"):
        PolicyRecipe(kl_coef=0.0)
    with pytest.raises(ValidationError, match=r"batch 50 could move .* kl_horizon above 10"):
        PolicyRecipe(batch=50, kl_horizon=10)
    assert PolicyRecipe(batch=49, kl_horizon=10, kl_coef=0.1)
    assert PolicyRecipe(batch=50, kl_horizon=10, kl_coef=0.0, kl_target=None)
    with pytest.raises(ValidationError, match="kl_grid holds 2 more than once"):
        PolicyRecipe(kl_grid=(1.0, 2.0, 2.0000001))
    with pytest.raises(ValidationError, match=r"batch \(8\) exceeds episodes \(7\)"):
        PolicyRecipe.model_validate({**PPO, "episodes": 7})


@pytest.mark.slow
@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_two_processes_make_what_one_makes(tmp_path, sft, critic):
    given = inputs(tmp_path, sft)
    settings = {"critic": critic, "kl_grid": [0.001]}
    one = policy(tmp_path / "one", given, **settings)
    two = policy(tmp_path / "two", given, processes=2, **settings)
    assert {p.name for p in two.iterdir()} == {p.name for p in one.iterdir()}
    first, second = (json.loads((f / "curves.json").read_text()) for f in (one, two))
    assert second[0] == pytest.approx(first[0], rel=1e-5, abs=1e-5)
    for row, expected in zip(second, first, strict=True):
        assert row == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert (two / "samples.jsonl").read_bytes() == (one / "samples.jsonl").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_job_that_was_killed_by_force_ends_with_equal_digests(tmp_path, sft, processes):
    given = inputs(tmp_path, sft)
    settings = {"episodes": 400, "checkpoint_every": 1, "critic": "separate", "kl_grid": [0.001]}
    settings["processes"] = processes
    expected = digests(policy(tmp_path / "whole", given, **settings))
    section = PolicyRecipe.model_validate({**PPO, **settings}).model_dump(mode="json")
    spec = {
        "job": "karma.policy.job:run",
        "config": {"policy": section, "exposure": "reddit", "variant": "random", "seed": 0},
        "inputs": {role: str(path) for role, path in given.items()},
        "compute": "cpu",
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    command = [sys.executable, "-m", "karma.jobs", tmp_path / "spec.json", tmp_path / "cut"]
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until((tmp_path / "cut.scratch" / "checkpoint.pt").exists, 120)
    job.kill()
    job.wait()
    assert not (tmp_path / "cut" / "curves.json").exists()
    shutil.rmtree(tmp_path / "cut")
    assert digests(policy(tmp_path / "cut", given, **settings)) == expected


@pytest.mark.slow
def test_what_is_wrong_in_a_process_is_told_as_in_one(tmp_path, sft):
    given = inputs(tmp_path, sft)
    with pytest.raises(UserError, match="none of 11 can be used"):
        policy(tmp_path / "a", given, max_prompt_tokens=3, processes=2)
    (given["reward"] / "reward.json").write_text(
        json.dumps({"kind": "length", "name": "x", "mean": 0.0, "deviation": 1e-400})
    )
    with pytest.raises(StageError, match=r"one of its processes ended with exit code 1"):
        policy(tmp_path / "b", given, processes=2)


def test_an_adapter_switched_off_is_the_starting_policy(tmp_path, sft):
    given = study(sft, length, **LORA, lr=0.01)
    trained(tmp_path, given)
    text = {"input_ids": torch.tensor([[1, 5, 6, 7]])}
    with torch.no_grad():
        off = given.reference(**text).logits
        on = given.model.policy(**text).logits
        start = models.load_policy(sft)(**text).logits
    assert torch.equal(off, start)
    assert not torch.allclose(on, start, atol=1e-3)
    learned = {name for name, _ in given.model.learned()}
    assert learned
    assert all("lora_" in name or name.startswith("head.") for name in learned)


def test_policies_are_kept_where_they_reach_a_kl_of_the_grid(tmp_path, sft):
    settings = {"episodes": 160, "lr": 0.02, "kl_coef": 0.0, "kl_target": None}
    out = policy(tmp_path / "out", inputs(tmp_path, sft), kl_grid=[0.5, 1, 999], **settings)
    document = json.loads((out / "kl.json").read_text())
    curves = json.loads((out / "curves.json").read_text())
    assert [point["point"] for point in document["points"]] == [0.5, 1]
    assert sorted(path.name for path in (out / "kl").iterdir()) == ["0.5", "1"]
    for point in document["points"]:
        reaching = next(row for row in curves if row["kl"] >= point["point"])
        assert point["step"] == reaching["step"]
        assert point["kl"] == reaching["kl"]
        AutoTokenizer.from_pretrained(out / point["folder"])
    assert sum(row["steps"] for row in document["curve"]) == len(curves)
    lows = [row["low"] for row in document["curve"]]
    assert lows == sorted(lows)
    for row in document["curve"][1:]:
        assert row["low"] <= row["kl"] < row["high"]


def test_a_kept_policy_is_the_one_that_was_measured(tmp_path, sft):
    given = study(sft, length, kl_grid=[1e-9], episodes=16, lr=0.01)
    trained(tmp_path, given)
    [kept] = (tmp_path / "kl").iterdir()
    # Step 1 measures the starting policy, whose KL is zero, so the point is reached in step 2.
    once = study(sft, length, episodes=16, lr=0.01)
    once.recipe = once.recipe.model_copy(update={"kl_stop": 1e-9})
    trained(tmp_path / "once", once)
    found = load_file(kept / "model.safetensors")
    for name, weight in once.model.policy.state_dict().items():
        if name in found:
            assert torch.equal(found[name], weight)


def test_a_run_ends_where_its_kl_passes_the_stop_and_stays_ended(tmp_path, sft):
    settings = {"episodes": 400, "lr": 0.02, "kl_coef": 0.0, "kl_target": None, "kl_stop": 1.0}
    progress = trained(tmp_path, study(sft, length, **settings))
    assert progress.stopped
    assert 1 < len(progress.curves) < 50
    assert all(row["kl"] <= 1.0 for row in progress.curves)
    assert trained(tmp_path, study(sft, length, **settings)) == progress


def test_a_step_ends_its_updates_where_the_policy_has_moved_too_far(tmp_path, sft):
    settings = {"epochs": 8, "lr": 0.02, "max_grad_norm": 100.0}
    free = trained(tmp_path / "free", study(sft, length, **settings))
    held = trained(tmp_path / "held", study(sft, length, kl_stop_update=1e-3, **settings))
    assert {row["updates"] for row in free.curves} == {16}
    assert all(1 <= row["updates"] < 16 for row in held.curves)
    assert all(row["kl/update"] <= 1e-3 for row in held.curves)


def test_a_price_on_length_shortens_replies(tmp_path, sft):
    settings = {"episodes": 1280, "batch": 64, "lr": 0.03, "missing_eos_penalty": 0.0}
    progress = trained(tmp_path, study(sft, constant(0.0), length_penalty=0.5, **settings))
    first, last = progress.curves[0], progress.curves[-1]
    assert last["length"] < first["length"] - 1
    assert first["reward/length"] == pytest.approx(-0.5 * first["length"])
    assert first["reward/shaped"] == pytest.approx(first["reward/score"] + first["reward/length"])


def test_the_terms_of_a_sum_are_logged_each(tmp_path, sft):
    given = study(sft, length)

    def total(turns: Any, replies: list[str], slots: Any) -> Said:
        return [-1.0] * len(replies), {"a": [1.0] * len(replies), "b": [-2.0] * len(replies)}

    given.reward = total
    progress = trained(tmp_path, given)
    assert {row["reward/term/a"] for row in progress.curves} == {1.0}
    assert {row["reward/term/b"] for row in progress.curves} == {-2.0}


def watched(count: int, **ends: tuple[float, float]) -> list[dict[str, Any]]:
    """Curves that go evenly from one number to another."""
    steady = {"reward/raw": (0.0, 0.0), "gold": (0.0, 0.0), "length": (10.0, 10.0)}
    steady |= {"kl": (0.0, 0.0), "no_eos": (0.0, 0.0), "surprise": (1.0, 1.0)}
    names = {name.replace("reward", "reward/raw"): pair for name, pair in ends.items()}
    return [
        {
            "step": step + 1,
            **{n: a + (b - a) * step / (count - 1) for n, (a, b) in {**steady, **names}.items()},
        }
        for step in range(count)
    ]


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ({}, []),
        ({"reward": (0, 2)}, []),
        ({"reward": (0, 2), "gold": (0, -1)}, [alarms.GOLD]),
        ({"gold": (0, -1)}, []),
        ({"length": (10, 40)}, [alarms.LONG]),
        ({"length": (10, 1)}, [alarms.SHORT]),
        ({"kl": (0, 9)}, []),
        ({"kl": (0, 30)}, [alarms.FAR, alarms.WILD]),
        ({"no_eos": (0, 1)}, [alarms.ENDLESS]),
        ({"surprise": (1, 1.4)}, []),
        ({"surprise": (1, 2.5)}, [alarms.STRANGE]),
    ],
)
def test_alarms_ring_for_what_they_are_named_after(ends, expected):
    curves = watched(40, **ends)
    assert alarms.ringing(curves, PolicyRecipe(kl_target=6.0)) == expected
    assert alarms.ringing(curves[:9], PolicyRecipe(kl_target=6.0)) == []


def test_an_alarm_is_told_once_with_the_steps_that_it_rang_in(capsys):
    curves, found = watched(40, length=(10, 40)), []
    for step in range(1, 41):
        alarms.watch(found, curves[:step], PolicyRecipe())
    [row] = found
    assert row["alarm"] == alarms.LONG
    assert 10 <= row["first"] < row["last"] == 40
    assert row["steps"] == 41 - row["first"]
    assert capsys.readouterr().out.count("ALARM") == 1


def short_of_memory(model: Any, limit: int) -> None:
    """Have ``model`` run out of memory, as a card does, in a pass of more than ``limit`` tokens."""

    def check(module: Any, given: Any, named: dict[str, Any]) -> None:
        if named["input_ids"].numel() > limit:
            raise torch.OutOfMemoryError(f"{named['input_ids'].numel()} tokens")

    model.register_forward_pre_hook(check, with_kwargs=True)


@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_where_memory_runs_out_passes_are_halved_and_the_curves_stay(tmp_path, sft, critic, capsys):
    expected = trained(tmp_path / "whole", study(sft, length, critic=critic))
    given = study(sft, length, critic=critic)
    short_of_memory(given.model.policy, 60)
    found = trained(tmp_path / "short", given)
    told = capsys.readouterr().err
    assert "out of memory; goes on with 2 replies per pass" in told
    assert re.search(r"goes on with \d+ tokens per pass, and the same sums", told)
    assert [s["reply"] for s in found.samples] == [s["reply"] for s in expected.samples]
    for one, two in zip(found.curves, expected.curves, strict=True):
        assert one == pytest.approx(two, rel=1e-3, abs=1e-4)


def test_a_reply_that_does_not_fit_alone_ends_the_run(tmp_path, sft):
    given = study(sft, length)
    short_of_memory(given.model.policy, 8)
    with pytest.raises(torch.OutOfMemoryError):
        trained(tmp_path, given)


@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_bfloat16_begins_at_the_starting_policy_and_keeps_weights_single(tmp_path, sft, critic):
    given = study(sft, length, critic=critic, precision="bfloat16")
    given.model.half_precision = True
    progress = trained(tmp_path, given)
    first = progress.curves[0]
    assert abs(first["kl"]) < 0.02
    assert first["kl/update"] < 1e-3
    assert {weight.dtype for weight in given.model.parameters()} == {torch.float32}
    exact = trained(tmp_path / "exact", study(sft, length, critic=critic))
    assert first["entropy"] == pytest.approx(exact.curves[0]["entropy"], rel=0.01)


class Casts(TorchDispatchMode):
    """Counts by place how often a tensor is cast to bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.places: Counter[int] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        named = kwargs or {}
        if func is torch.ops.aten._to_copy.default and named.get("dtype") is torch.bfloat16:
            self.places[args[0].data_ptr()] += 1
        return func(*args, **named)


def test_sampling_in_bfloat16_casts_each_frozen_weight_once(sft):
    given = study(sft, length, **LORA)
    given.model.half_precision = True
    frozen = [p for p in given.model.policy.parameters() if not p.requires_grad]
    with Casts() as casts:
        kept_samples(given, 0)
    found = [casts.places[weight.data_ptr()] for weight in frozen]
    assert max(found) == 1
    assert not any(weight.requires_grad for weight in frozen)


def test_attention_is_torchs_own_fused_one(sft):
    given = study(sft, length, critic="separate")
    assert given.model.policy.config._attn_implementation == "sdpa"
    assert given.model.trunk.config._attn_implementation == "sdpa"


@pytest.mark.gpu
@pytest.mark.parametrize("how", MANNERS, ids=manner)
def test_a_card_makes_what_a_cpu_makes(tmp_path, sft, how):
    given = inputs(tmp_path, sft)
    found = {}
    for name, compute, precision in (
        ("cpu", "cpu", "float32"),
        ("single", "cuda", "float32"),
        ("half", "cuda", "auto"),
    ):
        section = PolicyRecipe.model_validate({**PPO, **how, "precision": precision})
        config = {"policy": section.model_dump(mode="json"), "exposure": "reddit", "seed": 0}
        out, scratch = tmp_path / name, tmp_path / f"{name}.scratch"
        out.mkdir()
        scratch.mkdir()
        run(Job(config, given, out, scratch, compute=compute))
        found[name] = json.loads((out / "curves.json").read_text())
    assert found["single"][0] == pytest.approx(found["cpu"][0], rel=1e-3, abs=1e-3)
    assert found["half"][0]["entropy"] == pytest.approx(found["cpu"][0]["entropy"], rel=0.01)
    assert abs(found["half"][0]["kl"]) < 0.05
