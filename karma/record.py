"""Tells MLflow what the outbox holds; the only module that imports mlflow.

One parent run a pipeline run, one child a stage instance that ran (``evals``: one a model),
with data sets in and out, models in and out, metrics, and a note whose links lead up to the runs
that made its inputs. No stage waits for the server or fails with it: a thread sends, tries again
now and then while the server is away, and what it could not send stays in the outbox for the next
run. Nothing arrives twice: an entry that was begun before is first looked for by its tag. An entry
that the server refuses is set aside, so that it does not hold up the others.
"""

import fcntl
import json
import logging
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# One try a call: MLflow's own second one would make a run again whose answer was lost, without
# looking whether it is there. The thread has time for a server that takes long.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")

import mlflow
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.exceptions import MlflowException
from requests import HTTPError

from karma import links, names
from karma.address import public
from karma.enrol import enrol
from karma.locks import try_lock
from karma.outbox import Outbox
from karma.store import Store

BATCH = 1000  # metrics a request; MLflow takes no more
TEXT = 5000  # characters of a tag or a parameter that MLflow keeps
AGAIN = 30.0  # seconds until a server that did not answer is tried again
NOTE = "mlflow.note.content"
LINKS = "runs.html"
# Answers that are about the entry; 401, 403 and 429, say, are about the sender.
REFUSALS = (400, 404, 409, 413, 422)


