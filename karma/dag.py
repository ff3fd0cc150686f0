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
and ``prompts/overlap``, whether unexposed text holds Reddit's, are read by the report alone.
"""

import difflib
import glob
import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from karma.dumps.columns import separator
from karma.dumps.recipe import CORPUS, UTTERANCES, corpus_files
from karma.errors import InputError, RecipeError
from karma.evals.catalogue import BENCHMARKS
from karma.fingerprint import PROJECT, code, minor, text_digest
from karma.prompts.hub import pinned
from karma.recipe import Recipe
from karma.reward.recipe import declared
from karma.world.recipe import COMMENTS, SIMULATED, SUBMISSIONS

TORCH = ("torch", "transformers", "tokenizers", "numpy")
TRAINER = (*TORCH, "trl", "accelerate", "datasets", "pyarrow")
EVALS = (*TORCH, "pyarrow", "scikit-learn")
REPORT = ("numpy", "scipy", "matplotlib", "jinja2", "pyarrow")


@dataclass(frozen=True)
class Stage:
    """What all instances of a stage have in common."""

    job: str
    """The function that runs, ``module:name``."""
    libraries: tuple[str, ...]
    """The libraries whose version can change the result."""
    makes: Literal["data", "model", "scores", "report"]
    """What the artefact is, for MLflow and the lineage."""
    trained: bool = False
    """Whether it runs on the accelerator that the recipe names."""


STAGES = {
    "world": Stage("karma.world.job:run", ("numpy", "zstandard"), "data"),
    "dumps": Stage("karma.dumps.job:run", ("duckdb", "numpy", "pyarrow", "zstandard"), "data"),
    "threads": Stage("karma.threads.job:run", ("duckdb", "py3langid"), "data"),
    "labels": Stage("karma.labels.job:run", ("duckdb", "matplotlib"), "data"),
    "prompts": Stage("karma.prompts.job:reddit", ("datasets", "duckdb", "pyarrow"), "data"),
    "base": Stage("karma.base.job:run", (*TORCH, "datasets"), "model", trained=True),
    "sft": Stage("karma.sft.job:run", TRAINER, "model", trained=True),
    "reward": Stage("karma.reward.job:run", (*TRAINER, "duckdb"), "model", trained=True),
    "policy": Stage(
        "karma.policy.job:run", (*TORCH, "accelerate", "peft", "pyarrow"), "model", trained=True
    ),
    "evals": Stage("karma.evals.job:run", EVALS, "scores", trained=True),
    "report": Stage("karma.report.job:run", REPORT, "report"),
}

# Nodes that are inputs: they have a digest and stand in the plan, but no job.
SOURCES = ("source", "benchmark", "instructions")

OVERLAP = "prompts/overlap"


@dataclass(frozen=True)
class Source:
    """Where an input lies: on disk, in the simulator's artefact, or on a hub by full revision."""

    path: Path | None = None
    """The file, or the folder that a job is given."""
    files: tuple[Path, ...] = ()
    """The files that make its digest; none if they are missing."""
    member: str = ""
    """Its path below the artefact of ``world``."""
    patterns: tuple[str, ...] = ()
    """Which files below ``member`` count (globs)."""
    revision: str = ""
    """``name@revision`` on a hub."""


@dataclass(frozen=True)
class Extent:
    """What the DAG has to know of a dump that was read."""

    ranges: tuple[str, ...]
    """The ranges of thread ids that it touches."""
    month: str
    """The month that most of its rows are of, as ``2006-01``."""


@dataclass(frozen=True)
class Node:
    """One instance of a stage, or one input."""

    id: str
    inputs: dict[str, str] = field(default_factory=dict)
    """Role to the id of the node that fills it."""
    config: dict[str, Any] = field(default_factory=dict)
    """The slice of the recipe that it reads; in its fingerprint."""
    manner: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By section, the settings of how its job runs; in no fingerprint."""
    source: Source | None = None
    job: str = ""
    modules: tuple[str, ...] = ()
    """Modules that its job loads by name, beyond those that the job imports."""
    files: tuple[str, ...] = ()
    """Other files of the project that it opens, relative to the project."""

    @property
    def stage(self) -> str:
        """The stage's word."""
        return self.id.split("/")[0]

    @property
    def job_config(self) -> dict[str, Any]:
        """What its job is given: ``config`` and ``manner`` together."""
        whole = {name: {**self.config[name], **fields} for name, fields in self.manner.items()}
        return {**self.config, **whole}


