"""The outbox and MLflow: nothing is lost, nothing arrives twice, nothing waits for the server."""

import time
from pathlib import Path

import pytest

from karma.outbox import Outbox
from karma.record import Sender, flush
from karma.store import Store
from tasks.entries import SMALL, readable

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def parent(key: str) -> dict:
    return {
        "kind": "parent",
        "experiment": "smoke",
        "name": "smoke now",
        "keys": [key],
        "start": 1,
        "end": 2,
        "tags": {"recipe": "smoke", "stage": "pipeline"},
        "params": {"seeds": [0]},
    }


def stage(name: str, key: str, **more) -> dict:
    return {
        "kind": "stage",
        "experiment": "smoke",
        "parent": "run",
        "name": name,
        "keys": [key],
        "start": 1,
        "end": 2,
        "status": "FINISHED",
        "tags": {"stage": name.split("/")[0], "key": key, "digest": "d" * 64},
        "params": {"lr": 0.1},
        "metrics": {"spearman": {"value": 0.5}},
        "path": "/somewhere",
        "makes": "model",
        "upstream": [],
        **more,
    }


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> str:
    """A tracking database; making one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def client(uri: str):
    import mlflow

    return mlflow.MlflowClient(uri)


def runs(uri: str, name: str) -> list:
    found = client(uri).get_experiment_by_name(name)
    listed = client(uri).search_runs([found.experiment_id]) if found else []
    return [client(uri).get_run(run.info.run_id) for run in listed]


def test_entries_wait_in_the_order_of_events(store):
    outbox = Outbox(store.root)
    for name in ("a", "b", "c"):
        outbox.put(stage(name, name))
    assert [outbox.begin(p)[1]["name"] for p in outbox.waiting()] == ["a", "b", "c"]


def test_a_run_arrives_with_its_parent_data_sets_models_metrics_and_links(store, database):
    outbox = Outbox(store.root)
    series = store.root / "metrics.jsonl"
    lines = ['{"step": 1, "time": 1.0, "loss": 2.0}', '{"step": 2, "time": 2.0, "loss": 1}']
    series.write_text("\n".join(lines))
    data = {"name": "labels", "digest": "d1", "source": "/x", "context": "input", "profile": {}}
    outbox.put(parent("run"))
    outbox.put(stage("reward/context/0", "k1"))
    outbox.put(
        stage(
            "policy/reddit/context/0",
            "k2",
            series=str(series),
            datasets=[data],
            models=["k1"],
            upstream=[("reward/context/0", "k1")],
        )
    )
    assert flush(store, database, lambda _: None, seconds=120) == 0
    by_name = {run.info.run_name: run for run in runs(database, "smoke")}
    policy, reward = by_name["policy/reddit/context/0"], by_name["reward/context/0"]
    assert policy.data.tags["mlflow.parentRunId"] == by_name["smoke now"].info.run_id
    assert [d.dataset.name for d in policy.inputs.dataset_inputs] == ["labels"]
    used = [m.model_id for m in policy.inputs.model_inputs]
    assert used == [m.model_id for m in reward.outputs.model_outputs]
    assert f"runs/{reward.info.run_id}" in policy.data.tags["mlflow.note.content"]
    history = client(database).get_metric_history(policy.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 2.0), (2, 1.0)]
    assert policy.info.status == "FINISHED"


def test_an_entry_that_was_sent_but_not_ticked_off_does_not_arrive_twice(store, database):
    outbox = Outbox(store.root)
    entry = stage("reward/twice/0", "k9", experiment="twice", entry="e9")
    outbox.put(entry)
    assert flush(store, database, lambda _: None, seconds=120) == 0
    outbox.put(entry)
    outbox.begin(outbox.waiting()[0])  # as a process does that dies while it sends
    assert flush(store, database, lambda _: None, seconds=120) == 0
    found = runs(database, "twice")
    assert len(found) == 1
    assert len(found[0].outputs.model_outputs) == 1


def test_cards_profiles_and_figures_can_be_looked_at_in_mlflow(store, database, tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    for name in ("card.md", "profile.json", "scores.png", "data.parquet", "metrics.json"):
        (made / name).write_bytes(name.encode())
    (made / "huge.png").write_bytes(bytes(SMALL + 1))
    files = readable(made)
    assert [Path(file).name for file in files] == ["profile.json", "card.md", "scores.png"]
    entry = stage("labels/card", "k7", experiment="card", makes="data", entry="e7", artifacts=files)
    for again in (False, True):
        outbox = Outbox(store.root)
        outbox.put(entry)
        if again:
            outbox.begin(outbox.waiting()[0])
            (made / "scores.png").unlink()  # gone from the store since
        assert flush(store, database, lambda _: None, seconds=120) == 0
    (run,) = runs(database, "card")
    listed = client(database).list_artifacts(run.info.run_id)
    assert sorted(item.path for item in listed) == ["card.md", "profile.json", "scores.png"]


def test_with_the_server_away_nothing_is_lost_and_nobody_waits_long(store, database):
    told: list[str] = []
    Outbox(store.root).put(stage("reward/kept/0", "k5", experiment="kept"))
    began = time.monotonic()
    assert flush(store, "http://127.0.0.1:9", told.append, seconds=15) == 1
    assert time.monotonic() - began < 16
    assert any("does not answer" in words for words in told)
    assert flush(store, database, told.append, seconds=120) == 0
    assert [run.info.run_name for run in runs(database, "kept")] == ["reward/kept/0"]
    assert Outbox(store.root).waiting() == []


def test_a_run_known_to_another_server_is_no_link_here(store: Store, database):
    store.set_mlflow_run("k1", {"run": "r", "experiment": "1", "model": "m", "uri": "elsewhere"})
    sender = Sender(store, database, lambda _: None)
    assert sender._link("reward/context/0", "k1") == "reward/context/0"
