"""Three-class sentiment, from either of two shapes.

``multiclass_sentiment`` is a table: the multiclass-sentiment-analysis-dataset (id, text, label,
sentiment), or TweetEval as the hub has it (text, label). Without it, TweetEval's file of texts and
file of labels.
"""

from pathlib import Path
from typing import Any

from karma.errors import InputError
from karma.evals import files
from karma.evals.benchmark import Benchmark, Broken, Item, Read
from karma.evals.choices import classify
from karma.evals.formats import held

TABLE = "multiclass_sentiment"
COLUMNS = ("text", "label")
TEXTS, LABELS = "sentiment_text.txt", "sentiment_labels.txt"
NAMES = ("negative", "neutral", "positive")
LABEL = {name: number for number, name in enumerate(NAMES)} | {"0": 0, "1": 1, "2": 2}


def read(folder: Path) -> Read:
    """Items from the one file or the other two; gold 0 is negative, 1 neutral, 2 positive."""
    tweets = (folder / TEXTS).exists() and not held(folder, TABLE)
    return _tweets(folder) if tweets else _table(files.find(folder, TABLE))


def _table(path: Path) -> Read:
    """A row whose label and sentiment do not say the same is broken."""
    items: list[Item] = []
    broken: list[Broken] = []
    for number, (line, row) in enumerate(files.records(path, COLUMNS)):
        reason = _fault(row)
        if row is None or reason:
            broken.append(Broken(file=path.name, line=line, reason=reason))
        else:
            items.append(_item(number, files.said(row["text"]), LABEL[files.said(row["label"])]))
    return Read(items, broken)


def _fault(row: dict[str, Any] | None) -> str:
    if row is None:
        return files.PARTIAL
    label = files.said(row["label"])
    if label not in LABEL:
        return "label is not 0, 1 or 2"
    if "sentiment" in row and files.said(row["sentiment"]).lower() != NAMES[LABEL[label]]:
        return f"label {label} is not sentiment {files.said(row['sentiment'])!r}"
    return "" if files.said(row["text"]) else "no text"


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
            items.append(_item(number, text, int(label)))
    return Read(items, broken)


def _item(number: int, text: str, label: int) -> Item:
    name = str(number)
    return Item(name, group=name, fields={"text": text.strip()}, gold=label)


def _lines(path: Path) -> list[str]:
    """A file's lines, cut at line feeds alone: tweets hold other separators."""
    return files.text(path).removesuffix("\n").split("\n")


BENCHMARK = Benchmark("pragmatics", "accuracy", True, read, classify)
