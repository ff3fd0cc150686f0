"""Three-class sentiment, from either of two shapes.

``multiclass_sentiment.csv`` is the multiclass-sentiment-analysis-dataset (id, text, label,
sentiment); without it, TweetEval's file of texts and file of labels.
"""

from pathlib import Path

from karma.errors import InputError
from karma.evals import files
from karma.evals.benchmark import Benchmark, Broken, Item, Read
from karma.evals.choices import classify

TABLE = "multiclass_sentiment.csv"
COLUMNS = ("id", "text", "label", "sentiment")
TEXTS, LABELS = "sentiment_text.txt", "sentiment_labels.txt"
NAMES = ("negative", "neutral", "positive")


def read(folder: Path) -> Read:
    """Items from the one file or the other two; gold 0 is negative, 1 neutral, 2 positive."""
    return _table(folder) if (folder / TABLE).exists() else _tweets(folder)


def _table(folder: Path) -> Read:
    """A row whose label and sentiment do not say the same is broken."""
    items: list[Item] = []
    broken: list[Broken] = []
    for number, (line, row) in enumerate(files.records(folder / TABLE, COLUMNS)):
        if row is None:
            broken.append(Broken(file=TABLE, line=line, reason="more or fewer fields than columns"))
        elif row["label"].strip() not in ("0", "1", "2"):
            broken.append(Broken(file=TABLE, line=line, reason="label is not 0, 1 or 2"))
        elif row["sentiment"].strip().lower() != NAMES[int(row["label"])]:
            reason = f"label {row['label'].strip()} is not sentiment {row['sentiment'].strip()!r}"
            broken.append(Broken(file=TABLE, line=line, reason=reason))
        elif not row["text"].strip():
            broken.append(Broken(file=TABLE, line=line, reason="no text"))
        else:
            items.append(_item(number, row["text"], row["label"]))
    return Read(items, broken)


def _tweets(folder: Path) -> Read:
    """Raises InputError if the files' lines do not match: then no label can be trusted."""
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
            items.append(_item(number, text, label))
    return Read(items, broken)


def _item(number: int, text: str, label: str) -> Item:
    name = str(number)
    return Item(name, group=name, fields={"text": text.strip()}, gold=int(label))


def _lines(path: Path) -> list[str]:
    """A file's lines, cut at line feeds alone: tweets hold other separators."""
    return files.text(path).removesuffix("\n").split("\n")


BENCHMARK = Benchmark("pragmatics", "accuracy", True, read, classify)
