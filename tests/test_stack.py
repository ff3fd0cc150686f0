"""The team's servers as docker/compose.yaml describes them, run natively: a schedule that fires,
a dump that appears, and requests that are refused. ``pytest -m stack``."""

import base64
import io
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import s3fs
import yaml
import zstandard

from karma import history
from karma.outbox import Outbox
from karma.simulate import simulate
from karma.store import Store
from karma.world.dumps import compress
from karma.world.recipe import COMMENTS, SUBMISSIONS
from tests.filled import SMOKE
from tests.small import wait_until
from tests.stack import LEASE, POSTGRES, SECRETS, VALUES, Stack, running
from tests.test_smoke import processes

pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        POSTGRES is None, reason="PostgreSQL is not installed: apt install postgresql"
    ),
]
EVIL = "evil.example"
WHO = {
    "prefect": VALUES["PREFECT_AUTH"],
    "mlflow": f"{VALUES['MLFLOW_ADMIN']}:{VALUES['MLFLOW_PASSWORD']}",
}
READ = {
    "prefect": "/api/admin/version",
    "mlflow": "/api/2.0/mlflow/experiments/search?max_results=1",
}
WRITTEN = {"prefect": "/api/flows/", "mlflow": "/api/2.0/mlflow/experiments/create"}
WELL = {"prefect": "/api/health", "mlflow": "/health"}
NEW = "RC_2023-02.zst"
MONTH = 31 * 24 * 3600
# All of the pipeline, as small as it runs.
RECIPE = {
    "world": {"threads": 300, "texts": 2000},
    "threads": {"width": 5000, "uses": {"sft": 0.2, "reward": 0.5, "gold": 0.2, "ppo": 0.1}},
    "base": {"tiny": {"hidden": 32, "layers": 1, "sequences": 800}},
    "sft": {"lr": 2.0e-3, "batch": 16, "count": 200, "max_tokens": 128},
    "policy": {"exposures": ["reddit"], "variants": ["context"], "episodes": 64, "batch": 32},
    "evals": {"data": "world", "items": 12, "benchmarks": ["humor"]},
}


@pytest.fixture(scope="module")
def stack(server) -> Iterator[Stack]:
    port = int(server.address.rpartition(":")[2])
    with tempfile.TemporaryDirectory(prefix="karma-stack-") as folder:
        Path(folder).chmod(0o711)  # PostgreSQL's own user goes through it
        with running(Path(folder), port) as up:
            yield up


def read(stack: Stack, name: str, **headers: str) -> httpx.Response:
    return httpx.get(stack.url(name) + READ[name], headers=headers, timeout=30)


def write(stack: Stack, name: str, headers: dict[str, str], method: str = "POST") -> httpx.Response:
    url = stack.url(name) + WRITTEN[name]
    return httpx.request(method, url, headers=headers, json={"name": "stranger"}, timeout=30)


def login(name: str, who: str = "") -> str:
    return f"Basic {base64.b64encode((who or WHO[name]).encode()).decode()}"


@pytest.mark.parametrize("name", READ)
def test_a_request_without_credentials_is_refused(stack, name):
    assert read(stack, name).status_code == 401
    assert read(stack, name, Authorization=login(name, "admin:guess")).status_code == 401
    assert read(stack, name, Authorization=login(name)).status_code == 200
    assert write(stack, name, {}).status_code in (401, 403)
    assert httpx.get(stack.url(name) + WELL[name]).status_code == 200


