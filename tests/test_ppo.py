"""PPO's numerics, each against a reference that is written here."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import log_softmax
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from karma.memory import Budget
from karma.policy import monitor, ppo
from karma.policy.faults import NotFiniteError
from karma.policy.models import ActorCritic, value_head
from karma.policy.recipe import PolicyRecipe
from karma.policy.rollout import Rollout, evaluate, micro_batches, roll_out
from karma.policy.sample import Sampling, sample, uniform

VOCABULARY, PAD, EOS = 30, 0, 2
PROMPTS = [[1, 5, 6, 7, 8, 9, 10], [1, 11], [1, 12, 13, 14], [1, 15, 16], [1, 17, 4, 4, 4]]
SHAPES = ["llama", "gpt2"]
CRITICS = ["shared", "separate"]


def tiny(shape: str, seed: int = 0) -> Any:
    """A random model whose probabilities are far from even."""
    torch.manual_seed(seed)
    if shape == "llama":
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            bos_token_id=1,
            eos_token_id=EOS,
            initializer_range=0.4,
            attention_dropout=0.5,
        )
        return LlamaForCausalLM(config)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=64,
        bos_token_id=1,
        eos_token_id=EOS,
        initializer_range=0.4,
    )
    return GPT2LMHeadModel(config)


def networks(shape: str = "llama", critic: str = "shared") -> tuple[ActorCritic, Any]:
    trunk = tiny(shape, seed=1).base_model if critic == "separate" else None
    model = ActorCritic(tiny(shape), trunk, torch.Generator().manual_seed(3))
    return model, tiny(shape).eval().requires_grad_(False)


def rolled(
    model: ActorCritic, reference: Any, temperature: float = 1.0, seed: int = 4, budget: int = 40
) -> Rollout:
    sampling = Sampling(EOS, PAD, temperature, 12)
    draws = uniform(len(PROMPTS), 12, torch.Generator().manual_seed(seed))
    return roll_out(model, reference, PROMPTS, sampling, tokens(budget), draws)


def tokens(budget: int = 40) -> Budget:
    return Budget("tokens", budget)


def recipe(**changes: Any) -> PolicyRecipe:
    return PolicyRecipe.model_validate({"batch": 5, "episodes": 50, **changes})


def alone(model: Any, prompt: list[int], reply: list[int], temperature: float) -> torch.Tensor:
    """The reply's log-probabilities by a full forward pass of one text without padding."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + reply])).logits[0] / temperature
    every = log_softmax(logits, dim=-1)
    return torch.stack([every[len(prompt) + t - 1, token] for t, token in enumerate(reply)])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_samplers_log_probabilities_are_those_of_teacher_forcing(shape, temperature):
    model, _ = networks(shape)
    other = tiny(shape, seed=9).eval()
    rollout = rolled(model, other, temperature)
    assert len({len(reply) for reply in rollout.replies}) > 1
    assert any(rollout.ended)
    for row, (prompt, reply) in enumerate(zip(PROMPTS, rollout.replies, strict=True)):
        expected = alone(model.policy, prompt, reply, temperature)
        assert torch.allclose(rollout.logprobs[row, : len(reply)], expected, atol=1e-5)
        expected = alone(other, prompt, reply, temperature)
        assert torch.allclose(rollout.reference[row, : len(reply)], expected, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("critic", CRITICS)
def test_values_are_read_where_the_token_is_predicted(shape, critic):
    model, reference = networks(shape, critic)
    rollout = rolled(model, reference)
    trunk = model.policy.base_model if critic == "shared" else model.trunk
    for row, (prompt, reply) in enumerate(zip(PROMPTS, rollout.replies, strict=True)):
        with torch.no_grad():
            states = trunk(input_ids=torch.tensor([prompt + reply])).last_hidden_state[0]
            expected = model.head(states[len(prompt) - 1 : -1]).squeeze(-1)
        assert torch.allclose(rollout.values[row, : len(reply)], expected, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_before_the_first_update_ratios_are_one_and_the_kl_is_zero(shape, critic, temperature):
    model, reference = networks(shape, critic)
    rollout = rolled(model, reference, temperature)
    rows = [3, 1, 4, 0, 2]
    now = evaluate(model, rollout, rows, temperature)
    inside = rollout.mask[rows]
    assert torch.allclose(now.logprobs, rollout.logprobs[rows][inside], atol=1e-5)
    assert torch.allclose(now.values, rollout.values[rows][inside], atol=1e-5)
    assert torch.allclose(now.entropy(), rollout.entropy[rows][inside], atol=1e-5)
    assert ppo.kl_k1(rollout.logprobs, rollout.reference).abs().max() < 1e-5
    assert ppo.kl_k3(rollout.logprobs, rollout.reference).abs().max() < 1e-8


@pytest.mark.parametrize("shape", SHAPES)
def test_left_padding_does_not_shift_positions(shape):
    model, _ = networks(shape)
    greedy = Sampling(EOS, PAD, 1e-4, 8)
    draws = uniform(len(PROMPTS), 8, torch.Generator().manual_seed(0))
    together = sample(model, PROMPTS, greedy, draws).replies
    apart = [sample(model, [prompt], greedy, draws[:1]).replies[0] for prompt in PROMPTS]
    assert together == apart


def test_a_reply_does_not_depend_on_what_is_sampled_beside_it():
    model, _ = networks()
    draws = uniform(len(PROMPTS), 12, torch.Generator().manual_seed(0))
    sampling = Sampling(EOS, PAD, 1.0, 12)
    together = sample(model, PROMPTS, sampling, draws).replies
    rows = enumerate(PROMPTS)
    apart = [sample(model, [p], sampling, draws[row : row + 1]).replies[0] for row, p in rows]
    assert together == apart


def test_the_mask_holds_the_end_of_text_and_nothing_after_it():
    model, reference = networks()
    rollout = rolled(model, reference)
    for row, reply in enumerate(rollout.replies):
        assert rollout.mask[row].tolist() == [t < len(reply) for t in range(rollout.mask.shape[1])]
        assert EOS not in reply[:-1]
        assert rollout.ended[row] == (reply[-1] == EOS)
        assert rollout.ended[row] or len(reply) == 12
        for tensor in (rollout.logprobs, rollout.reference, rollout.values, rollout.entropy):
            assert not tensor[row, len(reply) :].any()


def test_a_sampled_pad_token_is_a_token_like_any_other():
    model, reference = networks()
    with torch.no_grad():
        model.policy.lm_head.weight[PAD] = 10 * model.policy.lm_head.weight[PAD]
    rollout = rolled(model, reference)
    assert any(PAD in reply[:-1] for reply in rollout.replies)
    assert rollout.mask.sum().item() == sum(len(reply) for reply in rollout.replies)


def test_sampling_follows_the_models_probabilities():
    model, _ = networks()
    sampling = Sampling(EOS, PAD, 0.8, 1)
    draws = uniform(8_000, 1, torch.Generator().manual_seed(0))
    drawn = sample(model, [PROMPTS[0]] * 8_000, sampling, draws)
    seen = torch.bincount(torch.tensor([r[0] for r in drawn.replies]), minlength=VOCABULARY)
    with torch.no_grad():
        chances = (model.policy(torch.tensor([PROMPTS[0]])).logits[0, -1] / 0.8).softmax(-1)
    spread = (chances * (1 - chances) / 8_000).sqrt()
    assert ((seen / 8_000 - chances).abs() < 4.5 * spread + 1e-4).all()


def test_a_policy_without_probabilities_is_told_apart():
    model, _ = networks()
    with torch.no_grad():
        model.policy.lm_head.weight.fill_(float("nan"))
    with pytest.raises(NotFiniteError, match="log-probability"):
        sample(model, PROMPTS, Sampling(EOS, PAD, 1.0, 4), torch.rand(len(PROMPTS), 4))


def test_both_estimators_average_to_the_exact_kl():
    torch.manual_seed(0)
    p, q = torch.randn(6).double().log_softmax(0), torch.randn(6).double().log_softmax(0)
    exact = sum(math.exp(a) * (a - b) for a, b in zip(p.tolist(), q.tolist(), strict=True))
    assert math.isclose((p.exp() * ppo.kl_k1(p, q)).sum().item(), exact, rel_tol=1e-12)
    assert math.isclose((p.exp() * ppo.kl_k3(p, q)).sum().item(), exact, rel_tol=1e-12)
    assert (ppo.kl_k3(p, q) >= 0).all()


def ragged(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rewards, values and mask of five replies of different lengths; rubbish outside."""
    torch.manual_seed(seed)
    mask = torch.arange(7) < torch.tensor([7, 1, 4, 2, 6])[:, None]
    return torch.randn(5, 7) * mask, torch.randn(5, 7), mask


def test_the_score_stands_on_the_last_real_token_and_rewards_add_up():
    _, kl, mask = ragged()
    scores = torch.tensor([1.0, -2.0, 3.0, 0.5, 0.0])
    rewards = ppo.token_rewards(scores, kl, mask, 0.3)
    for row, count in enumerate(mask.sum(1).tolist()):
        parts = [-0.3 * k for k in kl[row, :count].tolist()]
        parts[-1] += scores[row].item()
        assert torch.allclose(rewards[row, :count], torch.tensor(parts))
        assert not rewards[row, count:].any()
    assert torch.allclose(rewards.sum(1) + 0.3 * (kl * mask).sum(1), scores, atol=1e-6)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.97, 0.0)])
def test_gae_is_the_sum_of_discounted_errors(gamma, lam):
    rewards, values, mask = ragged()
    found = ppo.gae(rewards, values, mask, gamma, lam)
    for row, count in enumerate(mask.sum(1).tolist()):
        v = [*values[row, :count].tolist(), 0.0]
        r = rewards[row].tolist()
        for t in range(count):
            expected = sum(
                (gamma * lam) ** (k - t) * (r[k] + gamma * v[k + 1] - v[k]) for k in range(t, count)
            )
            assert math.isclose(found[row, t].item(), expected, abs_tol=1e-5)
        assert not found[row, count:].any()


def test_padding_changes_no_advantage():
    rewards, values, mask = ragged()
    found = ppo.gae(rewards, values, mask, 1.0, 0.95)
    wide = [torch.cat([x, torch.full((5, 3), 9.0)], 1) for x in (rewards, values)]
    wider = ppo.gae(*wide, torch.cat([mask, torch.zeros(5, 3, dtype=torch.bool)], 1), 1.0, 0.95)
    assert torch.equal(wider[:, :7], found)
    assert not wider[:, 7:].any()


def test_whitening_looks_at_real_tokens_only():
    _, values, mask = ragged()
    inside = values[mask]
    white = ppo.whiten(values, mask)
    assert torch.allclose(white[mask], (inside - inside.mean()) / inside.std(correction=0))
    assert not white[~mask].any()
    assert torch.equal(ppo.whiten(torch.where(mask, values, 1e6), mask)[mask], white[mask])
    scaled = ppo.whiten(values, mask, shift_mean=False)
    assert torch.allclose(scaled[mask].mean(), inside.mean(), atol=1e-6)
    assert math.isclose(scaled[mask].std(correction=0).item(), 1.0, rel_tol=1e-5)


def test_the_policy_loss_stops_pushing_beyond_the_clip():
    old = torch.zeros(4)
    now = torch.tensor([1.3, 1.3, 0.6, 0.6]).log().requires_grad_()
    losses = ppo.policy_loss(now, old, torch.tensor([1.0, -1.0, 1.0, -1.0]), 0.2)
    assert torch.allclose(losses, torch.tensor([-1.2, 1.3, -0.6, 0.8]))
    losses.sum().backward()
    assert (now.grad != 0).tolist() == [False, True, True, False]


def test_the_value_loss_stops_pushing_beyond_the_clip():
    now = torch.tensor([0.1, 0.5, 0.5, -0.5]).requires_grad_()
    losses = ppo.value_loss(now, torch.zeros(4), torch.tensor([1.0, 1.0, 0.0, 1.0]), 0.2)
    assert torch.allclose(losses, 0.5 * torch.tensor([0.9, 0.8, 0.5, 1.5]) ** 2)
    losses.sum().backward()
    assert (now.grad != 0).tolist() == [True, False, True, True]


def test_the_coefficient_rises_above_the_target_and_falls_below():
    assert math.isclose(ppo.next_coefficient(0.1, 6.6, 6.0, 1000, 50), 0.1 * (1 + 0.1 * 0.05))
    assert math.isclose(ppo.next_coefficient(0.1, 600, 6.0, 1000, 50), 0.1 * (1 + 0.2 * 0.05))
    assert math.isclose(ppo.next_coefficient(0.1, 0.0, 6.0, 1000, 50), 0.1 * (1 - 0.2 * 0.05))
    assert ppo.next_coefficient(0.1, 6.0, 6.0, 1000, 50) == 0.1


def test_the_value_head_starts_small_by_its_width():
    trunk = tiny("llama").base_model
    trunk.config.hidden_size = 4095
    head = value_head(trunk, torch.Generator().manual_seed(0))
    assert math.isclose(head.weight.std().item(), 1 / 64, rel_tol=0.05)
    assert not head.bias.any()


@pytest.mark.parametrize("critic", CRITICS)
def test_dropout_is_off(critic):
    model, _ = networks("gpt2", critic)
    assert not any(module.training for module in model.modules())


def ready(
    critic: str, shape: str = "llama", **changes: Any
) -> tuple[ActorCritic, Any, Rollout, Any, PolicyRecipe]:
    """Networks that have moved since they sampled, and what they are to learn."""
    settings = recipe(**{"entropy_coef": 0.01, "max_grad_norm": 1e9, **changes})
    model, reference = networks(shape, critic)
    rollout = rolled(model, reference)
    goal = ppo.targets(rollout, torch.tensor([1.0, -1.0, 0.5, 2.0, 0.0]), 0.1, settings)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model, reference, rollout, goal, settings


def gradients(model: ActorCritic) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("critic", CRITICS)
def test_the_gradient_does_not_depend_on_the_micro_batches(critic):
    model, _, rollout, goal, settings = ready(critic)
    rows = [4, 0, 1, 2, 3]
    count = int(rollout.mask.sum())
    found, pieces = {}, {}
    for budget in (1, 35, 10_000):
        model.zero_grad()
        ppo.accumulate(model, rollout, goal, rows, count, settings, budget)
        found[budget] = gradients(model)
        pieces[budget] = len(list(micro_batches(rollout.lengths, rows, budget)))
    assert pieces[1] == 5 > pieces[35] > pieces[10_000] == 1
    for budget in (1, 35):
        assert found[budget].keys() == found[10_000].keys() == dict(model.named_parameters()).keys()
        for name, gradient in found[budget].items():
            assert torch.allclose(gradient, found[10_000][name], atol=1e-6), name


@pytest.mark.parametrize("critic", CRITICS)
def test_the_gradient_is_that_of_the_mean_over_all_tokens(critic):
    """The loss once more, in plain words, over unpadded texts; its gradient by finite differences
    in the value head's bias and in one direction of all weights."""
    # GPT-2's shape, because Llama's norm is computed in single precision whatever the weights.
    model, _, rollout, goal, settings = ready(critic, "gpt2")
    model = model.double()
    rows = [0, 2, 4]

    def loss() -> float:
        total, count = 0.0, 0
        for row in rows:
            prompt, reply = PROMPTS[row], rollout.replies[row]
            text = torch.tensor([prompt + reply])
            trunk = model.policy.base_model if critic == "shared" else model.trunk
            with torch.no_grad():
                every = model.policy(text).logits[0].log_softmax(-1)
                values = model.head(trunk(text).last_hidden_state[0]).squeeze(-1)
            for t, token in enumerate(reply):
                now, value = every[len(prompt) + t - 1], values[len(prompt) + t - 1].item()
                ratio = math.exp(now[token].item() - rollout.logprobs[row, t].item())
                a, target = goal.advantages[row, t].item(), goal.returns[row, t].item()
                old = rollout.values[row, t].item()
                held = old + min(max(value - old, -0.2), 0.2)
                total += max(-a * ratio, -a * min(max(ratio, 0.8), 1.2))
                total += 0.1 * 0.5 * max((value - target) ** 2, (held - target) ** 2)
                total -= 0.01 * -(now.exp() * now).sum().item()
                count += 1
        return total / count

    model.zero_grad()
    double = Rollout(
        rollout.prompts,
        rollout.replies,
        rollout.ended,
        *(x.double() for x in (rollout.logprobs, rollout.reference, rollout.values)),
        rollout.entropy.double(),
        rollout.mask,
    )
    wanted = ppo.Targets(goal.advantages.double(), goal.returns.double())
    count = int(double.mask[rows].sum())
    ppo.accumulate(model, double, wanted, rows, count, settings, 10_000)
    torch.manual_seed(6)
    directions = [torch.randn_like(p) for p in model.parameters()]
    slope = sum(
        (p.grad * d).sum().item() for p, d in zip(model.parameters(), directions, strict=True)
    )

    def moved(by: float) -> float:
        with torch.no_grad():
            for p, d in zip(model.parameters(), directions, strict=True):
                p.add_(d, alpha=by)
        return loss()

    step = 1e-6
    up = moved(step)
    down = moved(-2 * step)
    assert math.isclose((up - down) / (2 * step), slope, rel_tol=1e-3)


@pytest.mark.parametrize("critic", CRITICS)
def test_an_update_takes_epochs_times_minibatches_steps_and_leaves_the_reference_alone(critic):
    model, reference, rollout, goal, settings = ready(critic, epochs=3, minibatches=2)
    before = {name: p.clone() for name, p in reference.named_parameters()}
    started = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-5)
    draw = torch.Generator().manual_seed(0)
    numbers = ppo.update(model, optimizer, rollout, goal, settings, draw, tokens())
    assert {int(s["step"]) for s in optimizer.state.values()} == {6}
    assert all(not torch.equal(p, started[name]) for name, p in model.named_parameters())
    assert all(torch.equal(p, before[name]) for name, p in reference.named_parameters())
    assert not any(p.requires_grad for p in reference.parameters())
    assert set(numbers) == {
        "policy_loss",
        "value_loss",
        "clip_fraction",
        "kl/update",
        "grad_norm",
        "updates",
    }
    assert all(math.isfinite(value) for value in numbers.values())


def test_gradients_are_clipped_to_their_norm():
    model, _, rollout, goal, settings = ready("shared", max_grad_norm=0.01, minibatches=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    numbers = ppo.update(model, optimizer, rollout, goal, settings, torch.Generator(), tokens())
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert numbers["grad_norm"] > 0.01
    assert math.isclose((after - before).norm().item(), 0.01, rel_tol=1e-2)


@pytest.mark.parametrize("what", ["advantages", "returns"])
def test_a_loss_that_is_no_number_moves_no_weight(what):
    model, _, rollout, goal, settings = ready("shared")
    {"advantages": goal.advantages, "returns": goal.returns}[what].fill_(float("nan"))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with pytest.raises(NotFiniteError, match="loss is nan"):
        ppo.update(model, optimizer, rollout, goal, settings, torch.Generator(), tokens())
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_a_gradient_that_is_infinite_moves_no_weight():
    model, _, rollout, goal, settings = ready("shared")
    model.head.weight.register_hook(lambda gradient: gradient * math.inf)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with pytest.raises(NotFiniteError, match=r"the gradient is (inf|nan)"):
        ppo.update(model, optimizer, rollout, goal, settings, torch.Generator(), tokens())
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_micro_batches_keep_to_their_budget_and_lose_no_row():
    sizes = [9, 3, 30, 4, 4, 12]
    pieces = list(micro_batches(sizes, [5, 4, 3, 2, 1, 0], 12))
    assert sorted(row for piece in pieces for row in piece) == [0, 1, 2, 3, 4, 5]
    for piece in pieces:
        assert len(piece) == 1 or len(piece) * max(sizes[row] for row in piece) <= 12
    assert pieces == [[1, 3, 4], [0], [5], [2]]


def test_rank_correlation_shares_ranks_among_equals():
    assert monitor.rank_correlation([1, 2, 3], [10, 20, 99]) == pytest.approx(1.0)
    assert monitor.rank_correlation([1, 2, 3], [5, 4, 3]) == pytest.approx(-1.0)
    assert monitor.rank_correlation([1, 2, 3], [7, 7, 7]) == 0.0
    # Ranks (1, 2.5, 2.5, 4) and (2, 1, 3, 4): 3 over the root of 4.5 × 5.
    assert monitor.rank_correlation([1, 2, 2, 3], [2, 1, 3, 4]) == pytest.approx(
        3 / math.sqrt(4.5 * 5)
    )


def test_distinct_pairs_are_counted_over_all_replies():
    assert monitor.distinct([[1, 2, 1, 2], [1, 2, 3]], 2) == pytest.approx(3 / 5)
    assert monitor.distinct([[1, 2, 1, 2], [1, 2, 3]], 1) == pytest.approx(3 / 7)
    assert monitor.distinct([[1], []], 2) == 0.0


def test_explained_variance_is_one_for_perfect_values():
    returns = torch.tensor([1.0, 2.0, 4.0])
    assert monitor.explained_variance(returns + 3, returns) == pytest.approx(1.0)
    assert monitor.explained_variance(torch.zeros(3), returns) == pytest.approx(0.0)
    assert monitor.explained_variance(returns, torch.ones(3)) == 0.0


GOLDEN = Path(__file__).parent / "golden" / "ppo_step.json"


def whole_step(critic: str) -> dict[str, Any]:
    """Everything that one step makes from fixed seeds: replies, targets, losses, moved weights."""
    settings = recipe(epochs=2, entropy_coef=0.01, whiten_rewards=True)
    model, _ = networks("llama", critic)
    rollout = rolled(model, tiny("llama", seed=9).eval())
    goal = ppo.targets(rollout, torch.tensor([1.0, -1.0, 0.5, 2.0, 0.0]), 0.1, settings)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-5)
    draw = torch.Generator().manual_seed(0)
    numbers = ppo.update(model, optimizer, rollout, goal, settings, draw, tokens())
    weights = {name: p.double() for name, p in model.named_parameters()}
    return {
        "replies": rollout.replies,
        "logprobs": rollout.logprobs[rollout.mask].tolist(),
        "reference": rollout.reference[rollout.mask].tolist(),
        "values": rollout.values[rollout.mask].tolist(),
        "advantages": goal.advantages[rollout.mask].tolist(),
        "returns": goal.returns[rollout.mask].tolist(),
        "numbers": dict(sorted(numbers.items())),
        "weights": {name: [w.sum().item(), w.norm().item()] for name, w in sorted(weights.items())},
    }


@pytest.mark.parametrize("critic", CRITICS)
def test_one_whole_step_is_the_one_that_was_committed(critic):
    """The file was written by ``json.dumps({c: whole_step(c) for c in CRITICS})``."""
    found, golden = whole_step(critic), json.loads(GOLDEN.read_text())[critic]
    assert found.keys() == golden.keys()
    assert found["replies"] == golden["replies"]
    for name in ("logprobs", "reference", "values", "advantages", "returns"):
        assert found[name] == pytest.approx(golden[name], abs=1e-4)
    assert found["numbers"] == pytest.approx(golden["numbers"], rel=1e-4, abs=1e-4)
    for name, sums in golden["weights"].items():
        assert found["weights"][name] == pytest.approx(sums, rel=1e-4, abs=1e-4), name
