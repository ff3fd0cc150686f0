"""The services of docker/compose.yaml as processes of this machine, where no container engine is.

Each runs the very command and environment of the compose file. What is put in their place is only
what containers would see otherwise: names of services are addresses on loopback, folders lie below
one of the test's, and the storage is moto's.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.compose import DOCKER, document, filled, health, instructions

PORTS = {"postgres": 5432, "storage": 8333, "prefect": 4200, "mlflow": 5000, "cpu-worker": 8080}
POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"))[::-1]), None)
VALUES = {
    "KARMA_SALT": "salt-of-the-stack",
    "KARMA_DATA": "/data",
    "POSTGRES_PASSWORD": "database-of-all",
    "PREFECT_DB_PASSWORD": "database-of-prefect",
    "MLFLOW_DB_PASSWORD": "database-of-mlflow",
    "S3_ACCESS_KEY": "key-of-storage",
    "S3_SECRET_KEY": "secret-of-storage",
    "PREFECT_AUTH": "team:password-of-prefect",
    "MLFLOW_ADMIN": "admin",
    "MLFLOW_PASSWORD": "password-of-mlflow",
    "MLFLOW_SECRET_KEY": "signer-of-forms",
}
LEASE = "20"  # seconds after which a job without a sign of life is given to another worker
SECRETS = [value for name, value in VALUES.items() if name not in ("KARMA_DATA", "MLFLOW_ADMIN")]


def free() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stack:
    """Starts services in ``folder``, which PostgreSQL's own user must be able to enter."""

    def __init__(self, folder: Path, storage: int) -> None:
        self.folder = folder
        self.ports = {name: free() for name in PORTS} | {"storage": storage}
        urls = {f"{n.upper()}_URL": self.url(n) for n in ("prefect", "mlflow")}
        self.services = filled(document()["services"], {**VALUES, **urls})
        self.processes: dict[str, subprocess.Popen] = {}
        self.work = folder / "home" / "karma"
        self.work.mkdir(parents=True)
        for line in instructions("COPY"):
            source, target = line.split()[-2:]
            if target.startswith("/opt/karma"):
                skipped = shutil.ignore_patterns("__pycache__")
                shutil.copytree(DOCKER.parent / source, self._native("", target), ignore=skipped)

    def url(self, name: str) -> str:
        """The address of a service, from here."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def _native(self, name: str, text: str) -> str:
        """What a service is told, with this machine's addresses and folders."""
        for other, port in PORTS.items():
            text = text.replace(f"{other}:{port}", f"127.0.0.1:{self.ports[other]}")
        if name in PORTS:
            text = re.sub(rf"\b{PORTS[name]}\b", str(self.ports[name]), text)
        text = text.replace("0.0.0.0", "127.0.0.1")
        return re.sub(r"^/(?=home/karma|etc/|opt/|tmp/)", f"{self.folder}/", text)

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a service: its image's and its own, and nothing of this process's."""
        image = dict(re.findall(r"(\w+)=(\S+)", " ".join(instructions("ENV"))))
        own = {**image, **self.services[name].get("environment", {})}
        native = {key: self._native(name, value) for key, value in own.items()}
        native["PATH"] = f"{Path(sys.executable).parent}:{POSTGRES}:/usr/bin:/bin"
        native["HOME"] = str(self.work)
        if name == "cpu-worker":
            native["PREFECT_WORKER_WEBSERVER_PORT"] = str(self.ports[name])
        return native

    def gpu_worker(self, home: Path) -> subprocess.Popen:
        """A worker as on a host with a card: nothing of its own but the image and ``home``."""
        home.mkdir()
        own = {"HOME": str(home), "KARMA_WORKSPACE": f"{home}/karma", "KARMA_LEASE": LEASE}
        own["PREFECT_WORKER_WEBSERVER_PORT"] = str(free())
        env = {**self.environment("gpu-worker"), **own}
        self._spawn(home.name, self.services["gpu-worker"]["command"], env=env, cwd=home)
        return self.processes[home.name]

    def start(self, name: str) -> None:
        """Start a service and wait until its own check says that it is well."""
        command = [self._native(name, word) for word in self.services[name]["command"]]
        for source, target in self._files(name):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(self._native("", source.read_text()))
        if name == "buckets":
            own = self.environment(name)
            subprocess.run(command, env=own, cwd=self.work, check=True, timeout=120)
            return
        self._spawn(name, command)
        check = self.services[name].get("healthcheck", {}).get("test", ["CMD", *health()])[1:]
        self._wait(name, [self._native(name, word) for word in check])

    def _files(self, name: str) -> Iterator[tuple[Path, Path]]:
        for volume in self.services[name].get("volumes", []):
            source, target, *_ = volume.split(":") if isinstance(volume, str) else ("", "")
            if source.startswith("./"):
                yield DOCKER / source, Path(self._native("", target))

    def _spawn(self, name: str, command: list[str], **more: Any) -> None:
        with (self.folder / f"{name}.log").open("a") as log:
            self.processes[name] = subprocess.Popen(
                command,
                env=more.pop("env", None) or self.environment(name),
                cwd=more.pop("cwd", self.work),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **more,
            )

    def _wait(self, name: str, check: list[str]) -> None:
        deadline = time.monotonic() + 180
        while subprocess.run(check, env=self.environment(name), capture_output=True).returncode:
            assert self.processes[name].poll() is None, self.log(name)[-3000:]
            assert time.monotonic() < deadline, self.log(name)[-3000:]
            time.sleep(0.5)

    def log(self, name: str) -> str:
        """What a service has printed."""
        return (self.folder / f"{name}.log").read_text()

    def start_postgres(self) -> None:
        """PostgreSQL as its image starts it: a new cluster, then the script for its databases."""
        home = self.folder / "postgres"
        home.mkdir()
        user = self._postgres()
        if "user" in user:
            shutil.chown(home, "postgres", "postgres")
        made = ["--pgdata", home / "data", "--username", "postgres", "--encoding", "UTF8"]
        rights = ["--auth-local", "trust", "--auth-host", "scram-sha-256"]
        subprocess.run(
            ["initdb", *made, *rights], check=True, capture_output=True, **self._as(user)
        )
        self.serve_postgres()
        script = (DOCKER / "databases.sh").read_text()
        place = {"PGHOST": str(home), "PGPORT": str(self.ports["postgres"])}
        subprocess.run(["sh", "-c", script], check=True, **self._as(user, place))

    def serve_postgres(self) -> None:
        """Start PostgreSQL on the cluster that is there."""
        home, port = self.folder / "postgres", str(self.ports["postgres"])
        where = ["-D", str(home / "data"), "-p", port, "-k", str(home)]
        words = [f"{POSTGRES}/postgres", *where, "-c", "listen_addresses=127.0.0.1"]
        self._spawn("postgres", words, **self._postgres())
        check = self.services["postgres"]["healthcheck"]["test"][1:]
        self._wait("postgres", [self._native("postgres", word) for word in check])

    def _postgres(self) -> dict[str, Any]:
        """As whom and where PostgreSQL runs: it refuses to be root."""
        user: dict[str, Any] = {"cwd": self.folder / "postgres"}
        if os.geteuid() == 0:
            user |= {"user": "postgres", "group": "postgres", "extra_groups": []}
        return user

    def _as(self, user: dict[str, Any], more: dict[str, str] | None = None) -> dict[str, Any]:
        environment = {**self.environment("postgres"), **(more or {})}
        return {**user, "env": environment}

    def end(self, name: str, sign: int = signal.SIGTERM) -> None:
        """End a service and what it started; by force after ten seconds."""
        process = self.processes.pop(name)
        os.killpg(process.pid, sign)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def order(self) -> list[str]:
        """The services in the order in which compose starts them, but for the GPU's."""
        known = {name: set(s.get("depends_on", {})) for name, s in self.services.items()}
        done: list[str] = []
        while len(done) < len(known):
            done += [name for name in known if name not in done and known[name] <= set(done)]
        return [name for name in done if name != "gpu-worker"]


@contextmanager
def running(folder: Path, storage: int) -> Iterator[Stack]:
    """All of the stack, up and well; gone afterwards."""
    stack = Stack(folder, storage)
    try:
        for name in stack.order():
            if name == "postgres":
                stack.start_postgres()
            elif name != "storage":
                stack.start(name)
        yield stack
    finally:
        for name in list(stack.processes)[::-1]:
            stack.end(name)
