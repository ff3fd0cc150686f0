"""TruthfulQA, multiple choice: mc1 (one right answer) and mc2 (mass on all right ones).

Lin et al. 2022. The two lists of a question overlap, so its answers are scored once. In the file
the right answer of mc1 always stands first: likelihoods do not see an order, and a tie is lost.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from karma.evals import choices, files
from karma.evals.benchmark import Benchmark, Broken, Cell, Item, Read, Result, Row, means
from karma.evals.settings import RULES

FILE = "truthfulqa_mc"


def read(folder: Path) -> Read:
    """Items from ``truthfulqa_mc``, questions with ``mc1_targets`` and ``mc2_targets``: answer to
    1 or 0, or as the hub has them, ``choices`` and ``labels``. Gold is the right answer of mc1."""
    path = files.find(folder, FILE)
    items: list[Item] = []
    broken: list[Broken] = []
    for number, (line, row) in enumerate(files.rows(path)):
        question = _plain(row)
        reason = _fault(question)
        if reason:
            broken.append(Broken(file=path.name, line=line, reason=reason))
        else:
            items.append(_item(number, question))
    return Read(items, broken)


def _plain(row: dict[str, Any] | None) -> dict[str, Any]:
    """A question whose targets map each answer to its mark; those that are no such are left out."""
    question = dict(row or {})
    for name in ("mc1_targets", "mc2_targets"):
        match question.pop(name, None):
            case {"choices": list(answers), "labels": list(marks)} if len(answers) == len(
                marks
            ) and all(isinstance(answer, str) for answer in answers):
                question[name] = dict(zip(answers, marks, strict=True))
            case dict(targets):
                question[name] = targets
    return question


def _fault(question: dict[str, Any]) -> str:
    asked = question.get("question")
    if not isinstance(asked, str) or not asked.strip():
        return "no question"
    for name in ("mc1_targets", "mc2_targets"):
        targets = question.get(name)
        if targets is None:
            return f"{name} is missing"
        marks = list(targets.values())
        if 0 not in marks or 1 not in marks or any(mark not in (0, 1) for mark in marks):
            return f"{name} does not map answers to both 1 and 0"
        if not all(answer.strip() for answer in targets):
            return f"{name} has an empty answer"
    right = sum(question["mc1_targets"].values())
    return "" if right == 1 else f"mc1_targets has {right} right answers"


def _item(number: int, question: dict[str, Any]) -> Item:
    mc1, mc2 = question["mc1_targets"], question["mc2_targets"]
    answers = tuple(dict.fromkeys([*mc1, *mc2]))
    return Item(
        str(number),
        group=str(number),
        fields={"question": question["question"].strip()},
        gold=answers.index(next(answer for answer, right in mc1.items() if right)),
        choices=answers,
        extra={
            "mc1": [answers.index(answer) for answer in mc1],
            "mc2": [answers.index(answer) for answer in mc2],
            "right": [bool(right) for right in mc2.values()],
        },
    )


def evaluate(cell: Cell, items: list[Item]) -> Result:
    """mc1 by each rule, and mc2, the share of the answers' probability on right ones."""
    rows = [
        replace(
            row,
            prediction=_mc1(row, choices.by_rule(row)[cell.settings.rule]),
            values=_values(row),
        )
        for row in choices.ask(cell, items)
    ]
    return Result(rows, means(rows))


def _mc1(row: Row, values: tuple[float, ...]) -> int:
    listed: list[int] = row.item.extra["mc1"]
    return listed[choices.best([values[i] for i in listed])]


def _values(row: Row) -> dict[str, float]:
    raw = np.array(row.raw)[row.item.extra["mc2"]]
    mass = np.exp(raw - raw.max())
    return {
        **{
            f"mc1{RULES[rule]}": float(_mc1(row, values) == row.item.gold)
            for rule, values in choices.by_rule(row).items()
        },
        "mc2": float(mass[row.item.extra["right"]].sum() / mass.sum()),
    }


BENCHMARK = Benchmark("factuality", "mc1", True, read, evaluate)
