"""The outbox and MLflow: nothing is lost, nothing arrives twice, nothing waits for the server."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from karma.address import public
from karma.outbox import Outbox
from karma.record import Sender, flush, lacking, prepare
from karma.store import Store
from tasks.entries import SMALL, readable
from tests.small import wait_until
from tests.told import client, parent, put, runs, stage
from tests.tracking import tracking

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> str:
    """A tracking database; making one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def test_entries_wait_in_the_order_of_events(store):
    outbox = Outbox(store.root)
    for name in ("a", "b", "c"):
        put(store, stage(name, name))
    assert [outbox.begin(p)[1]["name"] for p in outbox.waiting()] == ["a", "b", "c"]


def test_a_run_arrives_with_its_parent_data_sets_models_metrics_and_links(store, database):
    series = store.root / "metrics.jsonl"
    lines = ['{"step": 1, "time": 1.0, "loss": 2.0}', '{"step": 2, "time": 2.0, "loss": 1}']
    series.write_text("\n".join(lines))
    data = {"name": "labels", "digest": "d1", "source": "/x", "context": "input", "profile": {}}
    put(store, parent("run"))
    put(store, stage("reward/context/0", "k1"))
    put(
        store,
        stage(
            "policy/reddit/context/0",
            "k2",
            series=str(series),
            datasets=[data],
            models=["k1"],
            upstream=[("reward/context/0", "k1")],
        ),
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


def test_a_metric_that_a_run_has_is_not_sent_to_it_again(store, database):
    from mlflow.entities import Metric

    put(store, stage("reward/lacking/0", "k8", experiment="lacking"))
    assert flush(store, database, lambda _: None, seconds=120) == 0
    (run,) = runs(database, "lacking")
    known, more = Metric("spearman", 0.5, 2, 0), Metric("pearson", 0.5, 2, 0)
    assert lacking(run, [known, more]) == [more]


def test_an_entry_that_was_sent_but_not_ticked_off_does_not_arrive_twice(store, database):
    outbox = Outbox(store.root)
    entry = stage("reward/twice/0", "k9", experiment="twice", entry="e9")
    put(store, entry)
    assert flush(store, database, lambda _: None, seconds=120) == 0
    put(store, entry)
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
        put(store, entry)
        if again:
            outbox = Outbox(store.root)
            outbox.begin(outbox.waiting()[0])
            (made / "scores.png").unlink()  # gone from the store since
        assert flush(store, database, lambda _: None, seconds=120) == 0
    (run,) = runs(database, "card")
    listed = client(database).list_artifacts(run.info.run_id)
    assert sorted(item.path for item in listed) == ["card.md", "profile.json", "scores.png"]


def test_the_parent_run_gets_the_report_its_cards_and_a_page_of_links(store, database, tmp_path):
    (tmp_path / "cards" / "reward").mkdir(parents=True)
    files = [
        tmp_path / name for name in ("report.html", "report.md", "forest.png", "cards/reward/x.md")
    ]
    for path in files:
        path.write_text("text")
    put(store, {**parent("whole"), "experiment": "whole"})
    put(store, stage("reward/x/0", "k8", experiment="whole", parent="whole", entry="e8"))
    end = {"kind": "end", "keys": ["whole"], "end": 3, "status": "FINISHED", "note": "done"}
    end |= {
        "cached": [],
        "artifacts": [str(path) for path in files[:3]] + [str(tmp_path / "cards")],
    }
    instances = [("reward/x/0", "k8"), ("labels/<b>", "k7")]
    put(store, {**end, "instances": instances, "recipe": "whole"})
    assert flush(store, database, lambda _: None, seconds=120) == 0
    by_name = {run.info.run_name: run for run in runs(database, "whole")}
    run, made = by_name["smoke now"].info.run_id, by_name["reward/x/0"].info.run_id
    listed = {item.path for item in client(database).list_artifacts(run)}
    assert listed == {"report.html", "report.md", "forest.png", "cards", "runs.html"}
    assert [i.path for i in client(database).list_artifacts(run, "cards/reward")] == [
        "cards/reward/x.md"
    ]
    page = Path(client(database).download_artifacts(run, "runs.html", str(tmp_path))).read_text()
    assert f"/runs/{made}" in page
    assert "<td>labels/&lt;b&gt;</td>" in page  # made elsewhere: no link, and no markup


def test_with_the_server_away_nothing_is_lost_and_nobody_waits_long(store, database):
    told: list[str] = []
    put(store, stage("reward/kept/0", "k5", experiment="kept"))
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


ODD = {"crows_pairs/race (color)?": 1, "crows_pairs/race [color]!": 2, "/mmlu//..": 3, "e" * 300: 4}


def test_names_that_mlflow_forbids_are_cleaned_and_stay_apart(store, database):
    values = {name: {"value": value} for name, value in ODD.items()}
    put(store, stage("evals/odd", "k1", experiment="odd", metrics=values, params=dict(ODD)))
    told: list[str] = []
    assert flush(store, database, told.append, seconds=120) == 0
    assert told == ["MLflow: sent 1 entries that an earlier run kept"]
    (run,) = runs(database, "odd")
    assert sorted(run.data.metrics.values()) == [1, 2, 3, 4]
    assert sorted(run.data.params.values()) == ["1", "2", "3", "4"]
    assert {"crows_pairs/race _color__", "_/mmlu/_/_", "e" * 250} <= set(run.data.metrics)


def test_an_entry_that_mlflow_refuses_is_set_aside_once_and_holds_up_no_other(store, database):
    for name in ("a", "b"):
        words = {"accuracy": {"value": "high"}}
        put(store, stage(f"evals/{name}", name, experiment="refused", metrics=words))
    put(store, stage("evals/good", "c", experiment="refused"))
    told: list[str] = []
    assert flush(store, database, told.append, seconds=120) == 0
    refusals = [words for words in told if "refuses" in words]
    assert len(refusals) == 1
    assert "evals/a" in refusals[0]
    assert "set aside as" in refusals[0]
    assert len(list((store.root / "outbox" / "refused").iterdir())) == 2
    by_name = {run.info.run_name: run for run in runs(database, "refused")}
    assert {run.info.status for run in by_name.values()} == {"FINISHED"}
    assert "Refused in part" in by_name["evals/a"].data.tags["mlflow.note.content"]
    assert by_name["evals/good"].data.metrics == {"spearman": 0.5}


@pytest.mark.parametrize("calls", ["", "runs/create"])
def test_a_wrong_password_refuses_no_entry(store, calls):
    put(store, parent("run"))
    told: list[str] = []
    with tracking(401, calls) as server:
        assert flush(store, server.uri(), told.append, seconds=30) == 1
        assert "no entry to" in told[0]
        server.status = 200
        assert flush(store, server.uri(), told.append, seconds=30) == 0
    assert not (store.root / "outbox" / "refused").exists()


def test_no_password_is_printed_or_stored(store):
    told: list[str] = []
    put(store, parent("run"))
    flush(store, "http://me:s3cr/t@127.0.0.1:9", told.append, seconds=15)
    with tracking() as server:
        server.status = 401
        flush(store, server.uri("me:s3cret@"), told.append, seconds=30)
        server.status = 200
        assert flush(store, server.uri("me:s3cret@"), told.append, seconds=30) == 0
        assert store.mlflow_run("run")["uri"] == server.uri()
        # The same server under another password is the same server.
        assert Sender(store, server.uri("me:new@"), told.append)._known("run") is not None
    files = [path.read_text() for path in store.root.rglob("*") if path.is_file()]
    assert not any("s3cr" in text for text in [*told, *files])
    assert any("MLflow at http://127.0.0.1:9 does not answer" in words for words in told)


def test_words_that_quote_an_address_lose_its_secrets_only():
    words = "no answer from https://me:p@ss/w#rd@host:5000/mlflow or mysql://host/db?password=x&a=1"
    clean = "no answer from https://host:5000/mlflow or mysql://host/db?password=***&a=1"
    assert public(words) == clean
    file = "sqlite:////home/me@work/mlflow.db"
    assert public(file) == file


def test_a_server_that_was_away_for_a_while_is_told_in_the_same_run(store):
    told: list[str] = []
    put(store, parent("run"))
    with tracking(401) as server:
        sender = Sender(store, server.uri(), told.append, again=0.2)
        sender.start()
        wait_until(lambda: len(server.asked) > 2, 30)
        server.status = 200
        wait_until(lambda: sender.sent == 1, 30)
        began = time.monotonic()
        assert sender.finish(10.0) == 0
    assert time.monotonic() - began < 5
    assert len([words for words in told if "does not answer" in words]) == 1


def test_a_model_that_was_made_before_a_kill_is_not_made_again(store, database, tmp_path):
    import mlflow

    entry = stage("reward/cut/0", "k8", experiment="cut", entry="e8")
    put(store, entry)
    Outbox(store.root).begin(Outbox(store.root).waiting()[0])
    mlflow.set_tracking_uri(database)
    experiment = client(database).create_experiment("cut", tmp_path.as_uri())
    tags = {**entry["tags"], "karma.entry": "e8"}
    run = client(database).create_run(experiment, 1, tags, entry["name"])
    # The process died here: the model is there, but the run does not have it as its output.
    made = mlflow.create_external_model("reward-cut-0", run.info.run_id, experiment_id=experiment)
    assert flush(store, database, lambda _: None, seconds=120) == 0
    assert [m.model_id for m in client(database).search_logged_models([experiment])] == [
        made.model_id
    ]
    (told,) = runs(database, "cut")
    assert [m.model_id for m in told.outputs.model_outputs] == [made.model_id]


def test_a_kill_while_mlflow_builds_its_database_does_not_spoil_it(tmp_path):
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    code = f"from karma.record import prepare; prepare({uri!r})"
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    half = tmp_path / "new" / ".mlflow.db.new"
    wait_until(lambda: half.exists() and half.stat().st_size > 0, 60)
    child.kill()
    child.wait()
    assert not (tmp_path / "new" / "mlflow.db").exists()
    prepare(uri)
    assert [e.name for e in client(uri).search_experiments()] == ["Default"]
    assert not half.exists()
