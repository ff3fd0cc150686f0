"""The lineage as a figure: what was made from what, seeds and ranges of one kind as one box."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDE, HIGH = 1.25, 0.62  # a box, in units of the grid


def draw(boxes: list[dict[str, Any]]) -> Figure | None:
    """Inputs on the left; every box stands one column to the right of what it was made from."""
    if not boxes:
        return None
    places = _places(boxes)
    columns = 1 + max(column for column, _ in places.values())
    rows = 1 + max(row for _, row in places.values())
    figure = Figure(figsize=(min(16.0, 1.7 * columns), 0.5 + 0.32 * rows), layout="constrained")
    axis = figure.subplots()
    for box in boxes:
        for above in box["from"]:
            if above in places:
                _edge(axis, places[above], places[box["name"]])
        _box(axis, box, places[box["name"]])
    axis.set_xlim(-0.1, 1.7 * (columns - 1) + WIDE + 0.1)
    axis.set_ylim(rows - 0.3, -0.5)
    axis.set_axis_off()
    return figure


def _places(boxes: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """Column and row of each box."""
    depth: dict[str, int] = {}
    taken: dict[int, int] = {}
    places = {}
    for box in boxes:
        column = 1 + max((depth[name] for name in box["from"] if name in depth), default=-1)
        depth[box["name"]] = column
        places[box["name"]] = (column, taken.get(column, 0))
        taken[column] = places[box["name"]][1] + 1
    return places


def _edge(axis: Axes, start: tuple[int, int], end: tuple[int, int]) -> None:
    xs = [1.7 * start[0] + WIDE, 1.7 * end[0]]
    axis.plot(xs, [start[1], end[1]], color="#B0BEC5", linewidth=0.7, zorder=1)


def _box(axis: Axes, box: dict[str, Any], place: tuple[int, int]) -> None:
    x, y = 1.7 * place[0], float(place[1])
    axis.fill(
        [x, x + WIDE, x + WIDE, x],
        [y - HIGH / 2, y - HIGH / 2, y + HIGH / 2, y + HIGH / 2],
        facecolor="#F4F6F8",
        edgecolor="#5B6570",
        linewidth=0.8,
        zorder=2,
    )
    many = f" ×{box['count']}" if box["count"] > 1 else ""
    axis.text(x + 0.04, y, f"{box['name']}{many}"[:26], fontsize=6.2, va="center", zorder=3)
