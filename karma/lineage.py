"""The graph behind an artefact: up to the files that it was made from, down to what was made of it.

Text for the terminal, a document for programs, and one HTML page with the graph drawn in SVG, which
is attached to the MLflow run because MLflow draws no graph.
"""

import html
from typing import Any

from karma.dag import Dag
from karma.plan import Plan

COLUMN, ROW, WIDTH, HEIGHT = 230, 30, 200, 22  # pixels of the drawing

COLORS = {
    "FRESH": "#2e7d32",
    "STALE": "#c77700",
    "MISSING": "#c77700",
    "PENDING": "#78909c",
    "FAILED": "#c62828",
}


def above(dag: Dag, instance: str) -> list[str]:
    """Everything that ``instance`` was made from, itself included, inputs first."""
    wanted: set[str] = set()
    waiting = [instance]
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting.extend(dag.nodes[name].inputs.values())
    return [name for name in dag.nodes if name in wanted]


def below(dag: Dag, instance: str) -> list[str]:
    """Everything that was made from ``instance``, without itself, in order."""
    wanted = {instance}
    for node in dag.nodes.values():
        if wanted.intersection(node.inputs.values()):
            wanted.add(node.id)
    return [name for name in dag.nodes if name in wanted and name != instance]


def document(plan: Plan, names: list[str]) -> dict[str, Any]:
    """The part of the graph that ``names`` span: nodes with state and digest, and edges."""
    chosen = set(names)
    nodes = []
    for name in names:
        entry = plan.entries[name]
        node: dict[str, Any] = {"id": name, "stage": entry.node.stage, "state": entry.state}
        node |= {"key": entry.key, "digest": entry.digest}
        if entry.node.source is not None:
            node["files"] = [
                {"path": str(path), "bytes": path.stat().st_size if path.exists() else None}
                for path in entry.node.source.files
            ]
        nodes.append(node)
    edges = [
        {"from": above, "to": name, "role": role}
        for name in names
        for role, above in plan.dag.nodes[name].inputs.items()
        if above in chosen
    ]
    return {"schema": 1, "recipe": plan.dag.recipe, "nodes": nodes, "edges": edges}


def reaches_reddit_only_through_reward(dag: Dag) -> list[str]:
    """Unexposed instances that reach the threads by another way than ``reward``: none, or an error.

    An unexposed policy learns from Reddit text only through its reward model (and a critic that
    started from it).
    """
    guilty = []
    for node in dag.nodes.values():
        if "unexposed" not in node.id.split("/") or node.stage not in ("sft", "policy", "prompts"):
            continue
        waiting, seen = list(node.inputs.values()), set()
        while waiting:
            name = waiting.pop()
            if name in seen or name.startswith("reward/"):
                continue
            seen.add(name)
            if name.split("/")[0] in ("threads", "dumps"):
                guilty.append(node.id)
                break
            waiting.extend(dag.nodes[name].inputs.values())
    return guilty


def page(plan: Plan) -> str:
    """The whole graph as one HTML page that needs nothing from elsewhere."""
    places = _places(plan.dag)
    width = COLUMN * (1 + max(column for column, _ in places.values()))
    height = ROW * (2 + max(row for _, row in places.values()))
    edges = "".join(
        _edge(places[above], places[node.id])
        for node in plan.dag.nodes.values()
        for above in dict.fromkeys(node.inputs.values())
    )
    boxes = "".join(_box(plan, name, place) for name, place in places.items())
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>Lineage of {html.escape(plan.dag.recipe)}</title>"
        "<style>body{font:14px system-ui,sans-serif;margin:24px;color:#222;background:#fff}"
        "text{font:11px system-ui,sans-serif}path{fill:none;stroke:#b0bec5;stroke-width:1}"
        "rect{fill:#fff;stroke-width:1.4}</style>"
        f"<h1>Lineage of {html.escape(plan.dag.recipe)}</h1>"
        "<p>Inputs on the left, the report on the right. Point at a box for its digest.</p>"
        f"<svg width={width} height={height} role=img>{edges}{boxes}</svg></html>\n"
    )


def _places(dag: Dag) -> dict[str, tuple[int, int]]:
    """Column and row of each node: one to the right of its inputs, in order of appearance."""
    depth: dict[str, int] = {}
    rows: dict[int, int] = {}
    places = {}
    for node in dag.nodes.values():
        depth[node.id] = 1 + max((depth[name] for name in node.inputs.values()), default=-1)
        row = rows.get(depth[node.id], 0)
        rows[depth[node.id]] = row + 1
        places[node.id] = (depth[node.id], row)
    return places


def _edge(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1 = start[0] * COLUMN + WIDTH, start[1] * ROW + HEIGHT // 2 + 4
    x2, y2 = end[0] * COLUMN, end[1] * ROW + HEIGHT // 2 + 4
    middle = (x1 + x2) // 2
    return f'<path d="M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"/>'


def _box(plan: Plan, name: str, place: tuple[int, int]) -> str:
    entry = plan.entries[name]
    x, y = place[0] * COLUMN, place[1] * ROW + 4
    label = name if len(name) <= 34 else name[:33] + "…"
    title = f"{name}: {entry.state}, digest {entry.digest or 'none'}"
    return (
        f'<g><title>{html.escape(title)}</title><rect x="{x}" y="{y}" width="{WIDTH}" '
        f'height="{HEIGHT}" rx="4" stroke="{COLORS[entry.state]}"/>'
        f'<text x="{x + 6}" y="{y + 15}">{html.escape(label)}</text></g>'
    )
