"""Markdown that strangers' words cannot break: escaped text, and tables."""

from typing import Any

MARKS = str.maketrans(
    {"\\": "\\\\", "|": "\\|", "<": "&lt;", ">": "&gt;", "&": "&amp;", "`": "\\`", "*": "\\*"}
    | {"_": "\\_", "[": "\\[", "]": "\\]", "\n": " ", "\r": " "}
)


def plain(value: Any) -> str:
    """Any value as text that no Markdown renderer takes for markup."""
    return str(value).translate(MARKS)


def table(head: list[str], rows: list[list[str]], left: int = 1) -> str:
    """A table; the first ``left`` columns are left, all others right. Text is escaped here."""
    rule = [*["---"] * left, *["---:"] * (len(head) - left)]
    first, *others = ([plain(cell) for cell in row] for row in (head, *rows))
    return "\n".join("| " + " | ".join(line) + " |" for line in (first, rule, *others))
