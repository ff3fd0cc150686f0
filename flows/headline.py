"""What a run ends with: the report's headline, where to look, and the gates."""

import json
import shutil
from pathlib import Path
from typing import Any

from flows.options import short
from karma.gates import unmet
from karma.recipe import Recipe
from karma.store import Store

WIDE = 18  # a score with its interval, in characters


def conclude(recipe: Recipe, digest: str | None, store: Store, workspace: Path) -> int:
    """Print the report's headline, its path and where to look; 0, or 3 if a gate was not met."""
    if digest is None or not store.fetch(digest):
        return 0
    folder = store.path(digest)
    report = json.loads((folder / "report.json").read_bytes())
    headline(report)
    print(f"Report: {short(folder / 'report.html')}")
    print(f"MLflow and Prefect pages: karma ui --workspace {workspace}")
    gate = recipe.gates.reward_beats_length
    sentences = unmet(report) if gate != "off" else []
    for sentence in sentences:
        print(f"gate reward_beats_length: {sentence}")
    return 3 if sentences and gate == "fail" else 0


def headline(report: dict[str, Any]) -> None:
    """Conditions where there are seeds enough for them, else models, by benchmark; as many columns
    side by side as the terminal is wide."""
    rows, names = report["conditions"] or report["headline"]["rows"], report["headline"]["columns"]
    first = max((len(row["model"]) for row in rows), default=0)
    beside = max(1, (shutil.get_terminal_size((120, 24)).columns - first) // (WIDE + 1))
    for part in (names[i : i + beside] for i in range(0, len(names), beside)):
        print(" " * first, *(f"{name[:WIDE]:>{WIDE}}" for name in part))
        for row in rows:
            print(f"{row['model']:<{first}}", *(_cell(row["cells"].get(name)) for name in part))


def _cell(cell: dict[str, float] | None) -> str:
    if cell is None or cell.get("value") is None:
        return f"{'—':>{WIDE}}"
    if cell.get("low") is None:
        return f"{cell['value']:>{WIDE}.3f}"
    return f"{cell['value']:.3f} [{cell['low']:.2f},{cell['high']:.2f}]".rjust(WIDE)
