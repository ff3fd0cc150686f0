"""The nodes of ``evals``: every model on every benchmark and task, and the swap probes."""

from pathlib import Path
from typing import Any

from karma.evals.catalogue import BENCHMARKS
from karma.evals.recipe import harness_name
from karma.inputs import chosen
from karma.nodes import STAGES, Node, beside
from karma.recipe import Recipe
from karma.reward.recipe import declared

SWAP = "swap"


def models(recipe: Recipe) -> list[str]:
    """The ids of the models that are evaluated: base, every sft, every policy."""
    found = ["base"]
    found += [f"sft/{e}/{s}" for e in recipe.exposures for s in recipe.seeds]
    found += [
        f"policy/{e}/{v}/{s}"
        for e in recipe.exposures
        for v in recipe.policy_variants
        for s in recipe.seeds
    ]
    return found


def cells(recipe: Recipe, known: set[str]) -> list[Node]:
    """Every model on every benchmark; ``known`` are the nodes that there are already."""
    names = [n for n in chosen(recipe) if not BENCHMARKS[n].files or f"benchmark/{n}" in known]
    return [
        cell
        for model in models(recipe)
        for cell in (
            *(_cell(recipe, model, name) for name in names),
            *(_harness(recipe, model, task) for task in recipe.evals.lm_eval),
        )
    ]


def _cell(recipe: Recipe, model: str, name: str) -> Node:
    entry = BENCHMARKS[name]
    parts = model.split("/")
    seed = int(parts[-1]) if len(parts) > 1 else recipe.seeds[0]
    inputs = {"model": model}
    if entry.files:
        inputs["data"] = f"benchmark/{name}"
    if entry.prompts:
        inputs["prompts"] = f"prompts/{parts[1] if len(parts) > 1 else 'reddit'}"
    if entry.rewards:
        inputs |= {"gold": f"reward/gold/{seed}", "base": "base"}
        if parts[0] == "policy":
            inputs["reward"] = f"reward/{parts[2]}/{seed}"
    settings = recipe.evals.result()
    settings = {field: settings[field] for field in entry.settings}
    classifier = recipe.evals.toxicity.classifier
    if "toxicity" in settings and classifier is not None and classifier.folder is not None:
        inputs["classifier"] = "source/toxicity_classifier"
        settings["toxicity"]["classifier"]["folder"] = ""
    if "toxicity" in settings and recipe.evals.toxicity.rows is not None:
        inputs["rows"] = "source/toxicity_rows"
        settings["toxicity"]["rows"] = ""  # what it holds counts, not where it lies
    config: dict[str, Any] = {"evals": settings, "benchmark": name, "module": entry.module}
    config |= {"seed": seed, **_point(recipe, model)}
    if name in recipe.evals.hub:
        assert entry.hub is not None, "the recipe is checked"
        config["hub"] = {**entry.hub._asdict(), "name": recipe.evals.hub[name]}
    return Node(
        f"evals/{model}/{name}",
        inputs=inputs,
        manner={"evals": recipe.evals.manner()},
        config=config,
        job=STAGES["evals"].job,
        modules=(entry.module,),
        files=beside(f"karma/evals/templates/{name}"),
    )


def _point(recipe: Recipe, model: str) -> dict[str, str]:
    """Which of a policy's kept models is asked, if it is not the last one."""
    chosen = recipe.policy.evaluate
    if chosen == "final" or not model.startswith("policy/"):
        return {}
    return {"point": f"kl/{chosen:g}"}


def swaps(recipe: Recipe, dumps: list[Node], threads: dict[str, str]) -> list[Node]:
    """The swap probe of every learnt reward that a policy is tuned on, where the truth is known."""
    if not any(dump.config["simulated"] for dump in dumps):
        return []
    kinds = {v: declared(v, recipe.reward.variants)["kind"] for v in recipe.policy_variants}
    return [
        Node(
            f"evals/reward/{variant}/{seed}/{SWAP}",
            inputs={"model": f"reward/{variant}/{seed}", "data": "source/truth", **threads},
            config={"evals": {}, "benchmark": SWAP},
            job="karma.evals.swap:run",
        )
        for variant, kind in kinds.items()
        for seed in recipe.seeds
        if kind in ("model", "sum")
    ]


def _harness(recipe: Recipe, model: str, task: str) -> Node:
    """One model on one task of the harness."""
    name, settings = harness_name(task), recipe.evals.result()
    return Node(
        f"evals/{model}/{name}",
        inputs={"model": model, "data": f"benchmark/{name}"},
        manner={"evals": recipe.evals.manner()},
        config={
            "evals": {field: settings[field] for field in ("items", "chat")},
            "benchmark": name,
            "task": Path(task).name,
            **_point(recipe, model),
        },
        job="karma.evals.harness:run",
        more_libraries=("lm_eval", "pyyaml"),
    )
