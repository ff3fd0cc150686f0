"""Entries as a run makes them, and what MLflow has of them."""

from karma.outbox import Outbox, write
from karma.store import Store


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


def put(store: Store, entry: dict) -> None:
    """Let an entry wait, as a run does that has committed what it tells of."""
    path = store.root / "open" / "entry.json"
    write(path, entry)
    Outbox(store.root).put(path)


def client(uri: str):
    import mlflow

    return mlflow.MlflowClient(uri)


def runs(uri: str, name: str) -> list:
    found = client(uri).get_experiment_by_name(name)
    listed = client(uri).search_runs([found.experiment_id]) if found else []
    return [client(uri).get_run(run.info.run_id) for run in listed]
