"""Speed of knowing what is stale: ``make bench-plan``, against DVC in one run.

    noop_vs_dvc   ``dvc repro`` over ``karma run``, both with nothing to do
    plan_vs_dvc   ``dvc status`` over ``karma plan``
    plan_limit    two seconds over ``karma plan`` for 1,000 instances

All in processor seconds, the interpreter's start included; the least of several tries. Every
instance of the smoke recipe is a small artefact of its own, and DVC's project has one stage for
each, with the same inputs and the same files; KARMA's own look at code, SQL and settings has no
peer there. DVC is installed into ``build/dvc`` and used nowhere else.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from karma.plan import FRESH, Plan, plan
from karma.recipe import load
from karma.store import Store
from tests.bench.measure import Row, child, conclude, least
from tests.filled import SMOKE, fill

DVC = "dvc==3.67.1"
TRIES = 5
INSTANCES, LIMIT = 1000, 2.0  # seconds that the plan of so many may take
BUILD = Path("build")
KARMA = Path(sys.executable).parent / "karma"


def say(words: str) -> None:
    """Tell how far the benchmark is; standard output is the table's."""
    print(words, file=sys.stderr, flush=True)


def workspace(root: Path, *settings: str) -> Plan:
    """A workspace in which every instance is fresh; its plan."""
    store = Store(root)
    store.create()
    recipe = load(SMOKE, list(settings))
    fill(store, "smoke", recipe)
    made = plan("smoke", recipe, store)
    assert {entry.state for entry in made.entries.values()} == {FRESH}
    return made


def install() -> Path:
    """The command ``dvc`` in an environment of its own."""
    folder = BUILD / "dvc"
    command = folder / "bin" / "dvc"
    if not command.exists():
        say(f"installing {DVC} into {folder}")
        venv.create(folder, with_pip=True)
        options = ["install", "--quiet", "--disable-pip-version-check", DVC]
        subprocess.run([folder / "bin" / "python", "-m", "pip", *options], check=True)
    return command.absolute()


def project(folder: Path, made: Plan, store: Store, dvc: Path) -> None:
    """A DVC project with a stage an instance, an output folder each, whose outputs are known."""
    stages = {}
    for entry in made.entries.values():
        if entry.node.source is not None or entry.digest is None:
            continue
        name = _stage(entry.node.id)
        artefact = store.path(entry.digest)
        shutil.copytree(artefact, folder / "out" / name, ignore=_own)
        above = (_built(made, above) for above in entry.node.inputs.values())
        deps = sorted({f"out/{_stage(found)}" for found in above if found is not None})
        stages[name] = {"cmd": "true", "deps": deps, "outs": [f"out/{name}"]}
    # JSON is YAML.
    (folder / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    for arguments in (["init", "--no-scm", "--quiet"], ["commit", "--force", "--quiet"]):
        subprocess.run([dvc, "--cd", folder, *arguments], check=True, stdout=subprocess.DEVNULL)


def _own(folder: str, names: list[str]) -> set[str]:
    """What the store adds to an artefact's files."""
    return {name for name in names if name in ("manifest.json", "log")}


def _stage(instance: str) -> str:
    return instance.replace("/", "-").replace(".", "-")


def _built(made: Plan, name: str) -> str | None:
    """The instance that an input is, or that a member of the simulator's world is a file of."""
    node = made.dag.nodes[name]
    return name if node.source is None else next(iter(node.inputs.values()), None)


def seconds(command: list[str | Path]) -> float:
    """The least processor seconds of several tries, after one that warms the caches."""
    words = [str(word) for word in command]
    child(words)
    return least(*(child(words) for _ in range(TRIES)))


def against_dvc(work: Path) -> tuple[list[Row], str]:
    """The two ratios, and what was compared."""
    say("building a workspace")
    store = Store(work / "workspace")
    made = workspace(store.root)
    dvc = install()
    say("building DVC's project of the same stages")
    (work / "project").mkdir()
    project(work / "project", made, store, dvc)
    quiet = {"DVC_NO_ANALYTICS": "1", "CORE_CHECK_UPDATE": "false"}
    os.environ.update(quiet)
    say("measuring")
    there = ["--workspace", store.root]
    ours = {name: seconds([KARMA, name, SMOKE, *there]) for name in ("run", "plan")}
    peers = {name: seconds([dvc, "--cd", work / "project", name]) for name in ("repro", "status")}
    rows = [
        _row("noop_vs_dvc", ours["run"], peers["repro"]),
        _row("plan_vs_dvc", ours["plan"], peers["status"]),
    ]
    stages = sum(entry.node.source is None for entry in made.entries.values())
    return rows, f"{stages} stages, of {len(made.entries)} nodes in KARMA's graph; {DVC}"


def _row(name: str, ours: float, peer: float, target: float = 2.0) -> Row:
    return Row(name, f"{ours:.2f} s", f"{peer:.2f} s", peer / ours, target, at_least=True)


def large(work: Path) -> Row:
    """The plan of so many instances as the limit is set for."""
    say(f"building a workspace of {INSTANCES} instances")
    setting = f"seeds={list(range(10))}"
    made = workspace(work / "large", setting)
    assert len(made.entries) >= INSTANCES, len(made.entries)
    command = [KARMA, "plan", SMOKE, "--set", setting, "--workspace", work / "large"]
    return _row("plan_limit", seconds(command), LIMIT, target=1.0)


def main() -> None:
    """Measure, and print the table and the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        work = Path(folder).absolute()
        rows, note = against_dvc(work)
        conclude("plan", [*rows, large(work)], [note])


if __name__ == "__main__":
    main()
