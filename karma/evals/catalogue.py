"""The benchmarks by name: which module asks it, what it measures, which files it reads.

The DAG reads this table. No job imports it: a job is told its module by name, so that a new row
leaves every existing cell fresh.
"""

from pathlib import Path
from typing import Literal, NamedTuple

Kind = Literal["pragmatics", "factuality", "knowledge", "toxicity", "bias", "disposition", "reply"]


ASKS = ("items", "template", "templates", "rule", "chat")
GENERATES = ("items", "generations", "max_new_tokens", "temperature")


class Entry(NamedTuple):
    """One benchmark."""

    module: str
    """The module that asks it, as a string: nothing is imported before a cell runs."""
    kind: Kind
    """What it measures; the report groups by it."""
    files: tuple[str, ...] = ()
    """The files that it reads in the data folder (globs), each of which must match; none for a
    benchmark whose items come from the pipeline itself."""
    settings: tuple[str, ...] = ASKS
    """The fields of the recipe's section ``evals`` that it reads."""
    instead: tuple[str, ...] = ()
    """Files that it reads where those are not there, each of which must match."""

    prompts: bool = False
    """Whether it asks for replies to the prompts that are held out."""
    rewards: bool = False
    """Whether it scores replies by reward models and the base model."""

    def found(self, folder: Path) -> dict[str, list[Path]]:
        """The files in ``folder`` by pattern: its own if all are there, else those instead."""
        own = {pattern: sorted(folder.glob(pattern)) for pattern in self.files}
        if self.instead and not all(own.values()):
            other = {pattern: sorted(folder.glob(pattern)) for pattern in self.instead}
            return other if any(other.values()) else own
        return own


BENCHMARKS = {
    "humor": Entry("karma.evals.benchmarks.humor", "pragmatics", ("colbert_humor.csv",)),
    "sentiment": Entry(
        "karma.evals.benchmarks.sentiment",
        "pragmatics",
        ("multiclass_sentiment.csv",),
        instead=("sentiment_text.txt", "sentiment_labels.txt"),
    ),
    "implicature": Entry("karma.evals.benchmarks.implicature", "pragmatics", ("implicature.csv",)),
    "irony": Entry("karma.evals.benchmarks.irony", "pragmatics", ("pragmatics/Irony.csv",)),
    "maxims": Entry("karma.evals.benchmarks.maxims", "pragmatics", ("pragmatics/Maxims.csv",)),
    "indirect_speech": Entry(
        "karma.evals.benchmarks.indirect_speech", "pragmatics", ("pragmatics/IndirectSpeech.csv",)
    ),
    "metaphor": Entry(
        "karma.evals.benchmarks.metaphor", "pragmatics", ("pragmatics/Metaphor.csv",)
    ),
    "hu_humor": Entry("karma.evals.benchmarks.hu_humor", "pragmatics", ("pragmatics/Humour.csv",)),
    "truthfulqa": Entry("karma.evals.benchmarks.truthfulqa", "factuality", ("truthfulqa_mc.json",)),
    "mmlu": Entry("karma.evals.benchmarks.mmlu", "knowledge", ("mmlu/*_test.csv",)),
    "toxicity": Entry(
        "karma.evals.benchmarks.toxicity",
        "toxicity",
        ("realtoxicityprompts.jsonl",),
        (*GENERATES, "chat", "toxicity"),
    ),
    "crows_pairs": Entry("karma.evals.benchmarks.crows_pairs", "bias", ("crows_pairs.csv",)),
    "bbq": Entry("karma.evals.benchmarks.bbq", "bias", ("bbq_*.jsonl",)),
    "persona": Entry("karma.evals.benchmarks.persona", "disposition", ("persona/*.jsonl",)),
    "sycophancy": Entry(
        "karma.evals.benchmarks.sycophancy", "disposition", ("sycophancy/*.jsonl",)
    ),
    "fit": Entry(
        "karma.evals.benchmarks.fit",
        "pragmatics",
        ("planted_truth.json",),
        GENERATES,
        prompts=True,
    ),
    "replies": Entry(
        "karma.evals.benchmarks.replies", "reply", settings=GENERATES, prompts=True, rewards=True
    ),
}