@dataclass(frozen=True)
class Dag:
    """All nodes of a recipe, inputs before what reads them."""

    recipe: str
    """The recipe's name, under which the store keeps its references."""
    settings: Recipe
    nodes: dict[str, Node]
    complete: bool
    """Whether the thread ranges are known, so that nothing more will appear."""

    def consumers(self, node: str) -> list[str]:
        """The ids of the nodes that read ``node``."""
        return [other.id for other in self.nodes.values() if node in other.inputs.values()]


def build(name: str, recipe: Recipe, extents: dict[str, Extent] | None = None) -> Dag:
    """The DAG of a recipe.

    ``extents`` gives what each ``dumps`` node holds; while it is None the ranges of thread ids are
    not known, and one node ``threads`` stands for all of them.
    """
    nodes: list[Node] = []
    nodes += _inputs(recipe)
    nodes += _dumps(recipe)
    dumps = [n for n in nodes if n.stage == "dumps"]
    ranges = _threads(recipe, dumps, extents)
    nodes += _signatures(recipe, dumps)
    nodes += ranges
    threads = {n.id: n.id for n in ranges}
    nodes += _data(recipe, threads)
    nodes.append(_card(recipe, dumps, threads))
    nodes += _overlap(recipe, threads)
    nodes += _models(recipe, threads)
    nodes += _evals(recipe, {n.id for n in nodes})
    nodes.append(_report(recipe, nodes, threads))
    used = _used(nodes)
    ordered = {node.id: node for node in nodes if node.id in used}
    return Dag(name, recipe, ordered, complete=extents is not None)


def fingerprint(node: Node, recipe: Recipe, digests: dict[str, str]) -> dict[str, Any]:
    """Everything that can change what ``node`` makes; ``digests`` maps its roles."""
    stage = STAGES[node.stage]
    module = node.job.split(":")[0]
    modules: dict[str, str] = {}
    for root in (module, *node.modules):
        modules |= code(root)
    document: dict[str, Any] = {
        "stage": node.stage,
        "job": node.job,
        "config": node.config,
        "code": modules,
        "sql": {_relative(path): text_digest(path) for path in _statements(node.stage)},
        "file": {name: text_digest(PROJECT / name) for name in node.files},
        "input": digests,
        "version": {library: minor(library) for library in stage.libraries},
    }
    if stage.trained:
        document["compute"] = recipe.compute
    return document


def _statements(stage: str) -> list[Path]:
    sql = PROJECT / "sql"
    return sorted([*sql.glob(f"{stage}/*.sql"), *sql.glob(f"checks/{stage}_*.sql")])


