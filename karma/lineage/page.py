"""A lineage as lines for a terminal, and as one HTML page with the graph drawn, for a browser.

The page needs nothing from elsewhere and runs no script; it is attached to the MLflow run, because
MLflow draws no graph. Evaluations of one model are one box, and so are the ranges of threads,
unless they are what was asked for; the table below the drawing names every instance.
"""

import html
from typing import Any

from karma.acceptance import reasons

Document = dict[str, Any]
Place = tuple[int, int]

COLUMN, ROW, WIDTH, HEIGHT = 230, 30, 200, 22  # pixels of the drawing
LETTERS = 32  # that fit in a box
COLORS = {
    "FRESH": "#2e7d32",
    "STALE": "#c77700",
    "MISSING": "#c77700",
    "PENDING": "#78909c",
    "FAILED": "#c62828",
}
STYLE = (
    "body{font:14px system-ui,sans-serif;margin:24px;color:#222;background:#fff}"
    "text{font:11px system-ui,sans-serif}path{fill:none;stroke:#b0bec5;stroke-width:1}"
    "rect{fill:#fff;stroke-width:1.4}.focus rect{fill:#e3f2fd;stroke-width:2.6}"
    "table{border-collapse:collapse;margin-top:24px}td,th{text-align:left;padding:3px 14px 3px 0;"
    "vertical-align:top;border-bottom:1px solid #eceff1}code{font-size:12px}"
    ".scroll{overflow-x:auto}"
)
SIDES = {"up": "made from", "self": "", "down": "made of it"}


def text(document: Document) -> list[str]:
    """Lines: what it was made from, itself, what was made from it; files with bytes and SHA-256."""
    lines: list[str] = []
    last = None
    for node in sorted(document["nodes"], key=lambda node: list(SIDES).index(node["side"])):
        title = SIDES[node["side"]] if document["focus"] else ""
        if title and node["side"] != last:
            lines.append(f"{title}:")
        last = node["side"]
        lines += _lines(node)
    if document.get("elsewhere"):
        lines.append("made of it under other recipes and settings:")
        for node in document["elsewhere"]:
            lines += _lines(node)
    return lines


def _lines(node: Document) -> list[str]:
    state, digest = node["state"] or node["recipe"], (node["digest"] or "")[:16]
    told = f"  accepted: {reasons(node['accepted'])}" if "accepted" in node else ""
    lines = [f"  {state:<8} {node['id']:<44} {digest}{told}".rstrip()]
    return lines + [f"           {_file(file)}" for file in node.get("files", [])]


def _file(file: Document) -> str:
    return f"{file['path']}  {file['bytes']} bytes  sha256 {file['sha256'] or 'not hashed yet'}"


def page(document: Document) -> str:
    """The page of a graph: a drawing, and a table of all its instances."""
    name = document["focus"] or document["recipe"]
    drawn = _drawing(document)
    rows = "".join(_row(node) for node in [*document["nodes"], *document.get("elsewhere", [])])
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>Lineage of {html.escape(name)}</title><style>{STYLE}</style>"
        f"<h1>Lineage of {html.escape(name)}</h1>"
        "<p>Inputs on the left, what was made from them on the right. Point at a box for what it "
        "holds; the table has every instance, and every file with its bytes and SHA-256.</p>"
        f"<div class=scroll>{drawn}</div><table><tr><th>Instance<th>State<th>Digest<th>Notes</tr>"
        f"{rows}</table></html>\n"
    )


def _row(node: Document) -> str:
    notes = [_file(file) for file in node.get("files", [])]
    if "accepted" in node:
        notes.append(f"accepted: {reasons(node['accepted'])}")
    told = "<br>".join(html.escape(note) for note in notes)
    state = html.escape(node["state"] or node["recipe"])
    return (
        f"<tr><td>{html.escape(node['id'])}<td>{state}<td><code>{node['digest'] or ''}</code>"
        f"<td>{told}</tr>"
    )


def _drawing(document: Document) -> str:
    """The graph as SVG; boxes of several instances have the worst of their states."""
    boxes: dict[str, list[Document]] = {}
    box_of = {}
    for node in document["nodes"]:
        box_of[node["id"]] = _box_name(node, document["focus"])
        boxes.setdefault(box_of[node["id"]], []).append(node)
    edges = {(box_of[e["from"]], box_of[e["to"]]) for e in document["edges"]}
    edges = {(above, name) for above, name in edges if above != name}
    places = _places(list(boxes), edges)
    width = COLUMN * (1 + max(column for column, _ in places.values()))
    height = ROW * (1 + max(row for _, row in places.values())) + 8
    lines = "".join(_edge(places[above], places[name]) for above, name in sorted(edges))
    drawn = "".join(_box(n, those, places[n], document["focus"]) for n, those in boxes.items())
    return f"<svg width={width} height={height} role=img>{lines}{drawn}</svg>"


def _box_name(node: Document, focus: str | None) -> str:
    """The box that an instance stands in."""
    stage, _, rest = node["id"].partition("/")
    if node["id"] == focus:
        return str(node["id"])
    if stage == "evals":
        return f"evals/{rest.rpartition('/')[0]}"
    if stage == "benchmark" or (stage == "threads" and rest and not rest.startswith("signatures")):
        return str(stage)
    return str(node["id"])


def _places(names: list[str], edges: set[tuple[str, str]]) -> dict[str, Place]:
    """Column and row of each box: one to the right of its inputs, at about their height.

    ``names`` are in an order in which inputs come first.
    """
    above: dict[str, list[str]] = {name: [] for name in names}
    for source, name in sorted(edges):
        above[name].append(source)
    columns: dict[str, int] = {}
    while len(columns) < len(names):
        for name in names:
            if name not in columns and all(source in columns for source in above[name]):
                columns[name] = 1 + max((columns[source] for source in above[name]), default=-1)
    places: dict[str, Place] = {}
    for column in range(1 + max(columns.values())):
        here = [name for name in names if columns[name] == column]
        heights = {n: [places[source][1] for source in above[n]] for n in here}
        here.sort(key=lambda n: sum(heights[n]) / len(heights[n]) if heights[n] else 0.0)
        places |= {name: (column, row) for row, name in enumerate(here)}
    return places


def _edge(start: Place, end: Place) -> str:
    x1, y1 = start[0] * COLUMN + WIDTH, start[1] * ROW + HEIGHT // 2 + 4
    x2, y2 = end[0] * COLUMN, end[1] * ROW + HEIGHT // 2 + 4
    middle = (x1 + x2) // 2
    return f'<path d="M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"/>'


def _box(name: str, nodes: list[Document], place: Place, focus: str | None) -> str:
    x, y = place[0] * COLUMN, place[1] * ROW + 4
    label = nodes[0]["id"] if len(nodes) == 1 else f"{name} ×{len(nodes)}"
    label = label if len(label) <= LETTERS else f"{label[: LETTERS - 1]}…"
    told = (f"{n['id']}: {n['state'] or n['recipe']}, {n['digest'] or 'no digest'}" for n in nodes)
    states = {node["state"] for node in nodes}
    worst = next((COLORS[state] for state in reversed(COLORS) if state in states), "#5b6570")
    return (
        f"<g{' class=focus' if name == focus else ''}><title>{html.escape(chr(10).join(told))}"
        f'</title><rect x="{x + 1}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="4" '
        f'stroke="{worst}"/><text x="{x + 7}" y="{y + 15}">{html.escape(label)}</text></g>'
    )
