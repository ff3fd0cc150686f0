"""What the report is written from: every input folder read once, and the cells that are missing.

The columns and keys that other stages write are named here and nowhere else in this stage.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from karma.errors import CheckError
from karma.jobs import Job
from karma.report.goodness import goodness

Floats = npt.NDArray[np.float64]


class PolicyName(NamedTuple):
    """A policy's place in the matrix of the study."""

    exposure: str
    variant: str
    seed: int

    @property
    def id(self) -> str:
        """The model's id."""
        return f"policy/{self.exposure}/{self.variant}/{self.seed}"

    @property
    def start(self) -> str:
        """The id of the model that its training started from."""
        return f"sft/{self.exposure}/{self.seed}"


def policy_name(model: str) -> PolicyName | None:
    """The parts of a policy's id; None for any other model."""
    parts = model.split("/")
    if parts[0] != "policy":
        return None
    return PolicyName(parts[1], parts[2], int(parts[3]))


@dataclass(frozen=True)
class Cell:
    """One model on one benchmark: the scores, and the items they are means of."""

    model: str
    benchmark: str
    kind: str
    metric: str
    higher_is_better: bool
    ideal: float | None
    broken: int
    scores: dict[str, float]
    ids: list[str]
    groups: list[str]
    values: Floats
    items: pa.Table
    """The rows of the leading wording."""
    variants: dict[str, Floats]
    """The items' values by each wording and rule, ``wording/metric``; in the order of ``ids``."""

    @property
    def value(self) -> float:
        """The primary score: the mean over items."""
        return float(self.values.mean())

    def goodness(self, value: float) -> float:
        """A value of the primary score, turned so that more is better."""
        return goodness(value, self.higher_is_better, self.ideal)


@dataclass(frozen=True)
class Reward:
    """One reward model: its declaration, its metrics and its held-out rows."""

    name: str
    declared: dict[str, Any]
    metrics: dict[str, float]
    heldout: pa.Table


@dataclass(frozen=True)
class Policy:
    """One policy's training: a row a step, the kept samples, the headline numbers."""

    name: PolicyName
    curves: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    metrics: dict[str, float]
    alarms: list[dict[str, Any]]
    point: dict[str, Any] | None
    """The kept model that is evaluated, if it is not the last step's: its step, KL and reward."""

    @property
    def kl(self) -> float:
        """The KL of the model that is evaluated."""
        return float(self.point["kl"] if self.point else self.metrics["kl_final"])

    @property
    def reward(self) -> float:
        """The own reward, on PPO's prompts, of the model that is evaluated."""
        return float(self.point["reward"] if self.point else self.metrics["reward_last"])


@dataclass(frozen=True)
class Records:
    """Everything that the report is written from."""

    models: list[str]
    benchmarks: list[str]
    recipe: dict[str, Any]
    cells: dict[tuple[str, str], Cell]
    rewards: dict[str, Reward]
    swaps: dict[str, Cell]
    """The swap probe by the reward's name; empty where the truth is not known."""
    probed: list[str]
    """The rewards that the study asks the swap probe of, holes too."""
    policies: dict[str, Policy]
    dumps: dict[str, dict[str, Any]]
    threads: dict[str, dict[str, Any]]
    labels: dict[str, Any]
    holes: list[dict[str, str]]
    versions: dict[str, str]
    lineage: list[dict[str, Any]]
    card: Path | None
    """The folder of the data card."""
    accepted: dict[str, list[dict[str, Any]]]
    """By instance, why an artefact stands that another fingerprint made."""
    overlap: dict[str, Any] | None
    """What ``prompts/overlap`` found; None where no policy is unexposed."""
    unasked: list[str]
    """Benchmarks that there are and that this recipe does not ask."""

    def of_kind(self, kind: str) -> list[str]:
        """The benchmarks of a kind that at least one model has a score on."""
        found = {cell.benchmark for cell in self.cells.values() if cell.kind == kind}
        return [name for name in self.benchmarks if name in found]

    def about(self, benchmark: str) -> Cell | None:
        """Any model's cell on a benchmark, for what is the same in all of them."""
        cells = (self.cells.get((model, benchmark)) for model in self.models)
        return next((cell for cell in cells if cell is not None), None)


