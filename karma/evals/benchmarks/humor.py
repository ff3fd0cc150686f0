"""ColBERT humour: is a short text a joke? (Annamoradnejad and Zoghi 2024.)"""

from pathlib import Path

from karma.evals import files
from karma.evals.benchmark import Benchmark, Broken, Item, Read
from karma.evals.choices import classify

FILE = "colbert_humor.csv"
LABELS = {"false": 0, "true": 1, "0": 0, "1": 1}


def read(folder: Path) -> Read:
    """Items from ``colbert_humor.csv`` (text, humor); gold 1 is a joke."""
    items: list[Item] = []
    broken: list[Broken] = []
    for number, (line, row) in enumerate(files.records(folder / FILE, ("text", "humor"))):
        if row is None:
            broken.append(Broken(file=FILE, line=line, reason="more or fewer fields than columns"))
        elif row["humor"].strip().lower() not in LABELS:
            broken.append(Broken(file=FILE, line=line, reason="humor is neither True nor False"))
        elif not row["text"].strip():
            broken.append(Broken(file=FILE, line=line, reason="no text"))
        else:
            gold = LABELS[row["humor"].strip().lower()]
            fields = {"text": row["text"].strip()}
            items.append(Item(str(number), group=str(number), fields=fields, gold=gold))
    return Read(items, broken)


BENCHMARK = Benchmark("pragmatics", "accuracy", True, read, classify)
