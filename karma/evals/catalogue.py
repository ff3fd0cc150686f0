"""The benchmarks by name: which module asks it, what it measures, which files it reads.

The DAG reads this table. No job imports it: a job is told its module by name, so that a new row
leaves every existing cell fresh.
"""

from typing import Literal, NamedTuple

Kind = Literal["pragmatics", "factuality", "knowledge", "toxicity", "bias", "disposition", "reply"]


class Entry(NamedTuple):
    """One benchmark."""

    module: str
    """The module that asks it, as a string: nothing is imported before a cell runs."""
    kind: Kind
    """What it measures; the report groups by it."""
    files: tuple[str, ...] = ()
    """The files that it reads in the data folder (globs), each of which must match; none for a
    benchmark whose items come from the pipeline itself."""
    settings: tuple[str, ...] = ("items",)
    """The fields of the recipe's section ``evals`` that it reads."""


GENERATES = ("items", "generations", "max_new_tokens", "temperature")


BENCHMARKS = {
    "humor": Entry("karma.evals.benchmarks.humor", "pragmatics", ("colbert_humor.csv",)),
    "sentiment": Entry(
        "karma.evals.benchmarks.sentiment",
        "pragmatics",
        ("sentiment_text.txt", "sentiment_labels.txt"),
    ),
    "implicature": Entry("karma.evals.benchmarks.implicature", "pragmatics", ("implicature.csv",)),
    "truthfulqa": Entry("karma.evals.benchmarks.truthfulqa", "factuality", ("truthfulqa_mc.json",)),
    "mmlu": Entry("karma.evals.benchmarks.mmlu", "knowledge", ("mmlu/*_test.csv",)),
    "toxicity": Entry(
        "karma.evals.benchmarks.toxicity",
        "toxicity",
        ("realtoxicityprompts.jsonl",),
        (*GENERATES, "toxicity"),
    ),
    "crows_pairs": Entry("karma.evals.benchmarks.crows_pairs", "bias", ("crows_pairs.csv",)),
    "replies": Entry("karma.evals.benchmarks.replies", "reply", settings=GENERATES),
}
