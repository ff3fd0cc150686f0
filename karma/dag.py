"""The DAG, described once: which instances a recipe has, what each reads, and what it depends on.

    world ─┬─ source ── dumps ── threads ─┬─ labels ─────────┐
           │                              ├─ prompts/reddit ─┼──────┐
           │                              └─ sft/reddit ─────┼──┐   │
           ├─ instructions ─┬─ prompts/unexposed ────────────┼──┼───┤
           │                └─ sft/unexposed ────────────────┼──┤   │
           ├─ base ─────────┴────────────────────────────────┴─ reward
           │                                                    │   │
           └─ benchmark ─── evals ── report            policy ──┴───┘

Three read it: ``plan`` (what is stale, and why), the flow (what to run), ``lineage`` (the graph).
``threads`` has one instance for each range of thread ids that the dumps hold, so its instances are
known only when ``dumps`` is done; ``build`` is called again then. ``labels/card``, the data card,
and ``prompts/overlap``, whether unexposed text holds Reddit's, are read by the report alone. In the
simulated world ``evals`` also asks the reward models one thing (``karma.evals.swap``).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from karma.cells import SWAP, cells, models, swaps
from karma.evals.catalogue import BENCHMARKS
from karma.fingerprint import PROJECT, code, minor, text_digest
from karma.inputs import dump_nodes, input_nodes
from karma.lineage.boxes import boxes
from karma.nodes import STAGES, Extent, Node, beside, reached, relative
from karma.policy.algorithms import ALGORITHMS
from karma.prompts.hub import pinned
from karma.recipe import Recipe
from karma.reward.recipe import declared

OVERLAP = "prompts/overlap"


@dataclass(frozen=True)
class Dag:
    """All nodes of a recipe, inputs before what reads them."""

    recipe: str
    """The recipe's name, under which the store keeps its references."""
    settings: Recipe
    nodes: dict[str, Node]
    complete: bool
    """Whether the thread ranges are known, so that nothing more will appear."""

    def on_cluster(self, node: Node) -> bool:
        """Whether Dask gets a node's job: of what fans out, if no file of this machine is read."""
        settings = self.settings
        wide = node.source is None and (STAGES[node.stage].trained or node.stage == "threads")
        if settings.runner != "dask" or node.stage in settings.pools or not wide:
            return False
        sources = (self.nodes[name].source for name in node.inputs.values())
        return not any(source and source.path and not source.member for source in sources)


def build(name: str, recipe: Recipe, extents: dict[str, Extent] | None = None) -> Dag:
    """The DAG of a recipe.

    ``extents`` gives what each ``dumps`` node holds; while it is None the ranges of thread ids are
    not known, and one node ``threads`` stands for all of them.
    """
    nodes: list[Node] = []
    nodes += input_nodes(recipe)
    nodes += dump_nodes(recipe)
    dumps = [n for n in nodes if n.stage == "dumps"]
    ranges = _threads(recipe, dumps, extents)
    nodes += _signatures(recipe, dumps)
    nodes += ranges
    threads = {n.id: n.id for n in ranges}
    nodes += _data(recipe, threads)
    nodes.append(_card(recipe, dumps, threads))
    nodes += _overlap(recipe, threads)
    nodes += _models(recipe, threads)
    nodes += cells(recipe, {n.id for n in nodes})
    nodes += swaps(recipe, dumps, threads)
    nodes.append(_report(recipe, nodes, threads))
    used = _used(nodes)
    ordered = {node.id: node for node in nodes if node.id in used}
    return Dag(name, recipe, ordered, complete=extents is not None)


def fingerprint(node: Node, recipe: Recipe, digests: dict[str, str]) -> dict[str, Any]:
    """Everything that can change what ``node`` makes; ``digests`` maps its roles."""
    stage = STAGES[node.stage]
    module = node.job.split(":")[0]
    document: dict[str, Any] = {
        "stage": node.stage,
        "job": node.job,
        "config": node.config,
        "code": _code((module, *node.modules)),
        "sql": {relative(path): text_digest(path) for path in _statements(node.stage)},
        "file": {name: text_digest(PROJECT / name) for name in node.files},
        "input": digests,
        "version": {library: minor(library) for library in node.libraries},
    }
    if stage.trained:
        document["compute"] = recipe.compute
    return document


@cache
def _code(roots: tuple[str, ...]) -> dict[str, str]:
    """The modules that some modules import, with their digests."""
    return {name: digest for root in roots for name, digest in code(root).items()}


@cache
def _statements(stage: str) -> list[Path]:
    sql = PROJECT / "sql"
    return sorted([*sql.glob(f"{stage}/*.sql"), *sql.glob(f"checks/{stage}_*.sql")])


