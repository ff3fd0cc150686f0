"""The stage ``reward``: one variant with one seed, trained, standardised, measured.

Out: ``reward.json`` (everything that scoring needs beside the weights), ``model/`` (for a trained
variant) or ``terms/<name>/`` (for a sum, each a reward model of its own), ``heldout.parquet``,
``metrics.json``, ``tables.json`` (pair accuracy by group, calibration), ``README.md`` (the card).
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from karma.errors import StageError
from karma.jobs import Job, write_json
from karma.reward.breakdown import scale
from karma.reward.card import card
from karma.reward.data import Row, Split, neutral, read
from karma.reward.measure import measured
from karma.reward.metrics import Floats, Heldout, levels_at
from karma.reward.recipe import RewardRecipe
from karma.reward.score import RewardModel, load, view_of
from karma.reward.train import Trained, fit


def run(job: Job) -> None:
    """Make the reward model that ``job.config["variant"]`` declares."""
    recipe = RewardRecipe.model_validate(job.config["reward"])
    variant, use = job.config["variant"], job.config["use"]
    splits = read(job, recipe, use)
    for name, split in splits.items():
        print(f"{name}: {len(split.rows)} replies, {len(split.pairs)} pairs")
    name = "gold" if use == "gold" else variant["name"]
    _make(job, recipe, variant, name, splits, job.out, job.scratch / "train")


def _make(
    job: Job,
    recipe: RewardRecipe,
    variant: dict[str, Any],
    name: str,
    splits: dict[str, Split],
    out: Path,
    scratch: Path,
) -> None:
    """Write one reward model to ``out``; a sum makes its terms first."""
    out.mkdir(parents=True, exist_ok=True)
    for term, inner in sorted(variant["terms"].items()):
        _make(job, recipe, inner["variant"], term, splits, out / "terms" / term, scratch / term)
    use, seed = job.config["use"], job.config["seed"]
    document: dict[str, Any] = {
        "name": name,
        "kind": variant["kind"],
        "use": use,
        "seed": seed,
        "view": {
            "context": variant["context"],
            "fields": variant["fields"],
            "max_tokens": variant["max_tokens"] or recipe.max_tokens,
        },
        "neutral": neutral(splits["train"].rows) if variant["fields"] else None,
        "terms": {term: inner["weight"] for term, inner in variant["terms"].items()},
        "mean": 0.0,
        "deviation": 1.0,
    }
    if variant["kind"] == "model":
        trained = fit(job, recipe, view_of(document), splits["train"], seed, out / "model", scratch)
        document["training"] = _training(trained)
    _measure(job, recipe, document, splits, out)


def _training(trained: Trained) -> dict[str, Any]:
    return {
        "rows": trained.rows,
        "pairs": trained.pairs,
        "steps": trained.steps,
        "cut": dict(trained.counts),
        "pad": trained.pad,
        "backbone": trained.backbone,
    }


def _measure(
    job: Job,
    recipe: RewardRecipe,
    document: dict[str, Any],
    splits: dict[str, Split],
    out: Path,
) -> None:
    """Freeze the statistics on validation threads, measure on test threads, write it all down."""
    write_json(out / "reward.json", document)
    model = load(out, "cuda" if job.compute == "cuda" else "cpu")
    known, terms = _explained(model, splits["validation"].rows)
    raw = np.array(known)
    if not np.isfinite(raw).all() or raw.std() == 0:
        raise StageError(
            f"the rewards of {document['name']} on validation threads are all the same or no "
            "numbers: lower reward.lr, or add threads"
        )
    document["mean"], document["deviation"] = float(raw.mean()), float(raw.std())
    model.mean, model.deviation = document["mean"], document["deviation"]
    found, parts = _explained(model, splits["test"].rows)
    rewards = {"validation": (raw - model.mean) / model.deviation, "test": np.array(found)}
    heldout = Heldout.of(splits["validation"])
    document["levels"] = levels_at(rewards["validation"], heldout.levels)
    document["scale"] = scale(rewards["validation"], heldout.pairs)
    metrics, tables = measured(model, document, splits, rewards, parts, recipe.resamples)
    write_json(out / "reward.json", document)
    write_json(out / "metrics.json", metrics)
    write_json(out / "tables.json", tables)
    both = {name: values + parts[name] for name, values in terms.items()}
    _write_heldout(splits, rewards, both, out)
    objective = recipe.objective.model_dump()
    text = card(document, objective, metrics, tables)
    (out / "README.md").write_text(text, encoding="utf-8")


def _explained(model: RewardModel, rows: list[Row]) -> tuple[list[float], dict[str, list[float]]]:
    """The rewards of rows, and what each term of a sum adds to them."""
    contexts, replies = [row.context for row in rows], [row.reply for row in rows]
    return model.explained(contexts, replies, [row.slot for row in rows])


def _write_heldout(
    splits: dict[str, Split],
    rewards: dict[str, Floats],
    terms: dict[str, list[float]],
    out: Path,
) -> None:
    """One row per held-out reply; ``length`` is the reply's characters, ``term_NAME`` what a term
    adds to a sum before it is standardised."""
    rows = [row for name in ("validation", "test") for row in splits[name].rows]
    scored = np.concatenate([rewards["validation"], rewards["test"]])
    table = pa.table(
        {
            "id": [row.id for row in rows],
            "thread_id": [row.thread_id for row in rows],
            "subreddit": [row.subreddit for row in rows],
            "split": [row.split for row in rows],
            "score": pa.array([row.score for row in rows], pa.int64()),
            "valuation": pa.array([row.valuation for row in rows], pa.float64()),
            "level": pa.array([row.level for row in rows], pa.int32()),
            "reward": pa.array(scored, pa.float64()),
            "length": pa.array([len(row.reply) for row in rows], pa.int64()),
            **{f"term_{name}": pa.array(values, pa.float64()) for name, values in terms.items()},
        }
    )
    pq.write_table(
        table,
        out / "heldout.parquet",
        compression="zstd",
        compression_level=1,
        row_group_size=100_000,
    )
