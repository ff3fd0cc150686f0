"""Fingerprints against an independent oracle: each job of a run, again, without what they omit.

A job that reads a module, a statement, a file or an artefact that its fingerprint leaves out would
be called fresh when that changes. So every instance of the smoke recipe is run once more in a copy
of the project that holds what its fingerprint names and nothing else, on copies of its inputs: it
must succeed, touch nothing elsewhere, and make the same bytes.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from karma.fingerprint import PROJECT
from karma.store import Store, digest_of, manifest_of
from tests.filled import SMOKE
from tests.hermetic import leaves
from tests.small import karma, settings

THREADS = "threads/2177060000-2177080000"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

Change = tuple[str, str, Any] | None
"""What is changed: a setting (``config``, its path, its new value), a module's constant or a
statement's or list's text (``text``, the file, old and new), or nothing."""

# By instance: what must change its bytes. The kinds are those of a fingerprint.
TELL: list[tuple[str, Change]] = [
    ("world", ("config", "world.fit", 0.5)),
    ("world", ("text", "karma/world/karma.py", ("1.1 * value", "1.2 * value"))),
    ("dumps/RC_2023-01.zst", ("config", "width", 10000)),
    (
        "dumps/RC_2023-01.zst",
        (
            "text",
            "sql/dumps/stg_comments.sql",
            ("integral(retrieved_on)", "60 + integral(retrieved_on)"),
        ),
    ),
    (THREADS, ("config", "threads.turns", 1)),
    (THREADS, ("config", "threads.split.test", 0.2)),
    ("threads/signatures/RC_2023-01.zst", ("config", "threads.duplicate_chars", 20)),
    ("labels", ("config", "labels.pairs.min_margin", 6)),
    ("labels", ("config", "labels.valuation.within", ["subreddit"])),
    ("prompts/reddit", ("config", "prompts.count", 10)),
    ("sft/reddit/0", ("config", "sft.count", 64)),
    ("reward/random/0", ("config", "seed", 1)),
    ("reward/random/0", ("config", "reward.heldout", 100)),
    ("policy/reddit/random/0", ("config", "policy.kl_coef", 0.2)),
    ("policy/reddit/random/0", ("config", "seed", 1)),
    ("evals/base/humor", ("config", "evals.items", 12)),
    ("evals/base/humor", ("text", "karma/evals/templates/humor/default.txt", ("joke", "jest"))),
]

# By instance: what must not, and is in no fingerprint.
NO_MATTER: list[tuple[str, Change]] = [
    ("dumps/RC_2023-01.zst", ("config", "dumps.memory_mb", 300)),
    (THREADS, ("config", "threads.memory_mb", 300)),
    ("sft/reddit/0", ("config", "sft.checkpoint_steps", 7)),
    ("policy/reddit/random/0", ("config", "policy.checkpoint_every", 2)),
    ("policy/reddit/random/0", ("text", "karma/policy/ppo.py", ("import", "# a comment\nimport"))),
]

# What a fingerprint names and no job of this recipe touched: false stale, and why it is left so.
IDLE = {
    "sql": "a stage's statements count for all of its instances; each is read by some job of some "
    "recipe (another format, a filter of languages), and a change that leaves the bytes as they "
    "are ends there",
    "salt": "the digest of the salt, which the job has from the environment",
    "variant": "a policy's name for its reward, by which its artefact is told from another's",
    "name": "the same for a reward",
    "benchmark": "the swap probe's name, by which its cell is told from a benchmark's",
    "rows": "that rows of toxicity are given, which the job asks of its inputs",
    "uses": "read as a whole",
    "recipe": "what the report shows of the recipe, as a whole",
    "versions": "the same of the libraries",
}

# Where libraries and the system keep what is theirs.
LIBRARIES = tuple(
    str(Path(path).resolve())
    for path in (sys.prefix, sys.base_prefix, "/usr", "/lib", "/etc", "/proc", "/sys", "/dev")
)


def instances(workspace: Path) -> dict[str, dict[str, Any]]:
    """What the plan says of every instance that has a job, by id."""
    ran = karma("plan", str(SMOKE), *settings(), "--json", workspace=workspace)
    stages = json.loads(ran.stdout)["stages"]
    assert {entry["state"] for entry in stages} == {"FRESH"}
    return {entry["id"]: entry for entry in stages if entry["key"]}


def specification(store: Store, record: dict[str, Any]) -> dict[str, Any]:
    """What the job was given: the first line of its log."""
    log = store.path(record["digest"]) / "log" / record["key"] / "output.txt"
    with log.open(encoding="utf-8") as lines:
        return json.loads(lines.readline())


def project(root: Path, document: dict[str, Any]) -> None:
    """A copy of the project that holds what a fingerprint names."""
    names = [*document["sql"], *document["file"]]
    for module in document["code"]:
        path = module.replace(".", "/")
        package = (PROJECT / path).is_dir()
        names.append(f"{path}/__init__.py" if package else f"{path}.py")
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / name, root / name)


def inputs(folder: Path, spec: dict[str, Any]) -> dict[str, str]:
    """Copies of a job's inputs, each in a folder of its own."""
    copies = {}
    for number, (role, path) in enumerate(spec["inputs"].items()):
        place = folder / str(number) / Path(path).name
        place.parent.mkdir(parents=True)
        if Path(path).is_dir():
            shutil.copytree(path, place, ignore=shutil.ignore_patterns("log", "manifest.json"))
        else:
            shutil.copyfile(path, place)
        copies[role] = str(place)
    return copies


