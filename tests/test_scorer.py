"""Log-likelihoods and samples: the shared prefix changes nothing but the speed."""

import random

import pytest
import torch

from karma.errors import CheckError, InputError
from karma.evals.generate import Prompt, generate
from karma.evals.model import wrap
from karma.evals.scorer import Request, encode, score
from karma.evals.settings import EvalsSettings
from tests.tiny_lm import tiny


def quiet(done, total, unit):
    """Nobody watches."""


def requests(count=12):
    """Prefixes and choices of many lengths, some choices of one token, one prefix empty."""
    rng = random.Random(0)
    words = [
        "the",
        "cat",
        "said",
        "that",
        "it",
        "was",
        "neither",
        "a",
        "joke",
        "nor",
        "an",
        "answer",
        "but",
        "butter",
    ]
    made = [Request("", ("The cat sat.", "The dog sat on the mat."))]
    for _ in range(count):
        prefix = " ".join(rng.choices(words, k=rng.randint(1, 40)))
        choices = tuple(
            " " + " ".join(rng.choices(words, k=rng.randint(1, 9)))
            for _ in range(rng.randint(2, 6))
        )
        made.append(Request(prefix, (*choices, " a")))
    return made


def plain(model, request):
    """Each continuation in a forward pass of its own, nothing shared and nothing padded."""
    encoded = encode(model, [request])[0]
    found = []
    for tail in encoded.continuations:
        ids = torch.tensor([encoded.prefix + tail])
        with torch.no_grad():
            logs = model.model(ids).logits[0].double().log_softmax(-1)
        start = len(encoded.prefix) - 1
        found.append(sum(logs[start + i, token].item() for i, token in enumerate(tail)))
    return found


@pytest.mark.parametrize("batch_tokens", [1, 300, 100_000])
def test_log_likelihoods_equal_a_plain_forward_pass_in_any_batch(batch_tokens):
    model = tiny()
    asked = requests()
    for request, answer in zip(asked, score(model, asked, batch_tokens, quiet), strict=True):
        assert answer.loglikelihoods == pytest.approx(plain(model, request), abs=1e-4)
        assert not answer.cut


def test_answers_come_in_the_order_of_the_requests_and_tell_the_choices_tokens():
    model = tiny()
    asked = requests()
    forward = score(model, asked, 500, quiet)
    backward = score(model, asked[::-1], 500, quiet)[::-1]
    for first, second in zip(forward, backward, strict=True):
        assert first.loglikelihoods == pytest.approx(second.loglikelihoods, abs=1e-4)
    encoded = encode(model, asked)
    assert [a.tokens for a in forward] == [tuple(map(len, e.continuations)) for e in encoded]


def test_spaces_that_end_a_prefix_belong_to_the_continuation():
    model = tiny()
    with_space = encode(model, [Request("the cat ", ("sat", "said"))])[0]
    without = encode(model, [Request("the cat", (" sat", " said"))])[0]
    assert (with_space.prefix, with_space.continuations) == (without.prefix, without.continuations)


def test_a_special_token_that_a_text_spells_out_is_plain_text():
    model = tiny()
    encoded = encode(model, [Request("he said <eos> twice", (" and <bos> once",))])[0]
    assert encoded.prefix.count(1) == 1
    assert not {0, 2} & set(encoded.prefix)
    assert not {0, 1, 2} & set(encoded.continuations[0])


def test_a_prefix_that_is_too_long_loses_its_beginning_and_says_so():
    model = tiny(positions=32)
    long = " ".join(["cat"] * 60)
    answer, other = score(
        model, [Request(long, (" a b c", " a")), Request("cat", (" a",))], 99, quiet
    )
    assert answer.cut
    assert not other.cut
    encoded = encode(model, [Request(long, (" a b c", " a"))])[0]
    assert len(encoded.prefix) + max(map(len, encoded.continuations)) - 1 == 32


def test_a_choice_longer_than_the_model_and_an_empty_one_are_errors():
    model = tiny(positions=16)
    with pytest.raises(CheckError, match="longer than the model's 16 positions"):
        score(model, [Request("a", (" cat" * 60,))], 99, quiet)
    with pytest.raises(CheckError, match="no tokens"):
        score(model, [Request("a", ("",))], 99, quiet)


