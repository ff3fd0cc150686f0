"""Speed of evaluation against lm-evaluation-harness's ``HFLM``: ``make bench-evals``.

Both ask the same model the same items in one run, each in processor seconds, and ``HFLM`` at the
best of several batch sizes. ``choice_vs_hflm``: long prefixes with several choices each.
``default_set_vs_hflm``: the simulator's benchmarks, the generated ones included, in the wording
that leads. Ratios say how many times longer ``HFLM`` takes.
"""

import json
import logging
import os
import platform
import random
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from karma.evals import generate, scorer, template
from karma.evals.benchmark import Template, limit
from karma.evals.benchmarks import (
    crows_pairs,
    humor,
    implicature,
    mmlu,
    sentiment,
    toxicity,
    truthfulqa,
)
from karma.evals.model import LanguageModel, wrap
from karma.evals.scorer import Request
from karma.evals.settings import EvalsSettings
from karma.simulate import simulate
from tests.tiny_lm import TEXT, tokenizer

BATCHES = (1, 4, 8, 16, 32, 64)
ITEMS = 48
SETTINGS = EvalsSettings(items=60, generations=2, max_new_tokens=32)
LIKELIHOOD = {
    "humor": humor,
    "sentiment": sentiment,
    "implicature": implicature,
    "truthfulqa": truthfulqa,
    "mmlu": mmlu,
    "crows_pairs": crows_pairs,
}


def quiet(done: float, total: float, unit: str) -> None:
    """Nobody watches."""


def model() -> LanguageModel:
    """Four layers of 128, random, with room for 1,024 tokens."""
    torch.manual_seed(0)
    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=1024,
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return wrap(LlamaForCausalLM(config).eval(), words)


def harness(asked: LanguageModel, batch: int):
    """The same model as the harness's."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=asked.model,
        tokenizer=asked.tokenizer,
        batch_size=batch,
        device="cpu",
        max_length=asked.max_length,
    )


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    """Processor seconds of a piece of work, and what it gave."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def long_items(asked: LanguageModel) -> list[Request]:
    """Prefixes of 200 to 400 tokens, 4 to 8 choices of a few words."""
    rng = random.Random(0)
    words = " ".join(TEXT).split()
    made = []
    for _ in range(ITEMS):
        wanted, prefix = rng.randint(200, 390), "Question:"
        while len(asked.encode([prefix])[0]) < wanted:
            prefix += " " + rng.choice(words)
        choices = [" " + " ".join(rng.choices(words, k=rng.randint(1, 6))) for _ in range(8)]
        made.append(Request(prefix, tuple(dict.fromkeys(choices))[: rng.randint(4, 8)]))
    return made


def theirs(asked: LanguageModel, requests: list[Request], batch: int) -> list[float]:
    """Log-likelihoods by ``HFLM``, a request for each choice."""
    from lm_eval.api.instance import Instance

    flat = [(r.prefix, tail) for r in requests for tail in r.continuations]
    instances = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(flat)]
    lm = harness(asked, batch)
    return [value for value, _ in lm.loglikelihood(instances, disable_tqdm=True)]


def their_texts(asked: LanguageModel, prompts: list[str], batch: int) -> list[str]:
    """As many sampled texts by ``HFLM``."""
    from lm_eval.api.instance import Instance

    how = {"do_sample": True, "temperature": 1.0, "until": []}
    how["max_gen_toks"] = SETTINGS.max_new_tokens
    flat = [prompt for prompt in prompts for _ in range(SETTINGS.generations)]
    instances = [Instance("generate_until", {}, (p, dict(how)), i) for i, p in enumerate(flat)]
    return harness(asked, batch).generate_until(instances, disable_tqdm=True)


def best(work: Callable[[int], object]) -> tuple[float, int, object]:
    """The harness's processor seconds at its best batch size, that size, and what it gave."""
    tried = [(*seconds(lambda batch=batch: work(batch)), batch) for batch in BATCHES]
    took, found, batch = min(tried, key=lambda row: row[0])
    return took, batch, found


def default_set(folder: Path) -> tuple[list[Request], list[str]]:
    """What the simulator's benchmarks ask: requests of the leading wording, and prompts."""
    simulate(folder, ["world.threads=20", "world.texts=20", "world.dialogues=20"])
    data = folder / "benchmarks"
    requests = []
    for name, module in LIKELIHOOD.items():
        wording: Template = template.load(name)
        for item in limit(module.read(data).items, SETTINGS.items):
            prompt, choices = wording.write(item)
            space = " " if prompt else ""
            requests.append(Request(prompt, tuple(space + choice for choice in choices)))
    items = limit(toxicity.read(data).items, SETTINGS.items)
    return requests, [item.extra["prompt"] for item in items]


def main() -> None:
    """Measure, print a table, and one JSON document as the last line."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    asked = model()
    rows = [choice(asked), *defaults(asked)]
    print(f"{'what':<34}{'ours s':>9}{'HFLM s':>9}{'batch':>7}{'ratio':>8}")
    for name, mine, other, batch in rows:
        print(f"{name:<34}{mine:>9.2f}{other:>9.2f}{batch:>7}{other / mine:>8.2f}")
    ratios = {
        "choice_vs_hflm": round(rows[0][2] / rows[0][1], 2),
        "default_set_vs_hflm": round(sum(r[2] for r in rows[1:]) / sum(r[1] for r in rows[1:]), 2),
    }
    machine = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, 1 thread"
    print(json.dumps({"bench": "evals", "ratios": ratios, "machine": machine}))


Line = tuple[str, float, float, int]


def choice(asked: LanguageModel) -> Line:
    """Long prefixes; the log-likelihoods must agree."""
    requests = long_items(asked)
    lengths = sorted(len(ids) for ids in asked.encode([r.prefix for r in requests]))
    offered = [len(r.continuations) for r in requests]
    print(f"{ITEMS} items, prefixes of {lengths[0]} to {lengths[-1]} tokens, seed 0, ", end="")
    print(f"{min(offered)} to {max(offered)} choices, {sum(offered)} in all")
    scorer.score(asked, requests[:4], SETTINGS.batch_tokens, quiet)  # warm
    mine, answers = seconds(lambda: scorer.score(asked, requests, SETTINGS.batch_tokens, quiet))
    other, batch, values = best(lambda batch: theirs(asked, requests, batch))
    flat = [value for answer in answers for value in answer.loglikelihoods]
    assert max(abs(a - b) for a, b in zip(flat, values, strict=True)) < 1e-3
    return "choices", mine, other, batch


def defaults(asked: LanguageModel) -> list[Line]:
    """The simulator's benchmarks: those by likelihood together, and the generated texts."""
    with tempfile.TemporaryDirectory() as folder:
        requests, prompts = default_set(Path(folder) / "world")
    print(f"default set: {len(requests)} items by likelihood, {len(prompts)} prompts continued")
    mine, _ = seconds(lambda: scorer.score(asked, requests, SETTINGS.batch_tokens, quiet))
    other, batch, _ = best(lambda batch: theirs(asked, requests, batch))
    named = [generate.Prompt(str(i), prompt) for i, prompt in enumerate(prompts)]
    texts, _ = seconds(lambda: generate.generate(asked, named, SETTINGS, 0, quiet))
    their, texts_batch, _ = best(lambda batch: their_texts(asked, prompts, batch))
    return [
        ("default set, by likelihood", mine, other, batch),
        ("default set, generated", texts, their, texts_batch),
    ]


if __name__ == "__main__":
    main()
