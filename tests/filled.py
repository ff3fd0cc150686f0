"""A workspace in which every instance of a recipe was built, without running the stages.

What the plan says depends on records and files only, so each instance gets a small artefact of its
own: the mechanism is tested in seconds, the stages in their own tests.
"""

import json
from pathlib import Path

from karma.dag import BENCHMARKS, fingerprint
from karma.evals.formats import globs
from karma.nodes import Node
from karma.plan import FRESH, plan
from karma.recipe import Recipe
from karma.store import Store
from karma.world.recipe import COMMENTS, SUBMISSIONS, TRUTH

EMPTY: dict = {
    "headline": {"columns": [], "about": {}, "rows": []},
    "conditions": [],
    "rewards": [],
    "policies": [],
    "family": {"benchmarks": []},
}
RANGES = ["0-200000", "200000-400000"]


def fill(store: Store, name: str, recipe: Recipe, report: dict | None = None) -> None:
    """Build whatever is not fresh, until everything is; ``report`` is what its report says."""
    while True:
        made = plan(name, recipe, store)
        ready = [e for e in made.entries.values() if e.state != FRESH and e.key is not None]
        if not ready:
            return
        for entry in ready:
            above = {r: made.entries[n].digest for r, n in entry.node.inputs.items()}
            document = fingerprint(entry.node, recipe, {r: d or "" for r, d in above.items()})
            build(store, name, entry.node, entry.key, document, report)


def build(
    store: Store, name: str, node: Node, key: str, document: dict, report: dict | None = None
) -> None:
    out = store.begin(key) / "out"
    for file in _files(node):
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (out / file).write_text(json.dumps([file, node.config, document["input"]]))
    if node.stage == "report":
        # What the command prints, and MLflow's registry is told, when nothing ran.
        (out / "report.json").write_text(json.dumps(report or EMPTY))
    facts = {"fingerprint": document, "seconds": 1.0, "peak_mib": 64, "began": 0.0}
    if node.stage == "dumps":
        facts |= {"ranges": RANGES, "months": ["2023-01", "2023-01"]}
    record = store.commit(node.stage, key, facts)
    store.set_ref(name, node.id, key, record["digest"])


def _files(node: Node) -> list[str]:
    if node.stage != "world":
        return ["data.parquet"]
    patterns = [pattern for entry in BENCHMARKS.values() for pattern in entry.files]
    benchmarks = [f"benchmarks/{globs(pattern)[0].replace('*', 'x')}" for pattern in patterns]
    return [COMMENTS, SUBMISSIONS, TRUTH, "base_text.jsonl", "instructions.json", *benchmarks]


SMOKE = Path(__file__).parents[1] / "flows" / "recipes" / "smoke.yaml"
