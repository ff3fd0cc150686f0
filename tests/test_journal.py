"""What a run will have told MLflow: a crash at any moment loses none of it and repeats none."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from karma.journal import Journal, settle_dead
from karma.outbox import Outbox
from karma.plan import plan
from karma.recipe import load
from karma.store import Store
from tests.filled import SMOKE, fill
from tests.small import karma
from tests.told import client, parent, runs, stage

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

RUN = "a1"
NO_GATE = ("--set", "gates.reward_beats_length='off'")
DEATH = {
    "kind": "end",
    "keys": [RUN],
    "end": None,
    "status": "KILLED",
    "note": "died",
    "cached": [],
    "artifacts": [],
}


def quiet(_: str) -> None:
    """Nobody has to be told."""


def names(store: Store) -> list[str]:
    """The entries in the outbox, in order."""
    entries = [json.loads(path.read_bytes()) for path in Outbox(store.root).waiting()]
    return [entry.get("name", entry.get("status")) for entry in entries]


def build(store: Store, journal: Journal, name: str, key: str, run: str = RUN, **more) -> None:
    """Commit an instance as a task does, up to its record."""
    folder = store.begin(key)
    (folder / "out" / "a.txt").write_text(key)
    entry = stage(name, key, parent=run, **more)
    facts = {"fingerprint": {}, "seconds": 1.0, "run": run}
    store.commit(name.split("/")[0], key, facts, lambda _: journal.prepare(key, entry))


def evaluate(store: Store, journal: Journal, benchmark: str) -> None:
    more = {"makes": "scores", "metrics": {f"{benchmark}/accuracy": {"value": 0.5}}}
    build(store, journal, "evals/base", f"e-{benchmark}", **more)


def _die(root: Path, when: str) -> None:
    """A run that is killed, with a stage told, one committed and evaluations of one model."""
    store = Store(root)
    journal = Journal(store, RUN, quiet)
    journal.open(parent(RUN), DEATH)
    build(store, journal, "labels", "k1", makes="data")
    journal.tell("k1")
    for benchmark in ("humor", "mmlu"):
        evaluate(store, journal, benchmark)
    if when == "before the record":
        journal.prepare("k2", stage("sft/reddit/0", "k2", parent=RUN))
    else:
        build(store, journal, "sft/reddit/0", "k2")
        if when == "after it was told":
            journal.tell("k2")
    os.kill(os.getpid(), signal.SIGKILL)


def die(root: Path, when: str = "after the record") -> None:
    child = multiprocessing.get_context("spawn").Process(target=_die, args=(root, when))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL


TOLD = {
    "before the record": ["smoke now", "labels", "evals/base", "KILLED"],
    "after the record": ["smoke now", "labels", "evals/base", "sft/reddit/0", "KILLED"],
    "after it was told": ["smoke now", "labels", "sft/reddit/0", "evals/base", "KILLED"],
}


@pytest.mark.parametrize("when", TOLD)
def test_after_a_kill_the_next_run_tells_of_what_was_committed_and_of_nothing_else(store, when):
    die(store.root, when)
    for _ in range(2):
        settle_dead(store, quiet)
        assert names(store) == TOLD[when]
    assert list((store.root / "open").iterdir()) == []


def _settle(root: Path) -> None:
    settle_dead(Store(root), quiet)


def test_runs_that_start_at_once_after_a_kill_tell_it_once(store):
    die(store.root)
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_settle, args=(store.root,)) for _ in range(6)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert all(child.exitcode == 0 for child in children)
    assert names(store) == TOLD["after the record"]


def test_a_settling_that_was_itself_cut_off_is_done_again_without_a_second_entry(store):
    die(store.root)
    first, second = (store.root / "open" / RUN / f"e-{name}.json" for name in ("humor", "mmlu"))
    whole = json.loads(first.read_bytes())
    whole["keys"] += json.loads(second.read_bytes())["keys"]
    whole["metrics"] |= json.loads(second.read_bytes())["metrics"]
    first.write_text(json.dumps(whole))  # joined, but the parts not removed yet
    settle_dead(store, quiet)
    entries = [json.loads(path.read_bytes()) for path in Outbox(store.root).waiting()]
    (evals,) = [entry for entry in entries if entry.get("name") == "evals/base"]
    assert sorted(evals["keys"]) == ["e-humor", "e-mmlu"]
    assert sorted(evals["metrics"]) == ["humor/accuracy", "mmlu/accuracy"]


def test_a_run_that_goes_on_is_left_alone_and_tells_its_own_end(store):
    journal = Journal(store, RUN, quiet)
    journal.open(parent(RUN), DEATH)
    build(store, journal, "labels", "k1", makes="data")
    journal.tell("k1")
    for benchmark in ("humor", "mmlu"):
        evaluate(store, journal, benchmark)
    settle_dead(store, quiet)
    assert names(store) == ["smoke now", "labels"]
    journal.close({**DEATH, "status": "FINISHED"})
    assert names(store) == ["smoke now", "labels", "evals/base", "FINISHED"]
    assert list((store.root / "open").iterdir()) == []


def test_what_another_run_committed_in_its_place_is_told_by_that_run_alone(store):
    die(store.root, "before the record")
    journal = Journal(store, "b2", quiet)
    journal.open(parent("b2"), {**DEATH, "keys": ["b2"]})
    build(store, journal, "sft/reddit/0", "k2", run="b2")
    journal.tell("k2")
    settle_dead(store, quiet)
    assert names(store).count("sft/reddit/0") == 1
    journal.close({**DEATH, "keys": ["b2"], "status": "FINISHED"})


def test_an_outbox_that_cannot_be_written_is_told_once_and_filled_later(store):
    said: list[str] = []
    journal = Journal(store, RUN, said.append)
    outbox = store.root / "outbox"
    outbox.rmdir()
    outbox.write_text("in the way")
    journal.open(parent(RUN), DEATH)
    build(store, journal, "labels", "k1", makes="data")
    journal.tell("k1")
    journal.close({**DEATH, "status": "FINISHED"})
    assert len(said) == 1
    assert "Not a directory" in said[0]
    assert store.record("labels", "k1") is not None
    outbox.unlink()
    outbox.mkdir()
    settle_dead(store, said.append)
    assert names(store) == ["smoke now", "labels", "FINISHED"]


def test_an_entry_that_finds_no_room_is_written_when_the_run_ends(store):
    said: list[str] = []
    journal = Journal(store, RUN, said.append)
    journal.open(parent(RUN), DEATH)
    (store.root / "open" / RUN / "k1.json").mkdir()  # nothing can be written there
    build(store, journal, "labels", "k1", makes="data")
    (store.root / "open" / RUN / "k1.json").rmdir()
    journal.tell("k1")
    journal.close({**DEATH, "status": "FINISHED"})
    assert len(said) == 1
    assert names(store) == ["smoke now", "labels", "FINISHED"]


class Listener:
    """A console that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def started(self, instance: str) -> None: ...

    def progress(self, instance: str, done: float, total: float, unit: str) -> None: ...

    def ended(self, instance: str, words: str) -> None: ...

    def say(self, words: str) -> None:
        self.said.append(words)


