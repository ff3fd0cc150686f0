"""Asking by likelihood: each choice is scored after the prompt, the likeliest is the answer."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from karma.evals import scorer, template
from karma.evals.benchmark import Cell, Item, Result, Row, by_category, means

# How log-likelihoods are compared: a row's field, and what its metrics are called.
RULES = {"raw": "", "per_token": "_token", "per_byte": "_byte"}


def ask(
    cell: Cell,
    items: Sequence[Item],
    wording: template.Template,
    delimiter: str = " ",
) -> list[Row]:
    """The log-likelihoods of each item's choices under one wording, nothing judged yet.

    ``delimiter`` stands between prompt and choice and counts to neither the choice nor its bytes.
    """
    written = [wording.write(item) for item in items]
    requests = [
        scorer.Request(prompt, tuple(delimiter + choice for choice in choices))
        for prompt, choices in written
    ]
    answers = scorer.score(cell.model, requests, cell.settings.batch_tokens, cell.progress)
    return [
        Row(
            item=item,
            template=wording.name,
            prompt=prompt,
            cut=answer.cut,
            choices=choices,
            raw=answer.loglikelihoods,
            per_token=tuple(np.divide(answer.loglikelihoods, answer.tokens).tolist()),
            per_byte=tuple(
                np.divide(answer.loglikelihoods, [len(c.encode()) for c in choices]).tolist()
            ),
        )
        for item, (prompt, choices), answer in zip(items, written, answers, strict=True)
    ]


def best(values: Sequence[float]) -> int:
    """The index of the largest value; of equal ones the last.

    Files that put the right answer first (TruthfulQA) must not be right by a tie.
    """
    return max(range(len(values)), key=lambda i: (values[i], i))


def accuracy(cell: Cell, items: list[Item]) -> list[Row]:
    """Each item's answer and whether it is right, by each rule."""
    rows = ask(cell, items, template.load(cell.benchmark))
    return [
        replace(
            row,
            prediction=best(row.raw),
            values={
                f"accuracy{suffix}": float(best(values) == row.item.gold)
                for suffix, values in zip(
                    RULES.values(), (row.raw, row.per_token, row.per_byte), strict=True
                )
            },
        )
        for row in rows
    ]


def classify(cell: Cell, items: list[Item]) -> Result:
    """Accuracy and macro-F1 of a benchmark whose items all have the template's choices."""
    rows = accuracy(cell, items)
    return Result(rows, {**means(rows), "macro_f1": macro_f1(rows)})


def by_subject(cell: Cell, items: list[Item]) -> Result:
    """Accuracy of the whole, of each category, and the mean of the categories."""
    rows = accuracy(cell, items)
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
