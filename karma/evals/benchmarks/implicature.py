"""Conversational implicature: does an indirect answer mean yes or no? (Ruis et al. 2023.)"""

import re
from pathlib import Path

from karma.evals import files
from karma.evals.benchmark import Benchmark, Broken, Item, Read
from karma.evals.choices import classify

FILE = "implicature"
COLUMNS = ("Context utterance", "Response utterance", "Implicature")
ON_THE_HUB = ("utterance", "response", "implicature")


def read(folder: Path) -> Read:
    """Items from ``implicature``; gold 1 is yes.

    Labels are free text; those whose first word is neither yes nor no are counted as broken.
    """
    items: list[Item] = []
    broken: list[Broken] = []
    path = files.find(folder, FILE)
    for number, (line, row) in enumerate(files.records(path, COLUMNS, ON_THE_HUB)):
        if row is None:
            broken.append(Broken(file=path.name, line=line, reason=files.PARTIAL))
            continue
        utterance, response, label = (files.said(row[name]) for name in COLUMNS)
        found = re.match(r"(yes|no)\b", label, re.IGNORECASE)
        if found is None:
            reason = "the implicature begins with neither yes nor no"
            broken.append(Broken(file=path.name, line=line, reason=reason))
        elif not utterance or not response:
            broken.append(Broken(file=path.name, line=line, reason="no utterance or no response"))
        else:
            fields = {"utterance": utterance, "response": response}
            gold = int(found[1].lower() == "yes")
            items.append(Item(str(number), group=str(number), fields=fields, gold=gold))
    return Read(items, broken)


BENCHMARK = Benchmark("pragmatics", "accuracy", True, read, classify)