def test_a_model_that_gives_no_number_is_an_error():
    model = tiny()
    with torch.no_grad():
        model.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(CheckError, match="not a finite number"):
        score(model, [Request("a", (" b",))], 99, quiet)


def test_logits_of_half_precision_weights_are_single_so_that_choices_hardly_tie():
    asked = [
        Request(" ".join(request.prefix.split()[:n]), (" yes", " no"))
        for request in requests(40)[1:]
        for n in (1, 5, 9)
    ]
    half = wrap(tiny().model.to(torch.bfloat16), tiny().tokenizer)
    answers = score(half, asked, 400, quiet)
    assert all(len(set(answer.loglikelihoods)) == 2 for answer in answers)
    near = score(tiny(), asked, 400, quiet)
    for answer, single in zip(answers, near, strict=True):
        assert answer.loglikelihoods == pytest.approx(single.loglikelihoods, abs=0.3)


def test_a_text_that_leaves_no_room_for_its_prompt_is_told():
    with pytest.raises(InputError, match=r"max_new_tokens: 12 leaves no room"):
        generate(tiny(positions=12), prompts(), settings(), 0, quiet)


def settings(**values):
    return EvalsSettings(generations=3, max_new_tokens=12, **values)


def prompts():
    return [Prompt(str(n), text) for n, text in enumerate(["the cat", "I", "what a strange " * 5])]


def test_samples_do_not_depend_on_what_else_is_in_the_batch():
    model = tiny()
    together = generate(model, prompts(), settings(), 0, quiet)
    alone = [
        generate(model, [prompt], settings(batch_tokens=1), 0, quiet)[0] for prompt in prompts()
    ]
    assert together == alone
    assert all(len(sampled.texts) == 3 for sampled in together)
    assert len(set(together[0].texts)) == 3


def test_another_seed_gives_other_samples():
    model = tiny()
    first, second = (generate(model, prompts(), settings(), seed, quiet) for seed in (0, 1))
    assert first != second


def test_samples_follow_the_models_probabilities():
    model = tiny()
    ids = torch.tensor(model.encode(["the cat"]))
    with torch.no_grad():
        expected = model.model(ids).logits[0, -1].softmax(-1)
    likeliest = int(expected.argmax())
    many = EvalsSettings(generations=2000, max_new_tokens=1, batch_tokens=1_000_000)
    [sampled] = generate(model, [Prompt("x", "the cat")], many, 0, quiet)
    share = (
        sum(text == model.tokenizer.decode([likeliest]).strip() for text in sampled.texts) / 2000
    )
    p = float(expected[likeliest])
    assert abs(share - p) < 4 * (p * (1 - p) / 2000) ** 0.5 + 0.01


def test_a_sampled_text_ends_at_the_end_token_and_nothing_stands_after_it():
    model = tiny()
    with torch.no_grad():
        model.model.lm_head.weight[2] = 0
        before = generate(model, prompts(), settings(), 0, quiet)
    ends = frozenset(range(3, 200))
    ending = type(model)(model.model, model.tokenizer, model.max_length, ends)
    after = generate(ending, prompts(), settings(), 0, quiet)
    for long, short in zip(before, after, strict=True):
        assert all(b.startswith(a) for b, a in zip(long.texts, short.texts, strict=True))
    assert sum(map(sum, (s.tokens for s in after))) < sum(map(sum, (s.tokens for s in before)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the harness's own, in a development dependency
def test_log_likelihoods_agree_with_the_harness():
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = tiny()
    harness = HFLM(pretrained=model.model, tokenizer=model.tokenizer, batch_size=4, device="cpu")
    asked = requests()
    flat = [(r.prefix, tail) for r in asked for tail in r.continuations]
    instances = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(flat)]
    expected = [value for value, _ in harness.loglikelihood(instances, disable_tqdm=True)]
    found = [value for a in score(model, asked, 500, quiet) for value in a.loglikelihoods]
    assert found == pytest.approx(expected, abs=1e-4)
