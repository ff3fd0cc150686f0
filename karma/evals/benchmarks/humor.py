"""ColBERT humour: is a short text a joke? (Annamoradnejad and Zoghi 2024.)"""

from pathlib import Path
from typing import Any

from karma.evals import files
from karma.evals.benchmark import Benchmark, Broken, Item, Read
from karma.evals.choices import classify

FILE = "colbert_humor"
LABELS = {"false": 0, "true": 1, "0": 0, "1": 1}


def read(folder: Path) -> Read:
    """Items from ``colbert_humor`` (text, humor); gold 1 is a joke."""
    items: list[Item] = []
    broken: list[Broken] = []
    path = files.find(folder, FILE)
    for number, (line, row) in enumerate(files.records(path, ("text", "humor"))):
        reason = _fault(row)
        if row is None or reason:
            broken.append(Broken(file=path.name, line=line, reason=reason))
        else:
            gold = LABELS[files.said(row["humor"]).lower()]
            fields = {"text": files.said(row["text"])}
            items.append(Item(str(number), group=str(number), fields=fields, gold=gold))
    return Read(items, broken)


def _fault(row: dict[str, Any] | None) -> str:
    if row is None:
        return files.PARTIAL
    if files.said(row["humor"]).lower() not in LABELS:
        return "humor is neither True nor False"
    return "" if files.said(row["text"]) else "no text"


BENCHMARK = Benchmark("pragmatics", "accuracy", True, read, classify)