class Sender:
    """Sends a workspace's outbox to a tracking server."""

    def __init__(
        self, store: Store, uri: str, say: Callable[[str], None], again: float = AGAIN
    ) -> None:
        self.sent = 0
        self._store = store
        self._outbox = Outbox(store.root)
        self._uri = uri
        self._address = public(uri)  # what is shown, stored and compared
        self._say = say
        self._again = again
        self._refused = False
        self._client: mlflow.MlflowClient | None = None
        self._experiments: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="mlflow")

    def start(self) -> None:
        """Begin to send in a thread."""
        self._thread.start()

    def finish(self, seconds: float) -> int:
        """Send what is left for at most ``seconds``; the number of entries that stay behind."""
        self._stop.set()
        self._thread.join(seconds)
        left = len(self._outbox.waiting())
        if left:
            self._say(
                f"MLflow at {self._address}: {left} entries are kept and sent by the next run"
            )
        return left

    def _work(self) -> None:
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # what goes wrong is said here
        warnings.simplefilter("ignore")
        told = False
        last = False
        while not last:
            last = self._stop.is_set()
            pause = 1.0
            try:
                self.send()
            except Exception as error:
                # Whatever the server does must not end the run; the entries stay in the outbox.
                pause = self._again
                if not told:
                    self._say(f"MLflow at {self._address} does not answer ({_reason(error)})")
                told = True
            if not last:
                self._stop.wait(pause)

    def send(self) -> None:
        """Send all entries that wait, in order, unless another process is at it."""
        if not self._outbox.waiting():
            return
        with self._alone() as mine:
            if not mine:
                return
            for path in self._outbox.waiting():
                path, entry, again = self._outbox.begin(path)
                if "experiment" in entry:
                    self._experiment(
                        entry["experiment"]
                    )  # what fails here is not the entry's fault
                try:
                    self._deliver(entry, again)
                except Exception as error:
                    if not _refuses(error):
                        raise
                    self._set_aside(path, entry, error)
                else:
                    path.unlink()
                    self.sent += 1

    def _set_aside(self, path: Path, entry: dict[str, Any], error: Exception) -> None:
        """Keep a refused entry for a person to look at, and end the run that it began, if any."""
        place = self._outbox.refuse(path)
        if not self._refused:
            self._say(
                f"MLflow at {self._address} refuses {entry.get('name', 'the end of a run')} "
                f"({_reason(error)}); it is set aside as {place}, and the rest is sent"
            )
        self._refused = True
        if entry["kind"] == "stage":
            with suppress(MlflowException):
                client = self._connect()
                run = self._find(client, self._experiment(entry["experiment"]), entry["entry"])
                if run is not None:
                    client.set_tag(run.info.run_id, NOTE, f"Refused in part: {_reason(error)}")
                    client.set_terminated(run.info.run_id, entry["status"], entry["end"])

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        with (self._store.root / "locks" / "outbox").open("w") as file:
            yield try_lock(file)

    # One entry

    def _deliver(self, entry: dict[str, Any], again: bool) -> None:
        client = self._connect()
        if entry["kind"] == "end":
            self._end(client, entry)
            return
        if entry["kind"] == "registry":
            for model in entry["models"]:
                enrol(client, model, self._known)
            return
        experiment = self._experiment(entry["experiment"])
        run = self._find(client, experiment, entry["entry"]) if again else None
        run = run or self._create(client, experiment, entry)
        run_id = run.info.run_id
        parameters = [Param(k, str(v)[:TEXT]) for k, v in names.clean(entry.get("params", {}))]
        client.log_batch(run_id, params=parameters[:100])
        model = self._models(client, run, entry, experiment, again)
        inputs = [_dataset(d) for d in entry.get("datasets", [])]
        if inputs:
            client.log_inputs(run_id, datasets=inputs)
        self._metrics(client, run, entry, model, again)
        _attach(client, run_id, entry.get("artifacts", []))
        known = {"run": run_id, "experiment": experiment, "model": model or ""}
        for key in entry["keys"]:
            self._store.set_mlflow_run(key, {**known, "uri": self._address})
        if entry["kind"] == "stage":
            client.set_tag(run_id, NOTE, self._note(entry))
            client.set_terminated(run_id, entry["status"], entry["end"])

    def _connect(self) -> mlflow.MlflowClient:
        if self._client is None:
            prepare(self._uri)
            mlflow.set_tracking_uri(self._uri)
            self._client = mlflow.MlflowClient()
        return self._client

    def _experiment(self, name: str) -> str:
        client = self._connect()
        if name not in self._experiments:
            found = client.get_experiment_by_name(name)
            if found is None:
                local = self._uri.startswith("sqlite:")
                folder = self._store.root / "mlflow-artifacts"
                try:
                    self._experiments[name] = client.create_experiment(
                        name,
                        artifact_location=folder.as_uri() if local else None,
                        tags={"mlflow.experimentKind": "custom_model_development"},
                    )
                    return self._experiments[name]
                except MlflowException:
                    # Another process may have made it in between.
                    found = client.get_experiment_by_name(name)
                    if found is None:
                        raise
            self._experiments[name] = found.experiment_id
        return self._experiments[name]

    def _find(self, client: mlflow.MlflowClient, experiment: str, entry: str) -> Run | None:
        """The run that an interrupted process made for this entry, if it got so far."""
        found = client.search_runs([experiment], f"tags.`karma.entry` = '{entry}'", max_results=1)
        return client.get_run(found[0].info.run_id) if found else None

    def _create(self, client: mlflow.MlflowClient, experiment: str, entry: dict[str, Any]) -> Run:
        tags = {**entry["tags"], "karma.entry": entry["entry"]}
        if entry["kind"] == "stage":
            parent = self._known(entry["parent"])
            if parent is not None:
                tags["mlflow.parentRunId"] = parent["run"]
        return client.create_run(experiment, entry["start"], tags, entry["name"])

    def _models(
        self,
        client: mlflow.MlflowClient,
        run: Run,
        entry: dict[str, Any],
        experiment: str,
        again: bool,
    ) -> str | None:
        """Link the models that the run read, log the one that it made; the id metrics belong to."""
        used = [m for key in entry.get("models", []) if (m := self._model(key))]
        if used:
            client.log_inputs(run.info.run_id, models=[LoggedModelInput(m) for m in used])
        if entry.get("makes") == "model":
            outputs = run.outputs.model_outputs if run.outputs else []
            if outputs:
                return str(outputs[0].model_id)
            mine = f"source_run_id = '{run.info.run_id}'"
            found = client.search_logged_models([experiment], mine) if again else []
            made = str(found[0].model_id) if found else _create_model(run, entry, experiment)
            client.log_outputs(run.info.run_id, [LoggedModelOutput(made, step=0)])
            return made
        return used[0] if used and entry["tags"]["stage"] == "evals" else None

    def _model(self, key: str) -> str:
        known = self._known(key)
        return known["model"] if known is not None else ""

    def _known(self, key: str) -> dict[str, str] | None:
        """The run on this server that made the artefact of ``key``."""
        known = self._store.mlflow_run(key)
        return known if known is not None and known["uri"] == self._address else None

    def _metrics(
        self,
        client: mlflow.MlflowClient,
        run: Run,
        entry: dict[str, Any],
        model: str | None,
        again: bool,
    ) -> None:
        run_id = run.info.run_id
        metrics = [
            Metric(
                name,
                value["value"],
                entry["end"],
                0,
                model_id=model,
                dataset_name=value.get("dataset"),
                dataset_digest=value.get("digest"),
                run_id=run_id,
            )
            for name, value in names.clean(entry.get("metrics", {}))
        ]
        if again:
            metrics = lacking(run, metrics)
        if entry.get("series"):
            metrics += list(_series(Path(entry["series"])))
        for start in range(0, len(metrics), BATCH):
            client.log_batch(run_id, metrics=metrics[start : start + BATCH])

    def _end(self, client: mlflow.MlflowClient, entry: dict[str, Any]) -> None:
        """Close the parent run: its note, its report, lineage and links, its status."""
        known = self._known(entry["keys"][0])
        if known is None:
            return
        lines = [entry["note"], *[f"- {self._link(*item)}" for item in entry["cached"]]]
        tags = [RunTag(NOTE, "\n".join(lines)[: 10 * TEXT])]
        client.log_batch(known["run"], tags=tags)
        client.set_terminated(known["run"], entry["status"], entry["end"])
        _attach(client, known["run"], entry["artifacts"])
        if entry.get("instances"):
            rows = [(name, key, self._known(key)) for name, key in entry["instances"]]
            title = f"Runs of {entry['recipe']}"
            client.log_text(known["run"], links.page(title, self._address, rows), LINKS)

    def _note(self, entry: dict[str, Any]) -> str:
        """One paragraph, links first: MLflow's page folds away what is longer than a few lines."""
        links = [self._link(name, key) for name, key in entry["upstream"]]
        links.sort(key=lambda link: not link.startswith("["))
        made = f"Artefact `{entry['tags']['digest'][:16]}`, made from: "
        return (made + ", ".join(links))[:TEXT]

    def _link(self, name: str, key: str) -> str:
        """A node as a link to the MLflow run that made it, or as its name if there is none."""
        known = self._known(key) if key else None
        if known is None:
            return name
        return f"[{name}](#/experiments/{known['experiment']}/runs/{known['run']})"


