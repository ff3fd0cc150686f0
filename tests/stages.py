"""Runs the stages of a recipe up to some instances, in this process and without a store."""

import json
from collections.abc import Callable
from pathlib import Path

from karma.dag import Dag, build
from karma.jobs import call
from karma.nodes import STAGES, Extent, Node
from karma.recipe import Recipe


def make(recipe: Recipe, root: Path, wanted: Callable[[str], bool]) -> dict[str, Path]:
    """The folders of the instances whose id is ``wanted``, each below ``root`` by its id.

    What lies there already is taken as it is, so that another recipe with the same data can go on
    from it, and an interrupted call too.
    """
    dag = build("made", recipe)
    folders: dict[str, Path] = {}
    for node in dag.nodes.values():
        if node.stage == "dumps":
            _need(dag, node, root, folders, recipe.compute)
    dumps = {name: folder for name, folder in folders.items() if name.startswith("dumps/")}
    dag = build("made", recipe, {name: _extent(folder) for name, folder in dumps.items()})
    for node in dag.nodes.values():
        if wanted(node.id):
            _need(dag, node, root, folders, recipe.compute)
    return {name: folder for name, folder in folders.items() if wanted(name)}


def _extent(folder: Path) -> Extent:
    profile = json.loads((folder / "profile.json").read_bytes())
    return Extent(tuple(sorted(profile["ranges"])), *profile["months"])


def _need(dag: Dag, node: Node, root: Path, folders: dict[str, Path], compute: str) -> None:
    """Make a node, what it is made from first."""
    if node.id in folders:
        return
    for name in node.inputs.values():
        _need(dag, dag.nodes[name], root, folders, compute)
    if node.source is not None:
        if node.source.member:
            folders[node.id] = folders["world"] / node.source.member
        elif node.source.path is not None:
            folders[node.id] = node.source.path.absolute()
        return
    out = folders[node.id] = root / node.id.replace("/", "__")
    if out.exists():
        return
    begun = root / "begun" / out.name
    begun.mkdir(parents=True, exist_ok=True)
    scratch = root / "scratch" / out.name
    scratch.mkdir(parents=True, exist_ok=True)
    spec = {
        "job": node.job,
        "config": node.job_config,
        "inputs": {role: str(folders[name]) for role, name in node.inputs.items()},
        "compute": compute if STAGES[node.stage].trained else "cpu",
    }
    call(spec, begun, scratch)
    begun.rename(out)
