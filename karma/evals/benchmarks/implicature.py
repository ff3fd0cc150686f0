"""Conversational implicature: does an indirect answer mean yes or no? (Ruis et al. 2023.)"""

import re
from pathlib import Path

from karma.evals import files
from karma.evals.benchmark import Benchmark, Broken, Item, Read
from karma.evals.choices import classify

FILE = "implicature.csv"
COLUMNS = ("Context utterance", "Response utterance", "Implicature")


def read(folder: Path) -> Read:
    """Items from ``implicature.csv``; gold 1 is yes.

    Labels are free text; those whose first word is neither yes nor no are counted as broken.
    """
    items: list[Item] = []
    broken: list[Broken] = []
    for number, (line, row) in enumerate(files.records(folder / FILE, COLUMNS)):
        if row is None:
            broken.append(Broken(file=FILE, line=line, reason="more or fewer fields than columns"))
            continue
        utterance, response, label = (row[name].strip() for name in COLUMNS)
        found = re.match(r"(yes|no)\b", label, re.IGNORECASE)
        if found is None:
            reason = "the implicature begins with neither yes nor no"
            broken.append(Broken(file=FILE, line=line, reason=reason))
        elif not utterance or not response:
            broken.append(Broken(file=FILE, line=line, reason="no utterance or no response"))
        else:
            fields = {"utterance": utterance, "response": response}
            gold = int(found[1].lower() == "yes")
            items.append(Item(str(number), group=str(number), fields=fields, gold=gold))
    return Read(items, broken)


BENCHMARK = Benchmark("pragmatics", "accuracy", True, read, classify)