def _relative(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def _used(nodes: Iterable[Node]) -> set[str]:
    """The nodes that the report needs, directly or not."""
    by_id = {node.id: node for node in nodes}
    found: set[str] = set()
    waiting = ["report"]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(by_id[name].inputs.values())
    return found


# Inputs


def _inputs(recipe: Recipe) -> list[Node]:
    world = Node("world", config={"world": recipe.world.result()}, job=STAGES["world"].job)
    nodes = [world]
    nodes.append(_instructions(recipe.prompts.unexposed.instructions))
    nodes.append(
        Node(
            "source/base_text",
            inputs={"world": "world"},
            source=Source(member="base_text.jsonl"),
        )
    )
    classifier = recipe.evals.toxicity.classifier
    folders = {
        "source/base": recipe.base.folder,
        "source/backbone": recipe.reward.backbone and recipe.reward.backbone.folder,
        "source/toxicity_classifier": classifier and classifier.folder,
    }
    nodes += [_folder(name, Path(folder)) for name, folder in folders.items() if folder]
    if recipe.dumps.removed is not None:
        nodes.append(_file("source/removed", Path(recipe.dumps.removed)))
    nodes += [_benchmark(name, recipe.evals.data) for name in _benchmarks(recipe)]
    return nodes


def _file(name: str, path: Path) -> Node:
    return Node(name, source=Source(path=path, files=(path,) if path.exists() else ()))


def _folder(name: str, path: Path) -> Node:
    files = tuple(sorted(p for p in path.rglob("*") if p.is_file())) if path.is_dir() else ()
    return Node(name, source=Source(path=path, files=files))


def _instructions(where: str) -> Node:
    if where == "world":
        source = Source(member="instructions.json")
        return Node("instructions", inputs={"world": "world"}, source=source)
    if pinned(where):
        return Node("instructions", source=Source(revision=where))
    return _file("instructions", Path(where))


def _benchmark(name: str, data: str) -> Node:
    patterns = BENCHMARKS[name].files
    node = f"benchmark/{name}"
    if data == "world":
        source = Source(member="benchmarks", patterns=patterns)
        return Node(node, inputs={"world": "world"}, source=source)
    folder = Path(data)
    found = {pattern: sorted(folder.glob(pattern)) for pattern in patterns}
    lacking = [pattern for pattern, files in found.items() if not files]
    if lacking:
        return Node(node, source=Source(path=folder / lacking[0]))
    files = tuple(sorted(path for files in found.values() for path in files))
    return Node(node, source=Source(path=folder, files=files))


def _benchmarks(recipe: Recipe) -> list[str]:
    """The benchmarks that read files: those the recipe names, or all that its data hold."""
    names = [n for n in _chosen(recipe) if BENCHMARKS[n].files]
    if recipe.evals.data == "world":
        return [n for n in names if n in SIMULATED]
    if recipe.evals.benchmarks != "all":
        return names
    folder = Path(recipe.evals.data)
    if not folder.is_dir():
        return names  # a plan can be made without them; a run says which file is missing
    held = [n for n in names if all(any(folder.glob(p)) for p in BENCHMARKS[n].files)]
    if not held:
        raise RecipeError(
            f"evals.data {folder}",
            "it holds no benchmark's files",
            "docs/benchmarks.md lists the names that they must have.",
        )
    return held


def _chosen(recipe: Recipe) -> list[str]:
    chosen = recipe.evals.benchmarks
    return list(BENCHMARKS) if chosen == "all" else list(chosen)


# Dumps and threads


def _dumps(recipe: Recipe) -> list[Node]:
    nodes: list[Node] = []
    seen: set[str] = set()
    dumps = recipe.dumps
    for kind, value in (("comments", dumps.comments), ("submissions", dumps.submissions)):
        for pattern in _patterns(value):
            for source in _dump_files(pattern, kind):
                name = _unique(source.member or str(source.path), seen)
                nodes += _dump_nodes(recipe, kind, name, source)
    for pattern in _patterns(dumps.corpora):
        for folder in _corpora(pattern):
            name = _unique(str(folder), seen)
            nodes += _dump_nodes(recipe, CORPUS, name, _corpus(folder))
    return nodes


def _patterns(value: str | tuple[str, ...] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _globbed(pattern: str) -> list[Path]:
    """What a path or a glob names, there or not; nothing if a glob names nothing."""
    found = sorted(glob.glob(pattern)) if any(s in pattern for s in "*?[") else [pattern]  # noqa: PTH207
    return [Path(f) for f in found]


def _dump_files(pattern: str, kind: str) -> list[Source]:
    """The files that a pattern names; one without files if there are none, which a run refuses."""
    if pattern == "world":
        return [Source(member=COMMENTS if kind == "comments" else SUBMISSIONS)]
    found = _globbed(pattern) or [Path(pattern)]
    return [Source(path=path, files=(path,) if path.is_file() else ()) for path in found]


def _corpora(pattern: str) -> list[Path]:
    """The folders that a pattern names; the pattern itself if there are none, for a run to tell."""
    return [path for path in _globbed(pattern) if path.is_dir()] or [Path(pattern)]


def _corpus(folder: Path) -> Source:
    """A ConvoKit corpus; without files if it holds no utterances, which a run refuses."""
    files = corpus_files(folder)
    return Source(path=folder, files=files) if files else Source(path=folder / UTTERANCES[0])


def _unique(whole: str, seen: set[str]) -> str:
    """A name for a dump, from its path; with a short hash if the name repeats or is unusual."""
    name = Path(whole).name
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    if plain != name or plain in seen:
        plain = f"{plain}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    seen.add(plain)
    return plain


def _dump_nodes(recipe: Recipe, kind: str, name: str, source: Source) -> list[Node]:
    simulated = bool(source.member)
    inputs = {"file": f"source/{name}"}
    if recipe.dumps.removed is not None:
        inputs["removed"] = "source/removed"
    section = recipe.dumps.result("comments", "submissions", "corpora", "csv", "removed")
    config = {
        "dumps": section,
        "name": name,
        "kind": kind,
        "width": recipe.threads.width,
        "simulated": simulated,
        "salt": "" if simulated else _salt(),
    }
    if source.path is not None and kind != CORPUS and separator(source.path.name) is not None:
        config["csv"] = _table(recipe, kind, source.path)
    above = {"world": "world"} if simulated else {}
    return [
        Node(f"source/{name}", inputs=above, source=source),
        Node(
            f"dumps/{name}",
            inputs=inputs,
            config=config,
            manner={"dumps": recipe.dumps.manner()},
            job=STAGES["dumps"].job,
            files=_beside("karma/dumps"),
        ),
    ]


def _table(recipe: Recipe, kind: str, path: Path) -> dict[str, Any]:
    """Which column of a CSV file holds what. Raises RecipeError if the recipe does not say so."""
    table = recipe.dumps.csv.table(kind)
    if table is None:
        raise RecipeError(
            f"dumps.csv.{kind}",
            f"it is missing, and {path} is CSV",
            "Say which of its columns holds what; docs/data.md shows how.",
        )
    return table.result()


def _salt() -> str:
    """A digest that changes with KARMA_SALT and does not tell it. Raises InputError without one."""
    salt = os.environ.get("KARMA_SALT", "")
    if not salt:
        raise InputError(
            "KARMA_SALT",
            "it is not set, and user names in real dumps are hashed with it",
            "Set it to a long random text and keep it: KARMA_SALT=... karma run ...",
        )
    return hmac.new(salt.encode(), b"karma salt", hashlib.sha256).hexdigest()[:16]


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
        last = max(extents[name].month for name in touching)
        # Later months are no part of a range that they do not touch, so they leave it as it is.
        before = {d: s for d, s in signed.items() if extents[d].month <= last}
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
            config={"instructions": where if "@" in where else "", "count": recipe.sft.count},
            job="karma.prompts.overlap:run",
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
    return Node(
        f"policy/{exposure}/{variant}/{seed}",
        inputs={
            "sft": f"sft/{exposure}/{seed}",
            "reward": f"reward/{variant}/{seed}",
            "gold": f"reward/gold/{seed}",
            "prompts": f"prompts/{exposure}",
        },
        config={
            "policy": recipe.policy.result("exposures", "variants"),
            "exposure": exposure,
            "variant": variant,
            "seed": seed,
        },
        manner={"policy": recipe.policy.manner()},
        job=STAGES["policy"].job,
    )


# Evaluation and report


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


def _evals(recipe: Recipe, known: set[str]) -> list[Node]:
    names = [n for n in _chosen(recipe) if not BENCHMARKS[n].files or f"benchmark/{n}" in known]
    return [_cell(recipe, model, name) for model in models(recipe) for name in names]


def _cell(recipe: Recipe, model: str, name: str) -> Node:
    entry = BENCHMARKS[name]
    parts = model.split("/")
    seed = int(parts[-1]) if len(parts) > 1 else recipe.seeds[0]
    inputs = {"model": model}
    if entry.files:
        inputs["data"] = f"benchmark/{name}"
    else:
        exposure = parts[1] if len(parts) > 1 else "reddit"
        inputs |= {"prompts": f"prompts/{exposure}", "gold": f"reward/gold/{seed}", "base": "base"}
        if parts[0] == "policy":
            inputs["reward"] = f"reward/{parts[2]}/{seed}"
    settings = recipe.evals.result()
    settings = {field: settings[field] for field in entry.settings}
    classifier = recipe.evals.toxicity.classifier
    if "toxicity" in settings and classifier is not None and classifier.folder is not None:
        inputs["classifier"] = "source/toxicity_classifier"
        settings["toxicity"]["classifier"]["folder"] = ""
    return Node(
        f"evals/{model}/{name}",
        inputs=inputs,
        manner={"evals": recipe.evals.manner()},
        config={
            "evals": settings,
            "benchmark": name,
            "module": entry.module,
            "seed": seed,
        },
        job=STAGES["evals"].job,
        modules=(entry.module,),
        files=_beside(f"karma/evals/templates/{name}"),
    )


def _report(recipe: Recipe, nodes: list[Node], threads: dict[str, str]) -> Node:
    wanted = ("evals", "reward", "policy", "labels", "dumps")
    inputs = threads | {n.id: n.id for n in nodes if n.stage in wanted or n.id == OVERLAP}
    evals = [n for n in nodes if n.stage == "evals"]
    # How to run is no part of what was found.
    whole = recipe.result("slots", "gates")
    return Node(
        "report",
        inputs=inputs,
        config={
            "report": recipe.report.result(),
            "recipe": whole,
            "models": models(recipe),
            "benchmarks": list(dict.fromkeys(n.id.rsplit("/", 1)[1] for n in evals)),
            "rewards": [n.id.removeprefix("reward/") for n in nodes if n.stage == "reward"],
        },
        job=STAGES["report"].job,
        files=_beside("karma/report"),
    )


def _beside(folder: str) -> tuple[str, ...]:
    """The files of a folder of the project that are no code: templates, lists."""
    found = (p for p in (PROJECT / folder).glob("*") if p.is_file() and p.suffix != ".py")
    return tuple(sorted(_relative(p) for p in found))


def find(dag: Dag, instance: str) -> Node:
    """The node with this id. Raises RecipeError naming the nearest ones."""
    if instance not in dag.nodes:
        near = difflib.get_close_matches(instance, dag.nodes, n=3, cutoff=0.3)
        raise RecipeError(
            f"instance {instance}",
            "the recipe has none of that name",
            f"Near ones: {', '.join(near)}." if near else "Run karma plan to list them.",
        )
    return dag.nodes[instance]