def prepare(uri: str) -> None:
    """Make the SQLite database of a tracking address, if it is not there yet.

    MLflow builds a database in some seconds of migrations, and refuses for good what a kill left
    in their midst. So it is built under another name and moved into place when it is whole.
    """
    if not uri.startswith("sqlite:///"):
        return
    place = Path(uri.removeprefix("sqlite:///"))
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f".{place.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if place.exists():
            return
        new = place.with_name(f".{place.name}.new")
        for left in place.parent.glob(f"{new.name}*"):
            left.unlink()
        mlflow.MlflowClient(f"sqlite:///{new}").search_experiments()
        new.rename(place)


def _attach(client: mlflow.MlflowClient, run_id: str, files: list[str]) -> None:
    """Copy files to a run, where they are still there; one that arrived before is replaced."""
    for name in files:
        if Path(name).exists():
            client.log_artifact(run_id, name)


def _refuses(error: Exception) -> bool:
    """Whether an error says that the entry is wrong, and would be wrong again."""
    if isinstance(error, MlflowException):
        # A wrong address has no such endpoint; that is no answer to the entry.
        elsewhere = error.error_code == "ENDPOINT_NOT_FOUND"
        return error.get_http_status_code() in REFUSALS and not elsewhere
    if isinstance(error, HTTPError):
        return error.response is not None and error.response.status_code in REFUSALS
    return isinstance(error, KeyError | TypeError | ValueError) and not isinstance(error, OSError)


def _reason(error: Exception) -> str:
    """The first line of an error, without secrets."""
    lines = public(str(error)).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def _create_model(run: Run, entry: dict[str, Any], experiment: str) -> str:
    model = mlflow.create_external_model(
        name=re.sub(r"[/:.%\"']", "-", entry["name"]),
        source_run_id=run.info.run_id,
        tags={"key": entry["keys"][0], "digest": entry["tags"]["digest"]},
        params={"path": entry["path"]},
        model_type=entry["tags"]["stage"],
        experiment_id=experiment,
    )
    return str(model.model_id)


def _dataset(document: dict[str, Any]) -> DatasetInput:
    data = Dataset(
        name=document["name"],
        digest=document["digest"],
        source_type="local",
        source=json.dumps({"uri": document["source"]}),
        profile=json.dumps(document["profile"]),
    )
    return DatasetInput(data, [InputTag("mlflow.data.context", document["context"])])


def _series(path: Path) -> Iterator[Metric]:
    """The metrics that a job wrote, one JSON document a step."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        document = json.loads(line)
        step, seconds = document.pop("step"), document.pop("time")
        for name, value in names.clean(document):
            yield Metric(name, value, int(seconds * 1000), step)


def lacking(run: Run, metrics: list[Metric]) -> list[Metric]:
    """Those of the metrics that are no series that a run does not have yet; nothing is asked.

    MLflow on PostgreSQL refuses a batch with one of a model's that it has (seen with 3.17.2).
    """
    return [metric for metric in metrics if metric.key not in run.data.metrics]


def flush(store: Store, uri: str, say: Callable[[str], None], seconds: float = 15.0) -> int:
    """Send what an earlier run left behind; the number of entries that still wait."""
    sender = Sender(store, uri, say)
    sender.start()
    left = sender.finish(seconds)
    if sender.sent:
        say(f"MLflow: sent {sender.sent} entries that an earlier run kept")
    return left
