"""What MLflow's registry is to hold of a recipe: its reward models and policies, and the best.

One registered model a reward variant, and one an exposure and variant of policies; a version each
artefact, whatever its seed. ``best`` is chosen among the models of the recipe as it stands, by what
the report says of them: an older version was measured on other data, and its files may be gone.
``latest`` needs nothing: MLflow gives that name to the highest version. What is told is a state,
not an event: told twice, or by the next run because this one died, it comes to the same.
"""

import json
import os
import re
from typing import Any

from karma.acceptance import origin
from karma.outbox import Outbox, write
from karma.plan import FRESH, Plan
from karma.recipe import Recipe
from karma.report.goodness import goodness
from karma.store import Store, read_json, write_atomically

STAGES = ("reward", "policy")
# Of these a smaller value is better.
ERRORS = ("calibration_error",)


def tell(plan: Plan, store: Store, first: bool = True) -> list[str]:
    """Put what the registry is to hold into the outbox, if it is not what was told last.

    Without ``first`` a recipe of which nothing was ever told is left alone. Returns the registered
    models that have no best of them now, because a score is missing. Raises OSError.
    """
    models = list(_models(plan, store).values())
    path = store.root / "registry" / f"{plan.dag.recipe}.json"
    entry = {"kind": "registry", "name": "the registry", "models": models}
    entry["keys"] = [row["key"] for model in models for row in model["versions"]]
    told = read_json(path)
    if models and told != entry and (told is not None or first):
        path.parent.mkdir(exist_ok=True)
        waiting = path.with_name(f".{path.name}.{os.getpid()}")
        write(waiting, entry)
        Outbox(store.root).put(waiting)
        write_atomically(path, json.dumps(entry).encode())
    return [model["name"] for model in models if model["best"] is None]


def _models(plan: Plan, store: Store) -> dict[str, dict[str, Any]]:
    """Registered models by name, each with the versions that the recipe has of it now."""
    recipe = plan.dag.settings
    scores = _scores(plan, store)
    found: dict[str, dict[str, Any]] = {}
    for entry in plan.entries.values():
        stage = entry.node.stage
        if stage not in STAGES or entry.key is None or entry.digest is None:
            continue
        line, _, seed = entry.node.id.rpartition("/")
        name = re.sub(r"[^\w.-]", "-", f"{plan.dag.recipe}-{line}")
        model = found.setdefault(name, {"name": name, "of": line, "recipe": plan.dag.recipe})
        model["by"] = recipe.registry.reward if stage == "reward" else recipe.registry.policy
        record = {"key": entry.key, "accepted": entry.accepted}
        version: dict[str, Any] = {"key": origin(record), "instance": entry.node.id, "seed": seed}
        version |= {"digest": entry.digest, "score": scores.get(entry.node.id)}
        model.setdefault("versions", []).append(version)
    for model in found.values():
        model["best"] = _best(model)
    return found


def _best(model: dict[str, Any]) -> str | None:
    """The key of the best version, of equal ones the first; None if one was not measured."""
    scores = {row["key"]: row["score"] for row in model["versions"]}
    if None in scores.values():
        return None
    sign = -1 if model["by"] in ERRORS else 1
    return str(max(scores, key=lambda key: sign * scores[key]))


def _scores(plan: Plan, store: Store) -> dict[str, float | None]:
    """What the report says of each model by the recipe's criteria; nothing if it is not fresh."""
    entry = plan.entries["report"]
    if entry.state != FRESH or entry.digest is None:
        return {}
    report = read_json(store.path(entry.digest) / "report.json")
    if report is None:
        return {}
    recipe = plan.dag.settings
    rewards = {
        f"reward/{row['id']}": (row[recipe.registry.reward] or {}).get("value")
        for row in report["rewards"]
    }
    return rewards | _policies(report, recipe)


def _policies(report: dict[str, Any], recipe: Recipe) -> dict[str, float | None]:
    by = recipe.registry.policy
    if by == "gold":
        return {row["id"]: row["gold_last"] for row in report["policies"]}
    names = report["family"]["benchmarks"] if by == "primary" else [by]
    return {row["model"]: _mean(report, row["cells"], names) for row in report["headline"]["rows"]}


def _mean(report: dict[str, Any], cells: dict[str, Any], names: list[str]) -> float | None:
    """The mean score on some benchmarks, each turned so that more is better."""
    values = []
    for name in names:
        value = (cells.get(name) or {}).get("value")
        if value is None:
            return None
        about = report["headline"]["about"][name]
        values.append(goodness(value, about["higher_is_better"], about["ideal"]))
    return sum(values) / len(values) if values else None