def collect(job: Job) -> Records:
    """Read the inputs that are there; what ``config`` lists and is not there is a hole."""
    models, benchmarks = job.config["models"], job.config["benchmarks"]
    folders = job.fan_in("evals")
    cells = {
        (model, name): _cell(model, name, folders[f"{model}/{name}"])
        for model in models
        for name in benchmarks
        if f"{model}/{name}" in folders
    }
    rewards = {name: _reward(name, folder) for name, folder in job.fan_in("reward").items()}
    point = job.config["recipe"]["policy"].get("evaluate", "final")
    policies = {
        f"policy/{rest}": _policy(f"policy/{rest}", folder, point)
        for rest, folder in job.fan_in("policy").items()
    }
    overlap = job.inputs.get("prompts/overlap")
    wanted = [f"evals/{model}/{name}" for model in models for name in benchmarks]
    wanted += [f"reward/{name}" for name in job.config["rewards"]]
    wanted += [model for model in models if policy_name(model)] + job.config["swaps"]
    return Records(
        models=models,
        benchmarks=benchmarks,
        recipe=job.config["recipe"],
        cells=cells,
        rewards=rewards,
        swaps=_swaps(job),
        probed=[_asked(name)[0].removeprefix("reward/") for name in job.config["swaps"]],
        policies=policies,
        dumps={n: _json(f / "profile.json") for n, f in job.fan_in("dumps").items()},
        threads={n: _json(f / "profile.json") for n, f in job.fan_in("threads").items()},
        labels=_json(job.inputs["labels"] / "profile.json") if "labels" in job.inputs else {},
        holes=[{"what": w, "why": "no artefact"} for w in wanted if w not in job.inputs],
        versions=job.config["versions"],
        lineage=job.config["lineage"],
        card=job.inputs.get("labels/card"),
        accepted=job.config.get("accepted", {}),
        overlap=_json(overlap / "overlap.json") if overlap is not None else None,
        unasked=job.config["unasked"],
    )


def _swaps(job: Job) -> dict[str, Cell]:
    """The swap probes that are there, by the names of the rewards that they ask."""
    found = {}
    for name in job.config["swaps"]:
        if name in job.inputs:
            model, benchmark = _asked(name)
            found[model.removeprefix("reward/")] = _cell(model, benchmark, job.inputs[name])
    return found


def _asked(name: str) -> tuple[str, str]:
    """The model and the benchmark of a cell's name."""
    model, benchmark = name.removeprefix("evals/").rsplit("/", 1)
    return model, benchmark


def _cell(model: str, benchmark: str, folder: Path) -> Cell:
    """One evaluation. Raises CheckError if the score is not the mean of its items."""
    document = _json(folder / "scores.json")
    table = pq.read_table(folder / "items.parquet")
    items = _of_wording(table, document["template"])
    cell = Cell(
        model=model,
        benchmark=benchmark,
        kind=document["kind"],
        metric=document["primary"],
        higher_is_better=document["higher_is_better"],
        ideal=document.get("ideal"),
        broken=document["broken"],
        scores=document["scores"],
        ids=[str(name) for name in items["id"].to_pylist()],
        groups=[str(name) for name in items["group"].to_pylist()],
        values=items["value"].to_numpy().astype(np.float64),
        items=items,
        variants=_variants(table, document),
    )
    stored = document["scores"][document["primary"]]
    if abs(stored - cell.value) > 1e-6:
        raise CheckError(
            f"evals/{model}/{benchmark}: the stored {cell.metric} {stored} is not the mean of its "
            f"items, {cell.value}"
        )
    return cell


def _of_wording(table: pa.Table, template: str) -> pa.Table:
    return table.filter(pc.equal(table["template"], template))


def _variants(table: pa.Table, document: dict[str, Any]) -> dict[str, Floats]:
    """Every wording's values by each rule; wordings were asked the same items in the same order."""
    found = {}
    for template in document["templates"]:
        values = _of_wording(table, template)["values"].combine_chunks()
        for metric in document["variants"]:
            found[f"{template}/{metric}"] = pc.struct_field(values, metric).to_numpy()
    return found


def _reward(name: str, folder: Path) -> Reward:
    return Reward(
        name,
        _json(folder / "reward.json"),
        _json(folder / "metrics.json"),
        pq.read_table(folder / "heldout.parquet"),
    )


def _policy(model: str, folder: Path, evaluated: str | float) -> Policy:
    name = policy_name(model)
    assert name is not None
    # Not splitlines, which cuts at separators that a policy may have sampled.
    lines = (folder / "samples.jsonl").read_text(encoding="utf-8").split("\n")
    return Policy(
        name,
        _json(folder / "curves.json"),
        [json.loads(line) for line in lines if line],
        _json(folder / "metrics.json"),
        _json(folder / "alarms.json"),
        _point(folder, evaluated),
    )


def _point(folder: Path, evaluated: str | float) -> dict[str, Any] | None:
    """The kept model of that KL; None for the last step, or where the KL was not reached."""
    if evaluated == "final":
        return None
    points = _json(folder / "kl.json")["points"]
    return next((point for point in points if point["point"] == evaluated), None)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
