"""What MLflow is told of a run: its parent, each stage that ran, its end."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karma.acceptance import reasons
from karma.nodes import STAGES, Node
from karma.store import read_json

if TYPE_CHECKING:
    from tasks.stage import Run

DIGEST = 16  # characters of a digest that MLflow's pages show
# What a person reads of an artefact; MLflow gets a copy of each that is small.
READABLE = ("profile.json", "card.md", "*.png")
SMALL = 1 << 20  # bytes


def _now() -> int:
    return int(time.time() * 1000)


def begin(run: "Run") -> dict[str, Any]:
    """The parent run."""
    return {
        "kind": "parent",
        "experiment": run.dag.recipe,
        "name": f"{run.dag.recipe} {time.strftime('%Y-%m-%d %H:%M')}",
        "keys": [run.id],
        "start": _now(),
        "end": _now(),
        "tags": {"recipe": run.dag.recipe, "stage": "pipeline"},
        "params": flat(run.dag.settings.model_dump(mode="json")),
    }


def stage(run: "Run", node: Node, record: dict[str, Any]) -> dict[str, Any]:
    """A child run: one stage instance that ran."""
    folder = run.store.path(record["digest"])
    start = int(record["began"] * 1000)
    numbers = read_json(folder / "metrics.json") or {}
    usage = {f"usage/{n}": record[n] for n in ("seconds", "cpu_seconds", "peak_mib")}
    return {
        "kind": "stage",
        "experiment": run.dag.recipe,
        "parent": run.id,
        "name": node.id,
        "keys": [record["key"]],
        "start": start,
        "end": start + int(record["seconds"] * 1000),
        "status": "FINISHED",
        "tags": {**tags(run, node), "key": record["key"], "digest": record["digest"]},
        "params": flat(node.config) if node.stage != "report" else {},
        "metrics": {name: {"value": value} for name, value in {**numbers, **usage}.items()},
        "series": str(folder / "log" / record["key"] / "metrics.jsonl"),
        "datasets": datasets(run, node, record),
        "models": [_key(run, n) for n in node.inputs.values() if _makes(run, n) == "model"],
        "makes": STAGES[node.stage].makes,
        # The report's files are attached to the parent run.
        "artifacts": readable(folder) if node.stage != "report" else [],
        "path": str(folder),
        "upstream": [(n, _key(run, n)) for n in node.inputs.values()],
    }


def evaluation(run: "Run", node: Node, record: dict[str, Any]) -> dict[str, Any]:
    """One benchmark of a model's child run; the journal joins those of one model.

    Each score is tied to the model and to the data set.
    """
    model, benchmark = node.inputs["model"], node.config["benchmark"]
    source = node.inputs.get("data", node.inputs.get("prompts", ""))
    digest = run.outcomes[source].digest[:DIGEST]
    numbers = read_json(run.store.path(record["digest"]) / "metrics.json") or {}
    start = int(record["began"] * 1000)
    return {
        "kind": "stage",
        "experiment": run.dag.recipe,
        "parent": run.id,
        "name": f"evals/{model}",
        "keys": [record["key"]],
        "start": start,
        "end": start + int(record["seconds"] * 1000),
        "status": "FINISHED",
        "tags": {**tags(run, node), "digest": run.outcomes[model].digest},
        "params": flat(node.config["evals"]),
        "metrics": {
            f"{benchmark}/{name}": {"value": value, "dataset": source, "digest": digest}
            for name, value in numbers.items()
        },
        "datasets": [_dataset(source, digest, source, "evaluation", {})],
        "models": [_key(run, model)],
        "makes": "scores",
        "upstream": [[name, _key(run, name)] for name in sorted(set(node.inputs.values()))],
    }


def end(run: "Run", status: str, note: str, artifacts: list[str]) -> dict[str, Any]:
    """The end of the parent run; what was cached is listed with links to the runs that made it."""
    made = [(n, o.origin) for n, o in run.outcomes.items() if o.key]
    cached = [(n, origin) for n, origin in made if not run.outcomes[n].ran]
    accepted = run.accepted()
    if accepted:
        note += "\n\nAccepted, not made anew:\n"
        note += "\n".join(f"- {name}: {reasons(steps)}" for name, steps in accepted.items())
    return {
        "kind": "end",
        "keys": [run.id],
        "end": _now(),
        "status": status,
        "note": note + ("\n\nCached:\n" if cached else ""),
        "cached": cached,
        "instances": made,
        "recipe": run.dag.recipe,
        "artifacts": artifacts,
    }


def killed(run: "Run") -> dict[str, Any]:
    """The end of a parent run whose process died; when is not known, so it is when MLflow hears."""
    return {
        "kind": "end",
        "keys": [run.id],
        "end": None,
        "status": "KILLED",
        "note": "It ended before it was done; the next run goes on from what it made.",
        "cached": [],
        "artifacts": [],
    }


def readable(folder: Path) -> list[str]:
    """The small files of an artefact that are for people: profiles, cards and their figures."""
    found = [path for pattern in READABLE for path in sorted(folder.glob(pattern))]
    return [str(path) for path in found if path.stat().st_size <= SMALL]


def datasets(run: "Run", node: Node, record: dict[str, Any]) -> list[dict[str, Any]]:
    """The data sets that a stage read, and the one that it made."""
    found = [
        _dataset(n, run.outcomes[n].digest[:DIGEST], _place(run, n), "input", {})
        for n in dict.fromkeys(node.inputs.values())
        if n in run.outcomes and _makes(run, n) == "data"
    ]
    if STAGES[node.stage].makes == "data":
        folder = run.store.path(record["digest"])
        profile = read_json(folder / "metrics.json") or {}
        digest = record["digest"][:DIGEST]
        found.append(_dataset(node.id, digest, str(folder), "output", profile))
    return found


def _dataset(
    name: str, digest: str, source: str, context: str, profile: dict[str, Any]
) -> dict[str, Any]:
    return {
        "name": name,
        "digest": digest,
        "source": source,
        "context": context,
        "profile": profile,
    }


def _makes(run: "Run", name: str) -> str:
    node = run.dag.nodes[name]
    return "data" if node.source else STAGES[node.stage].makes


def _place(run: "Run", name: str) -> str:
    source = run.dag.nodes[name].source
    if source is None:
        return str(run.store.path(run.outcomes[name].digest))
    return source.revision or source.member or str(source.path)


def _key(run: "Run", name: str) -> str:
    return run.outcomes[name].origin if name in run.outcomes else ""


def tags(run: "Run", node: Node) -> dict[str, str]:
    """What a person filters runs by."""
    parts = node.id.split("/")
    found = {"recipe": run.dag.recipe, "stage": node.stage}
    if node.stage == "evals":
        parts = parts[1:-1]
    if parts[0] == "policy":
        found |= dict(zip(("exposure", "variant", "seed"), parts[1:], strict=True))
        found["algorithm"] = run.dag.settings.policy.algorithm
    elif parts[0] == "reward":
        found |= dict(zip(("variant", "seed"), parts[1:], strict=True))
    elif parts[0] == "sft":
        found |= dict(zip(("exposure", "seed"), parts[1:], strict=True))
    elif parts[0] == "prompts":
        found["exposure"] = parts[1]
    return found


def flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as ``a.b`` to value."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
