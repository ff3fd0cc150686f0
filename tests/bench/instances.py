"""Brings some stages of a recipe up to date, as a run does, and says what each instance cost.

What is stale is the plan's business and where artefacts lie the store's; jobs run one after the
other in one of the pipeline's own workers, so that imports count for the first job only. Prefect,
MLflow and the console are left out: they cost the same whatever the data.
"""

import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from karma.dag import Dag, build, fingerprint
from karma.fingerprint import PROJECT
from karma.nodes import Node
from karma.plan import FRESH, Entry, Plan, plan
from karma.recipe import Recipe, load
from karma.store import Store
from karma.worker import Worker

RECIPE = PROJECT / "flows" / "recipes" / "dump.yaml"
NAME = "bench"


@dataclass(frozen=True)
class Ran:
    """An instance that ran: its processor seconds and its peak of memory in MiB."""

    id: str
    seconds: float
    peak_mib: float

    @property
    def stage(self) -> str:
        """The stage's word."""
        return self.id.split("/")[0]


def recipe(dumps: list[Path], *settings: str) -> Recipe:
    """The recipe for one's own dumps, with these of comments, and ``KEY=VALUE`` put over it."""
    files = json.dumps([str(path.absolute()) for path in dumps])
    return load(RECIPE, [f"dumps.comments={files}", "dumps.submissions=null", *settings])


def dag(dumps: list[Path]) -> Dag:
    """The graph of that recipe, before the thread ranges are known."""
    return build(NAME, recipe(dumps))


def spec(node: Node, inputs: dict[str, Path]) -> dict[str, Any]:
    """A node's job as ``python -m karma.jobs`` and the workers take it."""
    paths = {role: str(path) for role, path in inputs.items()}
    return {"job": node.job, "config": node.job_config, "inputs": paths, "compute": "cpu"}


class Workspace:
    """A store and a worker, for a recipe whose dumps may grow in number."""

    def __init__(self, root: Path, *settings: str) -> None:
        """``settings`` are put over the recipe."""
        self.store = Store(root)
        self.store.create()
        self._settings = settings
        self._worker = Worker({})

    def __enter__(self) -> "Workspace":
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.close()

    def bring_up_to_date(self, dumps: list[Path], *stages: str) -> list[Ran]:
        """Run what is stale of ``stages``, in the order of the DAG.

        Raises StageError or UserError where a job fails.
        """
        for path in dumps:
            self.store.hash_source(path)
        ran: list[Ran] = []
        # Each pass may make more known: the ranges of threads, what waited for an input.
        while True:
            made = self._plan(dumps)
            ready = [entry for entry in made.entries.values() if _runs(entry, stages)]
            if not ready:
                return ran
            ran += [self._run(made, entry) for entry in ready]

    def forget(self, *stages: str) -> None:
        """Drop what is known of ``stages``, so that they run again."""
        for stage in stages:
            shutil.rmtree(self.store.root / "records" / stage)

    def ranges(self, dumps: list[Path]) -> list[Entry]:
        """What the plan says of each range of threads."""
        entries = self._plan(dumps).entries.values()
        return [entry for entry in entries if is_range(entry.node.id)]

    def profile(self, entry: Entry) -> dict[str, Any]:
        """``profile.json`` of an instance that was built."""
        assert entry.digest is not None
        document: dict[str, Any] = json.loads(
            (self.store.path(entry.digest) / "profile.json").read_bytes()
        )
        return document

    def _plan(self, dumps: list[Path]) -> Plan:
        return plan(NAME, recipe(dumps, *self._settings), self.store)

    def _run(self, made: Plan, entry: Entry) -> Ran:
        node, key = entry.node, entry.key
        assert key is not None
        digests = {role: made.entries[name].digest or "" for role, name in node.inputs.items()}
        inputs = {role: self._path(made, name) for role, name in node.inputs.items()}
        folder = self.store.begin(key)
        document = fingerprint(node, made.dag.settings, digests)
        usage = self._worker.run(
            spec(node, inputs), folder, document, lambda _done, _total, _unit: None
        )
        facts = {"fingerprint": document, "began": 0.0, **_extent(node, folder / "out"), **usage}
        record = self.store.commit(node.stage, key, facts)
        self.store.set_ref(NAME, node.id, key, record["digest"])
        return Ran(node.id, usage["cpu_seconds"], usage["peak_mib"])

    def _path(self, made: Plan, name: str) -> Path:
        source = made.dag.nodes[name].source
        if source is not None and source.path is not None:
            return source.path.absolute()
        return self.store.path(made.entries[name].digest or "")


def is_range(instance: str) -> bool:
    """Whether an instance is the conversations of one range of thread ids."""
    return instance.startswith("threads/") and instance.count("/") == 1


def _runs(entry: Entry, stages: Collection[str]) -> bool:
    """Whether an instance is stale, its inputs being there."""
    return entry.node.stage in stages and entry.state != FRESH and entry.key is not None


def _extent(node: Node, out: Path) -> dict[str, Any]:
    """What a dump holds, which decides the instances of ``threads``."""
    if node.stage != "dumps":
        return {}
    profile = json.loads((out / "profile.json").read_bytes())
    return {"ranges": sorted(profile["ranges"]), "months": profile["months"]}
