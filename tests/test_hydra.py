"""The hydra critic: it learns what the shared one with frozen lower layers learns, in less work."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from karma.errors import InputError
from karma.policy import hydra, ppo
from karma.policy.models import ActorCritic
from karma.policy.recipe import PolicyRecipe
from karma.policy.rollout import Rollout, evaluate, join, roll_out
from karma.policy.sample import Sampling, uniform
from tests.test_policy import (
    LORA,
    PPO,
    config,
    digests,
    inputs,
    killed,
    length,
    nth,
    policy,
    sft,
    study,
    trained,
)
from tests.test_ppo import EOS, PAD, PROMPTS, VOCABULARY, gradients, recipe, tokens

__all__ = ["sft"]  # a fixture

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
KNOWN: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "bos_token_id": 1,
    "eos_token_id": EOS,
    "initializer_range": 0.4,
}


def shaped(shape: str) -> Any:
    """A random model of three layers; the name says whether its embeddings are its last map."""
    torch.manual_seed(0)
    kind, _, tied = shape.partition("-")
    known = {**KNOWN, "tie_word_embeddings": tied == "tied"}
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**SIZES, **known))
    if kind == "qwen":
        # Layers of two kinds of attention: each must get its own mask.
        windows = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2}
        return Qwen2ForCausalLM(Qwen2Config(**SIZES, **known, **windows))
    return GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=3, n_head=2, n_positions=64, **known))


SHAPES = ["llama", "llama-tied", "qwen", "qwen-tied", "gpt2", "gpt2-tied"]


def networks(shape: str, unfrozen: int) -> tuple[ActorCritic, Any]:
    made = shaped(shape)
    lower = hydra.freeze(made, unfrozen)
    model = ActorCritic(made, None, torch.Generator().manual_seed(3), lower=lower)
    return model, hydra.reference(made.eval(), lower)


def rolled(model: ActorCritic, reference: Any, budget: int = 40) -> Rollout:
    draws = uniform(len(PROMPTS), 12, torch.Generator().manual_seed(4))
    return roll_out(model, reference, PROMPTS, Sampling(EOS, PAD, 1.0, 12), tokens(budget), draws)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("unfrozen", [1, 2])
def test_loss_and_gradient_are_those_of_a_shared_critic_with_frozen_layers(shape, unfrozen):
    settings = recipe(entropy_coef=0.01)
    model, reference = networks(shape, unfrozen)
    whole = ActorCritic(shaped(shape), None, torch.Generator().manual_seed(3))
    hydra.freeze(whole.policy, unfrozen)
    rollout = rolled(model, reference)
    plain = rolled(whole, shaped(shape).eval())
    assert rollout.replies == plain.replies
    assert [len(s) for s in rollout.states] == [n - 1 for n in rollout.lengths]
    for name in ("logprobs", "reference", "values"):
        assert torch.allclose(getattr(rollout, name), getattr(plain, name), atol=1e-5), name
    goal = ppo.targets(rollout, torch.tensor([1.0, -1.0, 0.5, 2.0, 0.0]), 0.1, settings)
    for one in (model, whole):
        torch.manual_seed(5)
        with torch.no_grad():
            for _, parameter in one.learned():
                parameter.add_(0.02 * torch.randn_like(parameter))
    count = int(rollout.mask.sum())
    rows = [4, 0, 1, 2, 3]
    found = ppo.accumulate(model, rollout, goal, rows, count, settings, 40)
    expected = ppo.accumulate(whole, plain, goal, rows, count, settings, 40)
    assert found == pytest.approx(expected, abs=1e-5)
    ours, theirs = gradients(model), gradients(whole)
    assert ours.keys() == theirs.keys() == {name for name, _ in model.learned()}
    for name, gradient in ours.items():
        assert torch.allclose(gradient, theirs[name], atol=1e-5), name


@pytest.mark.parametrize("shape", SHAPES)
def test_learned_are_the_upper_layers_what_follows_them_and_the_head(shape):
    model, reference = networks(shape, 1)
    names = {name for name, _ in model.learned()}
    assert all(".2." in name for name in names if ".layers." in name or ".h." in name)
    assert any("lm_head" in name for name in names) == (not shape.endswith("tied"))
    assert not any("embed" in name or "wte" in name or "wpe" in name for name in names)
    assert {"head.weight", "head.bias"} <= names
    # The reference shares what is frozen, and has its own of the rest.
    theirs = dict(reference.named_parameters())
    for name, parameter in model.policy.named_parameters():
        assert (theirs[name] is parameter) == (not parameter.requires_grad), name
        assert torch.equal(theirs[name], parameter)
    assert not any(p.requires_grad for p in reference.parameters())


def test_learning_passes_through_the_upper_layers_alone():
    model, reference = networks("llama", 1)
    seen: list[int] = []
    for number, layer in enumerate(model.policy.model.layers):
        layer.mlp.register_forward_hook(lambda *_, number=number: seen.append(number))
    rollout = rolled(model, reference, budget=10_000)
    seen.clear()
    evaluate(model, rollout, range(5), 1.0)
    assert seen == [2]
    assert torch.equal(join([rollout], "cpu").states[3], rollout.states[3])
    seen.clear()
    model.policy(torch.tensor([[1, 5, 6]]))
    assert seen == [0, 1, 2]


def test_in_bfloat16_nothing_has_moved_before_the_first_update():
    made = shaped("llama")
    lower = hydra.freeze(made, 1)
    model = ActorCritic(made, None, torch.Generator().manual_seed(3), half=True, lower=lower)
    rollout = rolled(model, hydra.reference(made, lower), budget=10_000)
    now = evaluate(model, rollout, range(5), 1.0)
    assert torch.allclose(now.logprobs, rollout.logprobs[rollout.mask], atol=1e-5)


def test_layers_step_aside_only_within():
    model, reference = networks("llama", 1)
    rollout = rolled(model, reference)
    with pytest.raises(RuntimeError):
        model(torch.ones(1, 3, dtype=torch.long), torch.ones(1, 3).bool(), torch.ones(2, 2))
    again = rolled(model, reference)
    assert torch.equal(again.logprobs, rollout.logprobs)


@pytest.fixture(scope="module")
def deep(sft, tmp_path_factory) -> Path:
    """A starting policy of two layers, with weights large enough to favour a token."""
    folder = tmp_path_factory.mktemp("deep")
    tokenizer = AutoTokenizer.from_pretrained(sft)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    settings = config(len(tokenizer), initializer_range=0.6)
    settings.num_hidden_layers = 2
    LlamaForCausalLM(settings).save_pretrained(folder)
    return folder


HYDRA = {"critic": "hydra", "unfrozen_layers": 1}


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(tmp_path, deep):
    settings = {"kl_horizon": 20, "kl_target": 0.01, **HYDRA}
    whole = study(deep, length, **settings)
    expected = trained(tmp_path / "whole", whole)
    for call in (4, 3):
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "cut", study(deep, nth(length, {call: killed}), **settings))
    resumed = study(deep, length, **settings)
    assert trained(tmp_path / "cut", resumed) == expected
    for name, parameter in whole.model.state_dict().items():
        assert torch.equal(parameter, resumed.model.state_dict()[name]), name


def test_a_reward_for_one_token_is_learned_to_its_maximum_in_seconds(tmp_path, deep):
    def cats(turns: Any, replies: list[str], slots: Any) -> list[float]:
        return [1.0 if "c" in reply else 0.0 for reply in replies]

    settings = {"episodes": 3840, "batch": 64, "lr": 0.03, "kl_coef": 0.0, "kl_target": None}
    progress = trained(
        tmp_path, study(deep, cats, max_new_tokens=3, missing_eos_penalty=0.0, **settings, **HYDRA)
    )
    assert progress.curves[0]["reward/raw"] < 0.2
    assert sum(row["reward/raw"] for row in progress.curves[-5:]) / 5 > 0.95


def test_the_stage_leaves_a_plain_model_whose_lower_layers_are_the_starting_policys(tmp_path, deep):
    given = inputs(tmp_path, deep)
    out = policy(tmp_path / "out", given, **HYDRA, lr=0.01, kl_grid=[0.001])
    assert digests(policy(tmp_path / "again", given, **HYDRA, lr=0.01, kl_grid=[0.001])) == digests(
        out
    )
    weights, before = (load_file(folder / "model.safetensors") for folder in (out, deep))
    assert weights.keys() == before.keys()
    moved = {name for name in weights if not torch.equal(weights[name], before[name])}
    assert moved == {n for n in weights if "layers.1." in n or n.startswith("model.norm")}
    assert json.loads((out / "kl.json").read_text())["points"]


@pytest.mark.slow
def test_two_processes_make_what_one_makes(tmp_path, deep):
    given = inputs(tmp_path, deep)
    rows = [
        json.loads(
            (policy(tmp_path / str(n), given, processes=n, **HYDRA) / "curves.json").read_text()
        )
        for n in (1, 2)
    ]
    for one, two in zip(*rows, strict=True):
        assert two == pytest.approx(one, rel=1e-3, abs=1e-4)


def test_what_does_not_fit_is_told(tmp_path, sft, deep):
    with pytest.raises(InputError, match=r"unfrozen_layers: it is 2, and the model has 2 layers"):
        policy(tmp_path / "out", inputs(tmp_path, deep), critic="hydra")
    for changes in ({"critic": "hydra", **LORA}, {"unfrozen_layers": 3}):
        with pytest.raises(ValueError, match="critic"):
            PolicyRecipe.model_validate({**PPO, **changes})
