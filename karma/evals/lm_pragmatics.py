"""Hu et al. 2023, one file a phenomenon: a story, numbered options, one of which is what is meant.

The file's column ``prompt`` holds the whole question; it is taken apart, so that other wordings can
be asked too. Its list columns are Python text.
"""

import ast
import re
from pathlib import Path
from typing import Any

from karma.evals import files
from karma.evals.benchmark import Broken, Item, Read

COLUMNS = ("item_id", "prompt", "randomized_true_answer", "randomized_labels_complex", "is_example")
RIGHT = "CorrectNonLiteral"
# The parts of a prompt: what to do, the story, the numbered options.
PROMPT = re.compile(
    r"Task: (?P<task>.*?)\n\n(?:Scenario|Joke): (?P<story>.*?)\n(?:Options|Punchlines):\n"
    r"(?P<options>.*?)\nAnswer:\s*",
    re.DOTALL,
)
OPTION = re.compile(r"^(\d+)\) ", re.MULTILINE)


def read(folder: Path, file: str, options: int) -> Read:
    """Items from ``pragmatics/<file>``, which must have ``options`` options each.

    Orders of the same options (column ``seed``) are one group. A row whose marked answer is not
    the option that its labels call right is broken: one of the two is wrong.
    """
    path = files.find(folder / "pragmatics", file)
    items: list[Item] = []
    broken: list[Broken] = []
    for number, (line, row) in enumerate(files.records(path, COLUMNS)):
        found = files.PARTIAL if row is None else _item(number, row, options)
        if isinstance(found, str):
            broken.append(Broken(file=f"pragmatics/{path.name}", line=line, reason=found))
        else:
            items.append(found)
    return Read(items, broken)


def _item(number: int, row: dict[str, Any], options: int) -> Item | str:
    """The item, or what is wrong with the row."""
    if files.said(row["is_example"]).lower() == "true":
        return "an example for the prompt, no question"
    parts = PROMPT.fullmatch(str(row["prompt"]).replace("\r\n", "\n"))
    if parts is None:
        return "the prompt is not task, story, options, answer"
    if not parts["story"].strip():
        return "no story"
    numbered = OPTION.split(parts["options"])[1:]
    texts = [text.strip() for text in numbered[1::2]]
    if numbered[::2] != [str(i) for i in range(1, options + 1)] or not all(texts):
        return f"it has not {options} options, numbered from 1"
    labels = _labels(str(row["randomized_labels_complex"]))
    answer = files.said(row["randomized_true_answer"])
    if not answer.isdecimal() or not 1 <= int(answer) <= options or len(labels) != options:
        return "the answer or the labels do not fit the options"
    if labels[int(answer) - 1] != RIGHT:
        return f"its answer, option {answer}, is not the one that is labelled {RIGHT}"
    fields = {"task": parts["task"], "story": parts["story"].strip(), "options": parts["options"]}
    fields |= {f"option{i}": text for i, text in enumerate(texts, start=1)}
    group = files.said(row["item_id"]) or str(number)
    return Item(str(number), group=group, fields=fields, gold=int(answer) - 1)


def _labels(text: str) -> list[str]:
    """A list that was written as Python; empty if it is none."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return []
    return found if isinstance(found, list) else []