def test_a_stage_is_done_although_the_outbox_cannot_be_written_and_is_told_later(
    store, monkeypatch
):
    from tasks import entries
    from tasks.stage import Run, bring_up_to_date

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    recipe = load(SMOKE, ["world.threads=20", "world.texts=20"])
    run = Run(plan("smoke", recipe, store).dag, store, Listener())
    (store.root / "outbox").rename(store.root / "elsewhere")
    run.journal.open(entries.begin(run), entries.killed(run))
    try:
        state = bring_up_to_date(run, "world")
    finally:
        run.close()
    assert state.name == "Completed"
    assert len(run.console.said) == 1
    (store.root / "elsewhere").rename(store.root / "outbox")
    run.journal.close(entries.end(run, "FINISHED", "", []))
    assert names(store)[1:] == ["world", "FINISHED"]


def test_the_evaluations_of_a_run_are_one_entry_a_model(store):
    from tasks import entries
    from tasks.stage import Outcome, Run

    recipe = load(SMOKE, [])
    fill(store, "smoke", recipe)
    made = plan("smoke", recipe, store)
    run = Run(made.dag, store, Listener())
    run.outcomes = {n: Outcome(e.key or "", e.digest, True) for n, e in made.entries.items()}
    run.journal.open(entries.begin(run), entries.killed(run))
    nodes = [node for node in made.dag.nodes.values() if node.stage == "evals"]
    for node in nodes:
        path = store.root / "records" / "evals" / f"{run.outcomes[node.id].key}.json"
        record = {**json.loads(path.read_bytes()), "run": run.id}
        path.write_text(json.dumps(record))
        run.journal.prepare(record["key"], entries.evaluation(run, node, record))
    run.journal.close(entries.end(run, "FINISHED", "", []))
    models = {node.inputs["model"] for node in nodes}
    assert sorted(names(store)[1:-1]) == sorted(f"evals/{model}" for model in models)
    told = [json.loads(path.read_bytes()) for path in Outbox(store.root).waiting()[1:-1]]
    assert sum(len(entry["keys"]) for entry in told) == len(nodes)


def test_a_run_with_nothing_to_do_tells_of_a_killed_one_and_needs_no_prefect(tmp_path):
    store = Store(tmp_path / "workspace")
    store.create()
    recipe = load(SMOKE, [])
    fill(store, "smoke", recipe)
    die(store.root)
    database = f"sqlite:///{tmp_path}/mlflow.db"
    client(database).search_experiments()  # making one takes seconds
    environment = {"MLFLOW_TRACKING_URI": database, "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    for sent in ("sent 6 entries", ""):
        ran = karma("run", str(SMOKE), *NO_GATE, workspace=store.root, env=environment)
        assert ran.returncode == 0, ran.stderr
        assert "nothing ran" in ran.stdout
        assert sent in ran.stderr
    by_name = {run.info.run_name: run for run in runs(database, "smoke")}
    assert by_name["smoke now"].info.status == "KILLED"
    assert len(client(database).search_runs(["1"])) == 4
    assert set(by_name["evals/base"].data.metrics) == {"humor/accuracy", "mmlu/accuracy"}
    assert imported(store) == []


def imported(store: Store) -> list[str]:
    """The heavy libraries that a run imports which has nothing to do and nothing to tell."""
    command = ["run", str(SMOKE), *NO_GATE, "--workspace", str(store.root)]
    program = (
        "import sys; from flows.cli import app\n"
        f"app({command}, standalone_mode=False)\n"
        "print(sorted({'prefect', 'mlflow', 'torch'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    found: list[str] = json.loads(ran.stdout.splitlines()[-1].replace(b"'", b'"'))
    return found