def _used(nodes: Iterable[Node]) -> set[str]:
    """The nodes that the report needs, directly or not."""
    by_id = {node.id: node for node in nodes}
    return reached("report", lambda name: by_id[name].inputs.values())


# Threads


def _signatures(recipe: Recipe, dumps: list[Node]) -> list[Node]:
    """What tells the near-duplicates of each dump's comments."""
    settings = recipe.threads
    if settings.duplicate_chars is None:
        return []
    return [
        Node(
            _signature(dump.id),
            inputs={"dump": dump.id},
            config={
                "threads": {
                    "duplicate_chars": settings.duplicate_chars,
                    "bots": settings.bots,
                }
            },
            manner={"threads": settings.manner()},
            job="karma.threads.signatures:run",
        )
        for dump in dumps
        if dump.config["kind"] != "submissions"
    ]


def _signature(dump: str) -> str:
    return f"threads/signatures/{dump.removeprefix('dumps/')}"


def _threads(recipe: Recipe, dumps: list[Node], extents: dict[str, Extent] | None) -> list[Node]:
    config = {"threads": recipe.threads.result()}
    job = STAGES["threads"].job
    manner = {"threads": recipe.threads.manner()}
    if extents is None:
        inputs = {d.id: d.id for d in dumps}
        return [Node("threads", inputs=inputs, config=config, manner=manner, job=job)]
    spans = {span for found in extents.values() for span in found.ranges}
    signed = {s.inputs["dump"]: s.id for s in _signatures(recipe, dumps)}
    nodes = []
    for span in sorted(spans, key=_span_order):
        touching = [d.id for d in dumps if span in extents[d.id].ranges]
        last = max(extents[name].last for name in touching)
        # Later months are no part of a range that they do not touch, so they leave it as it is.
        before = {d: s for d, s in signed.items() if extents[d].first <= last}
        nodes.append(
            Node(
                f"threads/{span}",
                inputs={d: d for d in touching}
                | {f"signatures/{d.removeprefix('dumps/')}": s for d, s in before.items()},
                config={**config, "range": span},
                manner=manner,
                job=job,
            )
        )
    return nodes


def _span_order(span: str) -> tuple[int, str]:
    start = span.split("-")[0]
    return (int(start), "") if start.isdigit() else (0, span)


# Data and models


def _data(recipe: Recipe, threads: dict[str, str]) -> list[Node]:
    unexposed = recipe.prompts.unexposed
    from_hub = pinned(unexposed.instructions)
    return [
        Node(
            "labels",
            inputs=threads,
            config={"labels": recipe.labels.result()},
            job=STAGES["labels"].job,
        ),
        Node(
            "prompts/reddit",
            inputs=threads,
            config={"prompts": recipe.prompts.reddit.result()},
            job="karma.prompts.job:reddit",
        ),
        Node(
            "prompts/unexposed",
            inputs={"instructions": "instructions"},
            # Where the data lie is no part of the key, what they hold is: their digest.
            config={
                "prompts": unexposed.result(*(() if from_hub else ("instructions",))),
            },
            job="karma.prompts.job:unexposed",
        ),
    ]


def _card(recipe: Recipe, dumps: list[Node], threads: dict[str, str]) -> Node:
    """The data card. The report reads it, and nothing that is trained."""
    return Node(
        "labels/card",
        inputs={"labels": "labels", **threads, **{n.id: n.id for n in dumps}},
        config={
            "labels": recipe.labels.result(),
            # The width of ranges says nothing of a conversation.
            "threads": recipe.threads.result("width"),
            "removed": recipe.dumps.removed is not None,
            "simulated": any(n.config["simulated"] for n in dumps),
        },
        job="karma.labels.card:run",
    )


def _overlap(recipe: Recipe, threads: dict[str, str]) -> list[Node]:
    """Whether unexposed text holds Reddit's. The report reads it, and nothing that is trained."""
    if "unexposed" not in recipe.exposures:
        return []
    where = recipe.prompts.unexposed.instructions
    inputs = {"prompts": "prompts/unexposed", "instructions": "instructions", **threads}
    if recipe.base.tiny is not None and "world" in recipe.base.tiny.text:
        inputs["base_text"] = "source/base_text"
    return [
        Node(
            OVERLAP,
            inputs=inputs,
            config={"instructions": where if pinned(where) else "", "count": recipe.sft.count},
            job="karma.prompts.overlap:run",
            more_libraries=("numpy",),
        )
    ]


def _models(recipe: Recipe, threads: dict[str, str]) -> list[Node]:
    nodes = [_base(recipe)]
    for seed in recipe.seeds:
        nodes += [_sft(recipe, exposure, seed, threads) for exposure in recipe.exposures]
        names = [*recipe.reward.variants, "gold"]
        nodes += [_reward(recipe, name, seed, threads) for name in names]
        nodes += [
            _policy(recipe, exposure, variant, seed)
            for exposure in recipe.exposures
            for variant in recipe.policy_variants
        ]
    return nodes


