"""The simulator's own measure: does the tone of a reply fit what it answers?

Only for the simulated world, whose ``planted_truth.json`` says which tone is welcome where. The
primary score is the fit less what a reply of that tone gets on average, so that a policy which
answers everything with a joke has none of it (``karma.world.truth.centred_fit``).
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from karma.evals.benchmark import Benchmark, Cell, Item, Read, Result, Row, means
from karma.evals.generate import Prompt, generate
from karma.evals.heldout import heldout
from karma.text import Turn
from karma.world import truth


def read(folder: Path) -> Read:
    """The prompts that are held out. Raises InputError if there are none."""
    return Read(heldout(folder, "fit"), [])


def evaluate(cell: Cell, items: list[Item]) -> Result:
    """The means over each prompt's replies: fit, centred fit, jokes, and facts told as the myth."""
    known = truth.load(cell.inputs["data"] / "planted_truth.json")
    prompts = [Prompt(item.id, item.extra["prompt"]) for item in items]
    sampled = generate(cell.model, prompts, cell.settings, cell.seed, cell.progress)
    rows = []
    for item, texts in zip(items, sampled, strict=True):
        found = [_measure(item.extra["turns"], text, known) for text in texts.texts]
        row = Row(item, cell.template.name, prompt=item.extra["prompt"], cut=texts.cut)
        values = {name: float(np.mean([f[name] for f in found])) for name in found[0]}
        rows.append(
            replace(row, generations=texts.texts, generation_scores=tuple(found), values=values)
        )
    return Result(rows, means(rows))


def _measure(turns: list[Turn], reply: str, known: truth.Truth) -> dict[str, float]:
    answered = truth.answered(turns)
    return {
        "centred_fit": truth.centred_fit(answered, reply, known),
        "fit": truth.fit(answered, reply, known),
        "joke": float(truth.tone(reply, known) == "joke"),
        "myth": float(truth.verdict(reply, known) == "myth"),
    }


BENCHMARK = Benchmark(
    "pragmatics", "centred_fit", True, read, evaluate, role="prompts", by_likelihood=False
)
