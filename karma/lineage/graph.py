"""The graph behind an artefact: up to the files that it was made from, down to what was made of it.

    a recipe's graph    from its plan: every instance, with the state that it is in
    elsewhere           from the store's records (``ancestry``): other recipes, earlier settings

One document for both, which text, JSON and the drawn page (``page``) show.
"""

from typing import Any

from karma.dag import Dag
from karma.lineage.ancestry import Ancestry
from karma.nodes import Node, reached
from karma.plan import Entry, Plan, counts
from karma.store import Store

Document = dict[str, Any]


def above(dag: Dag, instance: str) -> list[str]:
    """Everything that ``instance`` was made from, itself included, inputs first."""
    wanted = reached(instance, lambda name: dag.nodes[name].inputs.values())
    return [name for name in dag.nodes if name in wanted]


def below(dag: Dag, instance: str) -> list[str]:
    """Everything that was made from ``instance``, without itself, in order."""
    wanted = {instance}
    for node in dag.nodes.values():
        if wanted.intersection(node.inputs.values()):
            wanted.add(node.id)
    return [name for name in dag.nodes if name in wanted and name != instance]


def document(plan: Plan, store: Store, focus: str | None = None) -> Document:
    """The whole graph of a plan, or what is above and below ``focus``: nodes with state, digest and
    files, and edges. What was made from ``focus`` elsewhere stands apart, without edges.
    """
    up = set(above(plan.dag, focus)) if focus else set(plan.dag.nodes)
    spanned = up | set(below(plan.dag, focus)) if focus else up
    names = [name for name in plan.dag.nodes if name in spanned]
    edges = [
        {"from": source, "to": name, "role": role}
        for name in names
        for role, source in plan.dag.nodes[name].inputs.items()
        if source in names
    ]
    nodes = [_node(plan, store, name, focus, up) for name in names]
    found: Document = {"schema": 1, "recipe": plan.dag.recipe, "focus": focus}
    found |= {"nodes": nodes, "edges": edges}
    digest = plan.entries[focus].digest if focus else None
    if digest is not None:
        here = {entry.digest for entry in plan.entries.values()}
        found["elsewhere"] = [n for n in Ancestry(store).below(digest) if n["digest"] not in here]
    return found


def _node(plan: Plan, store: Store, name: str, focus: str | None, up: set[str]) -> Document:
    entry = plan.entries[name]
    side = "self" if name == focus else "up" if name in up else "down"
    node: Document = {"id": name, "stage": entry.node.stage, "state": entry.state}
    node |= {"key": entry.key, "digest": entry.digest, "side": side}
    if entry.node.source is not None:
        node["files"] = _files(plan, store, entry)
    return {**node, "accepted": entry.accepted} if entry.accepted else node


def _files(plan: Plan, store: Store, entry: Entry) -> list[Document]:
    """The files of an input; what was not hashed yet, or has changed since, has no SHA-256."""
    source = entry.node.source
    assert source is not None
    if source.member:
        return [
            {"path": f"{name}/{file}", "bytes": facts["size"], "sha256": facts["sha256"]}
            for name in entry.node.inputs.values()
            for file, facts in _manifest(plan, store, name).items()
            if counts(source, file)
        ]
    return [
        {"path": str(path), "bytes": path.stat().st_size, "sha256": store.known_digest(path)}
        for path in source.files
        if path.exists()
    ]


def _manifest(plan: Plan, store: Store, name: str) -> Document:
    """The files of an artefact by its record, also where they are gone."""
    entry = plan.entries[name]
    record = store.record(entry.node.stage, entry.key) if entry.key else None
    return record["files"] if record else {}


def reaches_reddit_only_through_reward(dag: Dag) -> list[str]:
    """Unexposed instances that reach the threads by another way than ``reward``: none, or an error.

    An unexposed policy learns from Reddit text only through its reward model (and a critic that
    started from it).
    """

    def inputs(name: str) -> list[str]:
        return [n for n in dag.nodes[name].inputs.values() if not n.startswith("reward/")]

    def guilty(node: Node) -> bool:
        if "unexposed" not in node.id.split("/") or node.stage not in ("sft", "policy", "prompts"):
            return False
        found = reached(node.id, inputs)
        return any(name.split("/")[0] in ("threads", "dumps") for name in found)

    return [node.id for node in dag.nodes.values() if guilty(node)]