@pytest.mark.parametrize("name", READ)
def test_a_page_of_another_origin_is_allowed_nothing(stack, name):
    foreign = {"Origin": f"http://{EVIL}"}
    asks = {**foreign, "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in write(stack, name, asks, "OPTIONS").headers
    # With the password of a browser that is logged in, without the token of the server's own page.
    assert write(stack, name, {**foreign, "Authorization": login(name)}).status_code == 403


@pytest.mark.parametrize("name", READ)
def test_a_foreign_host_header_is_refused(stack, name):
    told = read(stack, name, Host=EVIL, Authorization=login(name))
    assert told.status_code in (400, 403)
    assert "host" in told.text.lower()


def lines(path: Path) -> list[bytes]:
    reader = zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(
        io.BytesIO(path.read_bytes())
    )
    return reader.read().splitlines(keepends=True)


def put(path: Path, rows: list[bytes]) -> None:
    """A dump that nobody has written to for a while."""
    compress(rows, path)
    then = time.time() - 120
    os.utime(path, (then, then))


def months(data: Path) -> list[bytes]:
    """Put a first month into ``data``; the lines of the next one: comments on the later posts."""
    world = data.parent / "world"
    simulate(world, ["world.threads=300"])
    put(data / SUBMISSIONS, lines(world / SUBMISSIONS))
    rows = [json.loads(line) for line in lines(world / COMMENTS) if line.endswith(b"}\n")]
    posts = [int(row["link_id"].removeprefix("t3_"), 36) for row in rows]
    middle = sorted(posts)[len(posts) // 2]
    first, then = [], []
    for row, post in zip(rows, posts, strict=True):
        for name in ("created_utc", "retrieved_on"):
            row[name] += (post >= middle) * MONTH
        (then if post >= middle else first).append(json.dumps(row).encode() + b"\n")
    put(data / COMMENTS, first)
    return then


@pytest.fixture(scope="module")
def later(stack) -> list[bytes]:
    """A first month lies in the stack's folder of data; the lines of the next one."""
    data = stack.folder / "data"
    data.mkdir()
    return months(data)


def recipe(data: Path, name: str = "team", **sections: dict) -> Path:
    document = yaml.safe_load(SMOKE.read_text())
    for section, fields in RECIPE.items():
        document[section] = {**document.get(section, {}), **fields}
    document["dumps"] = {"comments": f"{data}/RC_*.zst", "submissions": f"{data}/RS_*.zst"}
    document["reward"] |= {"epochs": 1, "variants": {"context": {}}}
    for section, fields in sections.items():
        document[section] = {**document.get(section, {}), **fields}
    path = data / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def command(stack: Stack, *words: str | Path) -> dict:
    """What ``docker compose exec cpu-worker`` does, as arguments of a process."""
    own = {**stack.environment("cpu-worker"), "KARMA_LEASE": LEASE}
    more = {"env": own, "cwd": stack.work, "text": True, "start_new_session": True}
    return {"args": ["karma", *words], **more}


def deploy(stack: Stack, path: Path, *more: str) -> None:
    told = subprocess.run(**command(stack, "deploy", path, *more), capture_output=True, timeout=120)
    assert told.returncode == 0, told.stderr[-2000:]
    assert "stands on" in told.stdout


def keys(store: Store) -> dict[str, str]:
    """The key under which each instance was last found or made."""
    folder = store.root / "refs" / "team"
    paths = [path for path in folder.rglob("*.json") if not path.name.startswith(".")]
    names = [path.relative_to(folder).as_posix().removesuffix(".json") for path in paths]
    return {
        name: json.loads(path.read_text())["key"] for name, path in zip(names, paths, strict=True)
    }


def next_run(store: Store, seen: int, seconds: float) -> history.Past:
    """The first run that ends after ``seen`` runs."""
    wait_until(lambda: len(history.last(store, 100)) > seen, seconds)
    wait_until(lambda: history.last(store, 100)[-seen - 1].ended is not None, seconds)
    return history.last(store, 100)[-seen - 1]


def test_a_schedule_fires_a_dump_appears_and_only_what_it_touches_runs(stack, later):
    data = stack.folder / "data"
    deploy(stack, recipe(data), "--cron", "* * * * *")
    store = Store(stack.work / "karma")
    first = next_run(store, 0, 300)
    assert first.status == "FINISHED", first.failures
    before, seen = keys(store), len(history.last(store, 100))
    put(data / NEW, later)
    wait_until(lambda: "dumps/" + NEW in keys(store), 200)
    stack.end("prefect")  # it starts anew in the middle of a run
    stack.start("prefect")
    while not (second := next_run(store, seen, 200)).ran:
        seen += 1
    assert second.status == "FINISHED", second.failures
    after = keys(store)
    kept = {name for name in before if after[name] == before[name]}
    print(f"first run: {first.ran} instances; second: {second.ran} ran, {second.cached} fresh")
    assert {f"dumps/{COMMENTS}", f"dumps/{SUBMISSIONS}", "base", "world"} <= kept
    assert [name for name in kept if re.match(r"threads/\d", name)]
    assert f"dumps/{NEW}" in after.keys() - before.keys()
    assert not {"labels", "reward/context/0", "report"} & kept
    assert second.ran == len(after) - len(kept)
    require_told(stack, store, first.ran + second.ran)


def told_by_prefect(stack: Stack) -> list[str]:
    """The states of the deployment's runs that have begun, as Prefect's page names them."""
    api = f"{stack.url('prefect')}/api"
    headers = {"Authorization": login("prefect"), "Prefect-Csrf-Client": "test"}
    token = httpx.get(f"{api}/csrf-token", params={"client": "test"}, headers=headers).json()
    headers["Prefect-Csrf-Token"] = token["token"]
    asked = {"sort": "START_TIME_ASC", "flow_runs": {"start_time": {"is_null_": False}}}
    runs = httpx.post(f"{api}/flow_runs/filter", headers=headers, json=asked, timeout=30).json()
    return [run["state_name"] for run in runs if run["deployment_id"] is not None]


def told_by_mlflow(stack: Stack) -> list[dict]:
    """The recipe's runs as MLflow's page shows them."""
    asked = {"headers": {"Authorization": login("mlflow")}, "timeout": 30}
    address = f"{stack.url('mlflow')}/api/2.0/mlflow"
    name = {"experiment_name": "team"}
    found = httpx.get(f"{address}/experiments/get-by-name", params=name, **asked).json()
    wanted = {"experiment_ids": [found["experiment"]["experiment_id"]], "max_results": 1000}
    return list(httpx.post(f"{address}/runs/search", json=wanted, **asked).json()["runs"])


def require_told(stack: Stack, store: Store, made: int) -> None:
    """MLflow's server shows the runs, and what they attached lies in the storage."""
    # A run waits ten seconds for MLflow; what is left is told by the next ones, each minute. On a
    # busy machine that is little: MLflow hashes a password for each request.
    wait_until(lambda: not Outbox(store.root).waiting(), 600)
    runs = told_by_mlflow(stack)
    stages = [tag["value"] for r in runs for tag in r["data"]["tags"] if tag["key"] == "stage"]
    print(f"MLflow: {len(runs)} runs for {made} instances")
    assert stages.count("pipeline") == 2
    assert {"dumps", "reward", "policy", "evals", "report"} <= set(stages)
    files = s3fs.S3FileSystem(skip_instance_cache=True)
    assert any(path.endswith("report.html") for path in files.find("mlflow/artifacts"))
    assert files.find("karma/store/records")


POOL = "karma-gpu"


def jobs(stack: Stack) -> list[str]:
    """In which states Prefect shows the runs of jobs, in the order in which they were asked for."""
    place = ["--host", stack.folder / "postgres", "--port", str(stack.ports["postgres"])]
    words = ["--username", "postgres", "--no-align", "--tuples-only", "prefect", "--command"]
    asked = "select state_type from flow_run where name like 'policy/%' order by created"
    psql = [f"{POSTGRES}/psql", *place, *words, asked]
    return subprocess.run(psql, capture_output=True, text=True, check=True).stdout.split()


def test_a_killed_workers_job_is_taken_over_by_another_and_committed_once(stack, later):
    tuned = {"episodes": 640, "batch": 32}
    path = recipe(stack.folder / "data", "pooled", policy=tuned, pools={"policy": POOL})
    deploy(stack, path)
    homes = [stack.folder / f"gpu-{number}" for number in (1, 2)]
    workers = {home: stack.gpu_worker(home) for home in homes}
    run = subprocess.Popen(**command(stack, "run", path), stderr=subprocess.PIPE)
    stack.processes["run"] = run  # ended with the stack, should this test fail
    logs = "karma/jobs/scratch/*/log.txt"
    wait_until(lambda: any(list(home.glob(logs)) for home in homes), 600)
    (killed,) = [home for home in homes if list(home.glob(logs))]
    key = next(killed.glob(logs)).parent.name
    for pid in [workers[killed].pid, *processes(killed)]:
        os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    _, told = run.communicate(timeout=400)
    del stack.processes["run"]
    print(f"the run ended {time.monotonic() - began:.0f} s after the worker was killed")
    assert run.returncode == 0, told
    assert f"its worker on pool {POOL} died" in told
    assert jobs(stack) == ["CRASHED", "COMPLETED"]
    files = s3fs.S3FileSystem(skip_instance_cache=True)
    record = json.loads(files.cat_file(f"karma/store/records/policy/{key}.json"))
    assert record["pool"] == POOL
    assert not files.find(f"karma/store/leases/{key}")
    (other,) = set(homes) - {killed}
    assert (other / "karma" / "jobs" / "objects" / record["digest"]).is_dir()
    store = Store(stack.work / "karma")
    wait_until(lambda: store.mlflow_run(key), 300)
    require_status(stack)
    for home in homes:
        stack.end(home.name)


def require_status(stack: Stack) -> None:
    """``karma status`` shows the run as it ended, and no job that goes on."""
    told = subprocess.run(**command(stack, "status", "--json"), stdout=subprocess.PIPE, check=True)
    shown = json.loads(told.stdout)
    (run,) = [run for run in shown["runs"] if run["recipe"] == "pooled"]
    assert (run["status"], run["failures"]) == ("FINISHED", {})
    assert shown["jobs"] == []


def everything(stack: Stack) -> Iterator[tuple[str, bytes]]:
    """All that the stack has printed and keeps: logs, workspace, buckets, databases."""
    for path in stack.folder.rglob("*"):
        if path.is_file() and not path.is_relative_to(stack.folder / "postgres"):
            yield str(path), path.read_bytes()
    files = s3fs.S3FileSystem(skip_instance_cache=True)
    for bucket in ("karma", "mlflow"):
        for path in files.find(bucket):
            yield path, files.cat_file(path)
    place = ["--host", stack.folder / "postgres", "--port", str(stack.ports["postgres"])]
    dumped = [f"{POSTGRES}/pg_dumpall", *place, "--username", "postgres"]
    yield "the databases", subprocess.run(dumped, stdout=subprocess.PIPE, check=True).stdout


def test_no_secret_is_printed_or_kept(stack):
    secrets = [secret.rpartition(":")[2].encode() for secret in SECRETS]
    for place, text in everything(stack):
        assert not [secret for secret in secrets if secret in text], place
