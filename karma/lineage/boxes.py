"""The graph as the report draws it: seeds and ranges of one kind are one box."""

from collections.abc import Iterable
from typing import Any

from karma.nodes import Node


def boxes(nodes: Iterable[Node]) -> list[dict[str, Any]]:
    """A box for each kind of node: its ``name``, the ``count`` of nodes, and the boxes it is
    ``from``."""
    found: dict[str, dict[str, Any]] = {}
    for node in nodes:
        box = found.setdefault(_kind(node.id), {"name": _kind(node.id), "count": 0, "from": []})
        box["count"] += 1
        above = {_kind(name) for name in node.inputs.values()} - {box["name"]}
        box["from"] = sorted({*box["from"], *above})
    return list(found.values())


def _kind(instance: str) -> str:
    """An instance's id without what tells it from others of its kind."""
    stage, *parts = instance.split("/")
    if stage == "evals":
        return f"evals/{parts[-1]}"
    if stage in ("sft", "reward", "policy"):
        return "/".join([stage, *parts[:-1]])
    return instance if stage in ("prompts", "labels") else stage
