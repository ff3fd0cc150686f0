"""The job of ``evals``: one model is asked one benchmark, and every item's result is kept.

The benchmark's module comes by name, and the table of benchmarks is not read here: a new benchmark
changes nothing that this job depends on.
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from karma.errors import CheckError, InputError
from karma.evals import files, hub, model, template
from karma.evals.benchmark import Benchmark, Broken, Cell, Result, Row, Template, limit, stable
from karma.evals.settings import RULES, EvalsSettings
from karma.jobs import Job, write_json

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("group", pa.string()),
        ("category", pa.string()),
        ("template", pa.string()),
        ("prompt_hash", pa.string()),
        ("prompt", pa.string()),
        ("cut", pa.bool_()),
        ("choices", pa.list_(pa.string())),
        ("loglikelihoods", pa.list_(pa.float64())),
        ("loglikelihoods_per_token", pa.list_(pa.float64())),
        ("loglikelihoods_per_byte", pa.list_(pa.float64())),
        ("prediction", pa.int32()),
        ("gold", pa.int32()),
        ("correct", pa.bool_()),
        ("generations", pa.list_(pa.string())),
        ("value", pa.float64()),
    ]
)
ROW_GROUP = 10_000


def run(job: Job) -> None:
    """Ask the model, write ``items.parquet``, ``scores.json``, ``broken.json``, ``metrics.json``.

    Scores of the headline's wording have plain names, those of another end in ``@wording``.

    Raises InputError if the benchmark's files cannot be used.
    """
    name = job.config["benchmark"]
    settings = EvalsSettings.model_validate(job.config["evals"])
    benchmark: Benchmark = importlib.import_module(job.config["module"]).BENCHMARK
    inputs = dict(job.inputs)
    if "hub" in job.config:
        inputs["data"] = hub.fetch(job.config["hub"]["name"], job.config["hub"], job.scratch)
    found = benchmark.read(inputs[benchmark.role])
    if not found.items:
        reason = f"none of its {len(found.broken)} rows can be used"
        raise InputError(f"benchmark {name}", reason, files.REPLACE)
    items = limit(found.items, settings.items)
    print(f"{name}: {len(items)} of {len(found.items)} items, {len(found.broken)} broken rows")
    language_model = model.asked(job)
    results = {
        wording.name: benchmark.evaluate(
            Cell(
                benchmark=name,
                settings=settings,
                seed=job.config["seed"],
                model=language_model,
                inputs=inputs,
                progress=job.progress,
                template=wording,
            ),
            items,
        )
        for wording in wordings(name, benchmark, settings)
    }
    by_rule = [benchmark.primary + suffix for suffix in RULES.values()]
    primary = benchmark.metric(settings.rule)
    about = {
        "benchmark": name,
        "kind": benchmark.kind,
        "rule": settings.rule if benchmark.by_likelihood else None,
        "variants": by_rule if benchmark.by_likelihood else [primary],
        "primary": primary,
        "higher_is_better": benchmark.higher_is_better,
        "ideal": benchmark.ideal,
    }
    write(job.out, about, results, len(found.items), found.broken)


def wordings(name: str, benchmark: Benchmark, settings: EvalsSettings) -> list[Template]:
    """The wordings that are asked, the headline's first; what is generated has one."""
    if not benchmark.by_likelihood:
        return [Template("bare", "", ())]
    listed = template.chosen(name, settings.template, settings.templates)
    return [template.load(name, wording) for wording in listed]


def write(
    out: Path,
    about: dict[str, Any],
    results: dict[str, Result],
    available: int,
    broken: list[Broken],
) -> None:
    """The four files of a cell: ``about`` goes into ``scores.json`` as it is, ``results`` are by
    wording, the headline's first."""
    primary = about["primary"]
    for result in results.values():
        check(primary, result)
    first, *others = results
    scores = dict(results[first].scores)
    for wording in others:
        scores |= {f"{key}@{wording}": value for key, value in results[wording].scores.items()}
    pq.write_table(
        table([row for result in results.values() for row in result.rows], primary),
        out / "items.parquet",
        compression="zstd",
        compression_level=1,
        row_group_size=ROW_GROUP,
    )
    counts = {"items": len(results[first].rows), "broken": len(broken)}
    cut = sum(row.cut for row in results[first].rows)
    wordings = {"template": first, "templates": list(results)}
    counted = {**counts, "available": available, "cut": cut}
    write_json(out / "scores.json", {**about, **counted, **wordings, "scores": scores})
    write_json(out / "broken.json", broken)
    write_json(out / "metrics.json", {**scores, **counts})
    print(f"{about['benchmark']}: {primary} {scores[primary]:.4f}, {cut} prompts cut")


def check(primary: str, result: Result) -> None:
    """Every score is a finite number, and the primary one is the mean of its items."""
    for metric, value in result.scores.items():
        if not np.isfinite(value):
            raise CheckError(f"the score {metric} is {value}")
    mean = np.mean([row.values[primary] for row in result.rows])
    if abs(mean - result.scores[primary]) > 1e-9:
        raise CheckError(f"{primary} is not the mean of its items")


def table(rows: list[Row], primary: str) -> pa.Table:
    """One row an item and wording: the columns of ``SCHEMA``, the item's metrics (``values``), and
    each generation's (``generation_scores``)."""
    records = [
        {
            "id": row.item.id,
            "group": row.item.group,
            "category": row.item.category,
            "template": row.template,
            "prompt_hash": stable(row.prompt)[:16],
            "prompt": row.prompt,
            "cut": row.cut,
            "choices": row.choices,
            "loglikelihoods": row.raw,
            "loglikelihoods_per_token": row.per_token,
            "loglikelihoods_per_byte": row.per_byte,
            "prediction": row.prediction,
            "gold": row.item.gold,
            "correct": None if row.item.gold is None else row.prediction == row.item.gold,
            "generations": row.generations,
            "value": row.values[primary],
            "values": row.values,
            "generation_scores": row.generation_scores,
        }
        for row in rows
    ]
    schema = SCHEMA.append(pa.field("values", _numbers([row.values for row in rows])))
    if rows[0].generation_scores:
        scores = _numbers([scores for row in rows for scores in row.generation_scores])
        schema = schema.append(pa.field("generation_scores", pa.list_(scores)))
    return pa.Table.from_pylist(records, schema=schema)


def _numbers(scores: list[dict[str, float]]) -> pa.StructType:
    """A column for each name; null where it is not among an item's."""
    return pa.struct([(n, pa.float64()) for n in dict.fromkeys(n for one in scores for n in one)])
