"""Three-class sentiment, in the shape of TweetEval: a file of texts and a file of labels."""

from pathlib import Path

from karma.errors import InputError
from karma.evals import files
from karma.evals.benchmark import Benchmark, Broken, Item, Read
from karma.evals.choices import classify

TEXTS, LABELS = "sentiment_text.txt", "sentiment_labels.txt"


def read(folder: Path) -> Read:
    """Items from two files of as many lines; gold 0 is negative, 1 neutral, 2 positive.

    Raises InputError if the files' lines do not match: then no label can be trusted.
    """
    texts, labels = _lines(folder / TEXTS), _lines(folder / LABELS)
    if len(texts) != len(labels):
        reason = f"it has {len(labels)} lines and {TEXTS} has {len(texts)}"
        raise InputError(f"benchmark file {folder / LABELS}", reason, files.REPLACE)
    items: list[Item] = []
    broken: list[Broken] = []
    for number, (text, label) in enumerate(zip(texts, labels, strict=True)):
        if label.strip() not in ("0", "1", "2"):
            broken.append(Broken(file=LABELS, line=number + 1, reason="label is not 0, 1 or 2"))
        elif not text.strip():
            broken.append(Broken(file=TEXTS, line=number + 1, reason="no text"))
        else:
            fields = {"text": text.strip()}
            items.append(Item(str(number), group=str(number), fields=fields, gold=int(label)))
    return Read(items, broken)


def _lines(path: Path) -> list[str]:
    """A file's lines, cut at line feeds alone: tweets hold other separators."""
    return files.text(path).removesuffix("\n").split("\n")


BENCHMARK = Benchmark("pragmatics", "accuracy", True, read, classify)
