"""MMLU: questions with four answers, by subject (Hendrycks et al. 2021); zero-shot, by letter."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from karma.evals import files
from karma.evals.benchmark import Benchmark, Broken, Item, Read
from karma.evals.choices import by_subject

COLUMNS = ["question", "A", "B", "C", "D", "answer"]
ANSWERS = {"0": 0, "1": 1, "2": 2, "3": 3, "A": 0, "B": 1, "C": 2, "D": 3}


def read(folder: Path) -> Read:
    """Items from ``mmlu/<subject>_test``: CSV with a header (answers 0 to 3) or without (A to D),
    or a table of the hub's shape (question, subject, choices, answer).

    A row that an unquoted comma has split into more fields is broken: which comma it was cannot be
    told.
    """
    items: list[Item] = []
    broken: list[Broken] = []
    for path in files.every(folder, "mmlu/*_test"):
        subject = path.stem.removesuffix("_test")
        for number, (line, row) in enumerate(_rows(path, subject)):
            reason = _fault(row.cells)
            if reason:
                broken.append(Broken(file=f"mmlu/{path.name}", line=line, reason=reason))
            else:
                items.append(_item(f"{subject}/{number}", row))
    return Read(items, broken)


class _Row(NamedTuple):
    subject: str
    cells: list[str]
    """In the order of ``COLUMNS``, if it is whole."""


def _rows(path: Path, subject: str) -> Iterator[tuple[int, _Row]]:
    if path.suffix == ".csv":
        rows = files.table(path)
        rows = rows[1:] if rows and rows[0][1] == COLUMNS else rows
        yield from ((line, _Row(subject, cells)) for line, cells in rows)
        return
    for line, row in files.records(path, ("question", "choices", "answer")):
        given = row or {"question": "", "choices": [], "answer": ""}
        choices = given["choices"] if isinstance(given["choices"], list) else []
        cells = [files.said(cell) for cell in (given["question"], *choices, given["answer"])]
        yield line, _Row(files.said(given.get("subject")) or subject, cells)


def _fault(cells: list[str]) -> str:
    if len(cells) != len(COLUMNS):
        return f"{len(cells)} fields instead of {len(COLUMNS)}, as by an unquoted comma"
    if cells[-1].strip() not in ANSWERS:
        return "the answer is none of 0 to 3 or A to D"
    return "" if all(cell.strip() for cell in cells) else "the question or an answer is empty"


def _item(name: str, row: _Row) -> Item:
    fields = dict(zip(COLUMNS, (text.strip() for text in row.cells), strict=True))
    return Item(
        name,
        # Subjects are all there are, no sample of subjects: the bootstrap resamples questions.
        group=name,
        fields={**fields, "subject": row.subject.replace("_", " ")},
        category=row.subject,
        gold=ANSWERS[fields["answer"]],
    )


BENCHMARK = Benchmark("knowledge", "accuracy", True, read, by_subject)