def _base(recipe: Recipe) -> Node:
    base = recipe.base
    inputs: dict[str, str] = {}
    if base.folder is not None:
        inputs["folder"] = "source/base"
    elif base.tiny is not None:
        nodes = {"world": "source/base_text", "instructions": "instructions"}
        inputs = {f"text/{text}": nodes[text] for text in base.tiny.text}
    config = base.result()
    if base.folder is not None:
        config["folder"] = ""  # where it lies is no part of the key, what it holds is
    return Node("base", inputs=inputs, config={"base": config}, job=STAGES["base"].job)


def _sft(recipe: Recipe, exposure: str, seed: int, threads: dict[str, str]) -> Node:
    inputs = {"base": "base"}
    config: dict[str, Any] = {"sft": recipe.sft.result(), "exposure": exposure, "seed": seed}
    where = recipe.prompts.unexposed.instructions
    if exposure == "reddit":
        inputs |= threads
    else:
        inputs["instructions"] = "instructions"
        if pinned(where):
            config["instructions"] = where
    return Node(
        f"sft/{exposure}/{seed}",
        inputs=inputs,
        config=config,
        manner={"sft": recipe.sft.manner()},
        job=STAGES["sft"].job,
    )


def _reward(recipe: Recipe, name: str, seed: int, threads: dict[str, str]) -> Node:
    variant = recipe.reward.gold if name == "gold" else name
    config: dict[str, Any] = {
        "reward": recipe.reward.result("variants", "gold"),
        "variant": declared(variant, recipe.reward.variants),
        "use": "gold" if name == "gold" else "reward",
        "seed": seed,
    }
    inputs = {"labels": "labels", "base": "base", **threads}
    backbone = recipe.reward.backbone
    if backbone is not None and backbone.folder is not None:
        inputs["backbone"] = "source/backbone"
        config["reward"]["backbone"]["folder"] = ""  # what it holds counts, not where it lies
    return Node(
        f"reward/{name}/{seed}",
        inputs=inputs,
        config=config,
        manner={"reward": recipe.reward.manner()},
        job=STAGES["reward"].job,
    )


def _policy(recipe: Recipe, exposure: str, variant: str, seed: int) -> Node:
    section = recipe.policy
    config: dict[str, Any] = {
        "policy": section.result("exposures", "variants", "evaluate", "algorithm", "replies"),
        "exposure": exposure,
        "variant": variant,
        "seed": seed,
    }
    if section.algorithm == "rloo":
        config |= {"algorithm": "rloo", "replies": section.replies}
    return Node(
        f"policy/{exposure}/{variant}/{seed}",
        inputs={
            "sft": f"sft/{exposure}/{seed}",
            "reward": f"reward/{variant}/{seed}",
            "gold": f"reward/gold/{seed}",
            "prompts": f"prompts/{exposure}",
        },
        config=config,
        manner={"policy": section.manner()},
        job=ALGORITHMS[section.algorithm],
        more_libraries=("trl", "datasets") if section.algorithm == "rloo" else (),
    )


# The report


def _report(recipe: Recipe, nodes: list[Node], threads: dict[str, str]) -> Node:
    wanted = ("evals", "reward", "policy", "labels", "dumps")
    inputs = threads | {n.id: n.id for n in nodes if n.stage in wanted or n.id == OVERLAP}
    probes = [n.id for n in nodes if n.id.endswith(f"/{SWAP}")]
    evals = [n for n in nodes if n.stage == "evals" and n.id not in probes]
    asked = list(dict.fromkeys(n.id.rsplit("/", 1)[1] for n in evals))
    used = _used([*nodes, Node("report", inputs=inputs)])
    # How to run, and what MLflow is told, is no part of what was found.
    whole = recipe.result("slots", "time_limits", "pools", "runner", "gates", "registry")
    return Node(
        "report",
        inputs=inputs,
        config={
            "report": recipe.report.result(),
            "recipe": whole,
            "models": models(recipe),
            "benchmarks": asked,
            "swaps": probes,
            # The simulator's own measure of replies is no gap of a real study.
            "unasked": [n for n in BENCHMARKS if n not in (*asked, "fit")],
            "rewards": [n.id.removeprefix("reward/") for n in nodes if n.stage == "reward"],
            "versions": {name: minor(name) for s in STAGES.values() for name in s.libraries},
            "lineage": boxes(n for n in nodes if n.id in used),
        },
        job=STAGES["report"].job,
        files=beside("karma/report"),
    )
