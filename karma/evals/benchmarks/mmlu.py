"""MMLU: questions with four answers, by subject (Hendrycks et al. 2021); zero-shot, by letter."""

from pathlib import Path

from karma.evals import files
from karma.evals.benchmark import Benchmark, Broken, Item, Read
from karma.evals.choices import by_subject

COLUMNS = ["question", "A", "B", "C", "D", "answer"]
ANSWERS = {"0": 0, "1": 1, "2": 2, "3": 3, "A": 0, "B": 1, "C": 2, "D": 3}


def read(folder: Path) -> Read:
    """Items from ``mmlu/<subject>_test.csv``, with a header (answers 0 to 3) or without (A to D).

    A row that an unquoted comma has split into more fields is broken: which comma it was cannot be
    told.
    """
    items: list[Item] = []
    broken: list[Broken] = []
    for path in sorted((folder / "mmlu").glob("*_test.csv")):
        subject = path.name.removesuffix("_test.csv")
        rows = files.table(path)
        rows = rows[1:] if rows and rows[0][1] == COLUMNS else rows
        for number, (line, row) in enumerate(rows):
            reason = _fault(row)
            if reason:
                broken.append(Broken(file=f"mmlu/{path.name}", line=line, reason=reason))
            else:
                items.append(_item(subject, number, row))
    return Read(items, broken)


def _fault(row: list[str]) -> str:
    if len(row) != len(COLUMNS):
        return f"{len(row)} fields instead of {len(COLUMNS)}: an unquoted comma"
    if row[-1].strip() not in ANSWERS:
        return "the answer is none of 0 to 3 or A to D"
    return "" if row[0].strip() else "no question"


def _item(subject: str, number: int, row: list[str]) -> Item:
    fields = dict(zip(COLUMNS, (text.strip() for text in row), strict=True))
    name = f"{subject}/{number}"
    return Item(
        name,
        # Subjects are all there are, no sample of subjects: the bootstrap resamples questions.
        group=name,
        fields={**fields, "subject": subject.replace("_", " ")},
        category=subject,
        gold=ANSWERS[fields["answer"]],
    )


BENCHMARK = Benchmark("knowledge", "accuracy", True, read, by_subject)
