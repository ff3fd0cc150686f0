"""What it means that a record was accepted, for those who read it; ``accept`` makes one."""

from dataclasses import replace
from typing import Any

from karma.nodes import Node

Acceptance = dict[str, Any]
"""``from`` (a key), ``causes``, ``because``, ``at`` (UTC), ``by``."""


def origin(record: dict[str, Any]) -> str:
    """The key under which a job really made what a record points to."""
    steps: list[Acceptance] = record.get("accepted", [])
    return str(steps[0]["from"] if steps else record["key"])


def told(node: Node, accepted: dict[str, list[Acceptance]]) -> Node:
    """A node as it is built: the report tells what was accepted of all that is behind it."""
    if node.stage != "report" or not accepted:
        return node
    return replace(node, config={**node.config, "accepted": accepted})


def reasons(steps: list[Acceptance]) -> str:
    """Why an artefact stands for a key that did not make it, the latest step last."""
    return "; ".join(f"{step['because']} ({step['by']}, {step['at'][:10]})" for step in steps)
