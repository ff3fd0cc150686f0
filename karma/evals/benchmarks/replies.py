"""The reply itself: held-out contexts, and what the model answers.

Each reply gets its own reward (the one that the policy was trained on; base and sft have none) and
the gold reward, which nobody optimised, its length, how much it repeats itself, and how likely the
base model finds it, which of an empty reply cannot be said.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from karma.errors import CheckError
from karma.evals import model, scorer
from karma.evals.benchmark import Benchmark, Cell, Item, Read, Result, Row, means
from karma.evals.generate import Prompt, Sampled, generate
from karma.evals.heldout import heldout

# Words of an n-gram whose repetition counts within a reply (seq-rep-4, Welleck et al. 2020).
REPEATED = 4


def read(folder: Path) -> Read:
    """The prompts that are held out. Raises InputError if there are none."""
    return Read(heldout(folder, "replies"), [])


def evaluate(cell: Cell, items: list[Item]) -> Result:
    """A reply's values are the means over the generations of its prompt."""
    prompts = [Prompt(item.id, item.extra["prompt"]) for item in items]
    sampled = generate(cell.model, prompts, cell.settings, cell.seed, cell.progress)
    per_reply = _measure(cell, items, sampled)
    rows = []
    for item, texts, found in zip(items, sampled, per_reply, strict=True):
        row = Row(item, template=cell.template.name, prompt=item.extra["prompt"], cut=texts.cut)
        names = dict.fromkeys(name for scores in found for name in scores)
        values = {n: float(np.mean([s[n] for s in found if n in s])) for n in names}
        rows.append(
            replace(row, generations=texts.texts, generation_scores=tuple(found), values=values)
        )
    scores = means(rows)
    if "base_loss" in scores:
        # The mean of the logarithms, not of the perplexities, which one odd reply would rule.
        scores["base_perplexity"] = float(np.exp(scores["base_loss"]))
    scores |= {f"distinct_{n}": distinct(rows, n) for n in (1, 2)}
    return Result(rows, scores)


def _measure(cell: Cell, items: list[Item], sampled: list[Sampled]) -> list[list[dict[str, float]]]:
    """The metrics of each generation of each item; an empty one has no ``base_loss``."""
    flat = [
        (item, text, tokens)
        for item, texts in zip(items, sampled, strict=True)
        for text, tokens in zip(texts.texts, texts.tokens, strict=True)
    ]
    pairs = [(item, text) for item, text, _ in flat]
    found: dict[str, list[float]] = {
        "gold": _rewards(cell, "gold", pairs),
        "length": [float(len(text.split())) for _, text in pairs],
        "tokens": [float(tokens) for _, _, tokens in flat],
        "repetition": [repetition(text) for _, text in pairs],
        "empty": [float(not text.split()) for _, text in pairs],
    }
    if "reward" in cell.inputs:
        found["reward"] = _rewards(cell, "reward", pairs)
    each = [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]
    said = [number for number, scores in enumerate(each) if not scores["empty"]]
    for number, loss in zip(said, _base_loss(cell, [pairs[n] for n in said]), strict=True):
        each[number]["base_loss"] = loss
    scored = iter(each)
    return [[next(scored) for _ in texts.texts] for texts in sampled]


def _rewards(cell: Cell, role: str, pairs: list[tuple[Item, str]]) -> list[float]:
    """The standardised reward of each reply, by the reward model of that role."""
    # Only this benchmark needs reward models, and they are slow to import.
    from karma.reward import score

    reward = score.load(cell.inputs[role], cell.model.device.type)
    values = reward.score(
        [item.extra["turns"] for item, _ in pairs],
        [text for _, text in pairs],
        [item.extra["slot"] for item, _ in pairs],
    )
    if not np.isfinite(values).all():
        raise CheckError(f"the {role} reward of a reply is not a finite number")
    return [float(value) for value in values]


def _base_loss(cell: Cell, pairs: list[tuple[Item, str]]) -> list[float]:
    """The base model's loss on each reply, in nats a token."""
    base = model.load(cell.inputs["base"], cell.model.device.type)
    requests = [scorer.Request(item.extra["prompt"], (" " + text,)) for item, text in pairs]
    answers = scorer.score(base, requests, cell.settings.batch_tokens, cell.progress)
    return [-answer.loglikelihoods[0] / answer.tokens[0] for answer in answers]


def repetition(text: str) -> float:
    """The share of a reply's n-grams of words that stood in it before; 0 if it is too short."""
    grams = ngrams(text, REPEATED)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def distinct(rows: list[Row], n: int) -> float:
    """Different n-grams among all n-grams of words of all replies (Li et al. 2016)."""
    grams = [gram for row in rows for text in row.generations for gram in ngrams(text, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    """The runs of ``n`` words of a text, cut at white space."""
    words = text.split()
    return list(zip(*(words[i:] for i in range(n)), strict=False))


BENCHMARK = Benchmark("reply", "gold", True, read, evaluate, role="prompts", by_likelihood=False)
