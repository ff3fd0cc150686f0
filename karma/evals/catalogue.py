"""The benchmarks by name: which module asks it, what it measures, which files it reads.

The DAG reads this table. No job imports it: a job is told its module by name, so that a new row
leaves every existing cell fresh.
"""

from pathlib import Path
from typing import Literal, NamedTuple

from karma.evals.formats import held

Kind = Literal["pragmatics", "factuality", "knowledge", "toxicity", "bias", "disposition", "reply"]


ASKS = ("items", "template", "templates", "rule", "chat")
GENERATES = ("items", "generations", "max_new_tokens", "temperature")


class Hub(NamedTuple):
    """A data set of the hub that holds a benchmark's rows, and the file that they become."""

    name: str
    """What ``karma pin`` takes the revision of; a recipe may name another of the same shape."""
    file: str
    """JSON lines in the data folder; ``{config}`` stands for the configuration's name."""
    split: str
    config: str | None = None
    """Which configuration; ``*``: all of them; None: the data set has one."""


class Entry(NamedTuple):
    """One benchmark."""

    module: str
    """The module that asks it, as a string: nothing is imported before a cell runs."""
    kind: Kind
    """What it measures; the report groups by it."""
    files: tuple[str, ...] = ()
    """The files that it reads in the data folder (globs), each of which must match; one without an
    ending may be in any of ``FORMATS``. None for a benchmark whose items come from the pipeline
    itself."""
    settings: tuple[str, ...] = ASKS
    """The fields of the recipe's section ``evals`` that it reads."""
    instead: tuple[str, ...] = ()
    """Files that it reads where those are not there, each of which must match."""

    prompts: bool = False
    """Whether it asks for replies to the prompts that are held out."""
    rewards: bool = False
    """Whether it scores replies by reward models and the base model."""
    hub: Hub | None = None
    """Where its rows lie on the hub, if they do."""

    def found(self, folder: Path) -> dict[str, list[Path]]:
        """The files in ``folder`` by pattern: its own if all are there, else those instead."""
        own = {pattern: held(folder, pattern) for pattern in self.files}
        if self.instead and not all(own.values()):
            other = {pattern: held(folder, pattern) for pattern in self.instead}
            return other if any(other.values()) else own
        return own


BENCHMARKS = {
    "humor": Entry(
        "karma.evals.benchmarks.humor",
        "pragmatics",
        ("colbert_humor",),
        hub=Hub("CreativeLang/ColBERT_Humor_Detection", "colbert_humor.jsonl", "train"),
    ),
    "sentiment": Entry(
        "karma.evals.benchmarks.sentiment",
        "pragmatics",
        ("multiclass_sentiment",),
        instead=("sentiment_text.txt", "sentiment_labels.txt"),
        hub=Hub(
            "Sp1786/multiclass-sentiment-analysis-dataset", "multiclass_sentiment.jsonl", "test"
        ),
    ),
    "implicature": Entry(
        "karma.evals.benchmarks.implicature",
        "pragmatics",
        ("implicature",),
        hub=Hub("UCL-DARK/ludwig", "implicature.jsonl", "test", "0-shot"),
    ),
    "irony": Entry("karma.evals.benchmarks.irony", "pragmatics", ("pragmatics/Irony",)),
    "maxims": Entry("karma.evals.benchmarks.maxims", "pragmatics", ("pragmatics/Maxims",)),
    "indirect_speech": Entry(
        "karma.evals.benchmarks.indirect_speech", "pragmatics", ("pragmatics/IndirectSpeech",)
    ),
    "metaphor": Entry("karma.evals.benchmarks.metaphor", "pragmatics", ("pragmatics/Metaphor",)),
    "hu_humor": Entry("karma.evals.benchmarks.hu_humor", "pragmatics", ("pragmatics/Humour",)),
    "truthfulqa": Entry(
        "karma.evals.benchmarks.truthfulqa",
        "factuality",
        ("truthfulqa_mc",),
        hub=Hub("truthfulqa/truthful_qa", "truthfulqa_mc.jsonl", "validation", "multiple_choice"),
    ),
    "mmlu": Entry(
        "karma.evals.benchmarks.mmlu",
        "knowledge",
        ("mmlu/*_test",),
        hub=Hub("cais/mmlu", "mmlu/{config}_test.jsonl", "test", "all"),
    ),
    "toxicity": Entry(
        "karma.evals.benchmarks.toxicity",
        "toxicity",
        ("realtoxicityprompts",),
        (*GENERATES, "chat", "toxicity"),
        hub=Hub("allenai/real-toxicity-prompts", "realtoxicityprompts.jsonl", "train"),
    ),
    "crows_pairs": Entry(
        "karma.evals.benchmarks.crows_pairs",
        "bias",
        ("crows_pairs",),
        hub=Hub("jannalu/crows_pairs_multilingual", "crows_pairs.jsonl", "test", "english"),
    ),
    "bbq": Entry(
        "karma.evals.benchmarks.bbq",
        "bias",
        ("bbq_*",),
        hub=Hub("oskarvanderwal/bbq", "bbq_{config}.jsonl", "test", "All"),
    ),
    "persona": Entry(
        "karma.evals.benchmarks.persona",
        "disposition",
        ("persona/*",),
        hub=Hub("EleutherAI/persona", "persona/{config}.jsonl", "validation", "*"),
    ),
    "sycophancy": Entry(
        "karma.evals.benchmarks.sycophancy",
        "disposition",
        ("sycophancy/*",),
        hub=Hub("EleutherAI/sycophancy", "sycophancy/{config}.jsonl", "validation", "*"),
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
