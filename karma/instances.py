"""An instance of a DAG by its name, and what to say where there is none."""

import difflib

from karma.dag import Dag
from karma.errors import RecipeError
from karma.nodes import Node

NAMED = 3  # instances that a message names


def find(dag: Dag, instance: str) -> Node:
    """The node with this id. Raises RecipeError naming the nearest ones, or those of a stage."""
    below = [n.id for n in dag.nodes.values() if n.stage == instance and n.source is None]
    if instance not in dag.nodes and below:
        raise RecipeError(f"instance {instance}", "it is a stage", one_of(below))
    if instance not in dag.nodes:
        raise RecipeError(
            f"instance {instance}", "the recipe has none of that name", nearest(dag, instance)
        )
    return dag.nodes[instance]


def one_of(instances: list[str]) -> str:
    """What to do where a stage is named and one of its instances is meant."""
    more = ", ..." if len(instances) > NAMED else ""
    return f"Name one of its instances: {', '.join(instances[:NAMED])}{more}."


def nearest(dag: Dag, name: str) -> str:
    """What to do about a name that the recipe does not have."""
    stages = {node.stage: None for node in dag.nodes.values() if node.source is None}
    known = dict.fromkeys([*stages, *dag.nodes])  # a stage of one instance has its name
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3)
    return f"Near ones: {', '.join(near)}." if near else "Run karma plan to list them."
