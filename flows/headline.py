"""What a run ends with: the report's headline, where to look, and the gates."""

import json
from pathlib import Path
from typing import Any

from flows.options import short
from karma.gates import unmet
from karma.recipe import Recipe
from karma.store import Store


def conclude(recipe: Recipe, digest: str | None, store: Store, workspace: Path) -> int:
    """Print the report's headline, its path and where to look; 0, or 3 if a gate was not met."""
    if digest is None or not store.fetch(digest):
        return 0
    folder = store.path(digest)
    report = json.loads((folder / "report.json").read_bytes())
    _headline(report["headline"])
    print(f"Report: {short(folder / 'report.html')}")
    print(f"MLflow and Prefect pages: karma ui --workspace {workspace}")
    gate = recipe.gates.reward_beats_length
    sentences = unmet(report) if gate != "off" else []
    for sentence in sentences:
        print(f"gate reward_beats_length: {sentence}")
    return 3 if sentences and gate == "fail" else 0


def _headline(table: dict[str, Any]) -> None:
    width = max((len(row["model"]) for row in table["rows"]), default=0)
    print(" " * width, *(f"{name[:16]:>18}" for name in table["columns"]))
    for row in table["rows"]:
        cells = [_cell(row["cells"].get(name)) for name in table["columns"]]
        print(f"{row['model']:<{width}}", *cells)


def _cell(cell: dict[str, float] | None) -> str:
    if cell is None or cell.get("value") is None:
        return f"{'—':>18}"
    if cell.get("low") is None:
        return f"{cell['value']:>18.3f}"
    return f"{cell['value']:.3f} [{cell['low']:.2f},{cell['high']:.2f}]".rjust(18)
