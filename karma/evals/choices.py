"""Asking by likelihood: each choice is scored after the prompt, the likeliest is the answer."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from karma.evals import scorer
from karma.evals.benchmark import Cell, Item, Result, Row, by_category, means
from karma.evals.settings import RULES


def ask(cell: Cell, items: Sequence[Item]) -> list[Row]:
    """The log-likelihoods of each item's choices under the cell's wording, nothing judged yet.

    A space stands between prompt and choice and counts to neither the choice nor its bytes; after
    no prompt, and after the head of a chat's turn, stands nothing.
    """
    written = [cell.template.write(item) for item in items]
    chat = cell.settings.chat
    spaces = ["" if chat or not prompt else " " for prompt, _ in written]
    requests = [
        scorer.Request(prompt, tuple(space + choice for choice in choices), chat)
        for space, (prompt, choices) in zip(spaces, written, strict=True)
    ]
    prompts = cell.model.written([prompt for prompt, _ in written], chat)
    answers = scorer.score(cell.model, requests, cell.settings.batch_tokens, cell.progress)
    return [
        Row(
            item=item,
            template=cell.template.name,
            prompt=prompt,
            cut=answer.cut,
            choices=choices,
            raw=answer.loglikelihoods,
            per_token=tuple(np.divide(answer.loglikelihoods, answer.tokens).tolist()),
            per_byte=tuple(
                np.divide(answer.loglikelihoods, [len(c.encode()) for c in choices]).tolist()
            ),
        )
        for item, prompt, (_, choices), answer in zip(items, prompts, written, answers, strict=True)
    ]


def by_rule(row: Row) -> dict[str, tuple[float, ...]]:
    """The choices' values under each rule of ``RULES``."""
    return {"raw": row.raw, "per_token": row.per_token, "per_byte": row.per_byte}


def best(values: Sequence[float]) -> int:
    """The index of the largest value; of equal ones the last.

    Files that put the right answer first (TruthfulQA) must not be right by a tie.
    """
    return max(range(len(values)), key=lambda i: (values[i], i))


def judge(cell: Cell, items: Sequence[Item], metric: str) -> list[Row]:
    """Each item's answer by the recipe's rule, and whether the gold one is likeliest by each."""
    return [
        replace(
            row,
            prediction=best(by_rule(row)[cell.settings.rule]),
            values={
                metric + RULES[rule]: float(best(values) == row.item.gold)
                for rule, values in by_rule(row).items()
            },
        )
        for row in ask(cell, items)
    ]


def classify(cell: Cell, items: list[Item]) -> Result:
    """Accuracy and macro-F1 of a benchmark whose items all have the wording's choices."""
    rows = judge(cell, items, "accuracy")
    return Result(rows, {**means(rows), "macro_f1": macro_f1(rows)})


def by_subject(cell: Cell, items: list[Item]) -> Result:
    """Accuracy of the whole, of each category, and the mean of the categories."""
    rows = judge(cell, items, "accuracy")
    parts = by_category(rows, "accuracy")
    mean = float(np.mean(list(parts.values())))
    return Result(rows, {**means(rows), **parts, "accuracy_over_subjects": mean})


def macro_f1(rows: Sequence[Row]) -> float:
    """The unweighted mean of the classes' F1; only classes that some item has count."""
    gold = np.array([row.item.gold for row in rows])
    predicted = np.array([row.prediction for row in rows])
    scores = []
    for label in np.unique(gold):
        hits = np.sum((gold == label) & (predicted == label))
        scores.append(2 * hits / (np.sum(gold == label) + np.sum(predicted == label)))
    return float(np.mean(scores))
