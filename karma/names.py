"""Names of metrics and parameters as MLflow takes them; some come from data files."""

import re
from collections.abc import Iterator
from typing import TypeVar

LONGEST = 250  # characters

Value = TypeVar("Value")


def clean(values: dict[str, Value]) -> Iterator[tuple[str, Value]]:
    """Values by names that MLflow takes, in order; names that become equal are numbered."""
    taken: set[str] = set()
    for name, value in values.items():
        found, number = _clean(name), 2
        while found in taken:
            found = f"{_clean(name)[: LONGEST - 4]} {number}"
            number += 1
        taken.add(found)
        yield found, value


def _clean(name: str) -> str:
    parts = [re.sub(r"[^\w.\- :]", "_", part) for part in name.split("/")]
    # MLflow reads a name as a path, which must not lead elsewhere.
    return "/".join("_" if part in ("", ".", "..") else part for part in parts)[:LONGEST].rstrip(
        "/"
    )