def request(folder: Path, store: Store, record: dict[str, Any], change: Change) -> dict[str, Any]:
    """All that one job needs, in a folder of its own, with one thing changed or nothing."""
    spec = specification(store, record)
    spec["inputs"] = inputs(folder / "inputs", spec)
    project(folder / "project", record["fingerprint"])
    _apply(change, folder / "project", spec["config"])
    for name in ("out", "scratch"):
        (folder / name).mkdir()
    return {
        "root": str(folder / "project"),
        "spec": spec,
        "out": str(folder / "out"),
        "scratch": str(folder / "scratch"),
        "seen": str(folder / "seen.json"),
    }


def _apply(change: Change, root: Path, config: dict[str, Any]) -> None:
    if change is None:
        return
    kind, what, value = change
    if kind == "config":
        *above, name = what.split(".")
        for part in above:
            config = config[part]
        assert config[name] != value
        config[name] = value
    else:
        text = (root / what).read_text(encoding="utf-8")
        assert value[0] in text
        (root / what).write_text(text.replace(*value, 1), encoding="utf-8")


@dataclass
class Again:
    """One job that was run again."""

    instance: str
    change: Change
    record: dict[str, Any]
    folder: Path

    @property
    def same(self) -> bool:
        """Whether it made the bytes that stand in the store."""
        return digest_of(manifest_of(self.folder / "out")) == self.record["digest"]

    @property
    def seen(self) -> dict[str, Any]:
        """What it touched, and its error."""
        return json.loads((self.folder / "seen.json").read_text())


@pytest.fixture(scope="module")
def jobs(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Again]:
    """Every instance run again as it was, and some with one thing changed."""
    store, folder = Store(workspace), tmp_path_factory.mktemp("hermetic")
    entries = instances(workspace)
    wanted: list[tuple[str, Change]] = [(name, None) for name in entries]
    found, requests = [], []
    for number, (name, change) in enumerate([*wanted, *TELL, *NO_MATTER]):
        record = store.record(entries[name]["stage"], entries[name]["key"])
        assert record is not None
        found.append(Again(name, change, record, folder / str(number)))
        requests.append(request(found[-1].folder, store, record, change))
    (folder / "requests.json").write_text(json.dumps(requests))
    clean = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"}
    script = Path(__file__).with_name("hermetic.py")
    subprocess.run(
        [sys.executable, "-P", str(script), str(folder / "requests.json")],
        env={**clean, "MPLCONFIGDIR": str(folder / "matplotlib")},
        cwd=folder,
        check=True,
    )
    return found


@pytest.fixture
def again(jobs: list[Again]) -> list[Again]:
    """The jobs that were run as they were."""
    return [job for job in jobs if job.change is None]


def test_every_job_does_without_what_its_fingerprint_omits(again):
    assert {job.instance: job.seen["error"] for job in again if job.seen["error"]} == {}


def test_every_job_makes_the_same_bytes_again(again):
    assert [job.instance for job in again if not job.same] == []


def test_no_job_opens_a_file_that_is_neither_given_to_it_nor_a_librarys(again):
    strange = {
        (job.instance, path)
        for job in again
        for path in job.seen["opened"]
        if not path.startswith((str(job.folder), str(job.folder.parent / "matplotlib"), *LIBRARIES))
    }
    assert strange == set()


def test_what_a_fingerprint_names_is_touched_or_has_a_reason_not_to_be(again):
    untold = {
        (job.instance, kind, name)
        for job in again
        for kind, names in idle(job).items()
        for name in names
        if not {kind, *name.split(".")} & IDLE.keys()
    }
    assert untold == set()


def idle(job: Again) -> dict[str, list[str]]:
    """What the fingerprint of a job names and the job did not touch, by kind."""
    document, seen = job.record["fingerprint"], job.seen
    root = job.folder / "project"
    return {
        "code": sorted(set(document["code"]) - set(seen["modules"])),
        "sql": [n for n in document["sql"] if str(root / n) not in seen["opened"]],
        "file": [n for n in document["file"] if str(root / n) not in seen["opened"]],
        "config": [n for n in leaves(document["config"]) if n.split(".")[-1] not in seen["asked"]],
    }


@pytest.mark.parametrize(("instance", "change"), TELL)
def test_a_change_that_counts_changes_the_bytes(jobs, instance, change):
    (job,) = [j for j in jobs if (j.instance, j.change) == (instance, change)]
    assert job.seen["error"] == ""
    assert not job.same


@pytest.mark.parametrize(("instance", "change"), NO_MATTER)
def test_a_change_that_does_not_count_leaves_the_bytes_as_they_are(jobs, instance, change):
    (job,) = [j for j in jobs if (j.instance, j.change) == (instance, change)]
    assert job.seen["error"] == ""
    assert job.same
