"""The container files: what a linter, compose and the code itself have to say about them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compose import DOCKER, VARIABLE, document, filled, instructions, required

SERVICES = document()["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"].startswith("karma:")}


def test_hadolint_finds_nothing_in_the_dockerfile():
    linter = Path(sys.executable).with_name("hadolint")
    ran = subprocess.run([linter, DOCKER / "Dockerfile"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


def _config(environment: dict[str, str]) -> subprocess.CompletedProcess:
    client = shutil.which("docker-compose")
    if client is None:
        pytest.skip("docker-compose is not installed")
    # Debian's client is older than the project's name in the file.
    text = (DOCKER / "compose.yaml").read_text().replace("name: karma\n", "", 1)
    return subprocess.run(
        [client, "--file", "-", "--project-directory", DOCKER, "--profile", "gpu", "config"],
        input=text,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], **environment},
    )


def test_compose_takes_the_file_and_refuses_it_while_a_secret_is_missing():
    values = dict.fromkeys(required(), "x")
    told = _config(values)
    assert told.returncode == 0, told.stderr
    del values["KARMA_SALT"]
    told = _config(values)
    assert told.returncode != 0
    assert "KARMA_SALT" in told.stderr


def test_the_example_names_every_variable_and_gives_no_secret():
    text = (DOCKER / "compose.yaml").read_text()
    example = dict(
        line.removeprefix("#").split("=", 1)
        for line in (DOCKER / ".env.example").read_text().splitlines()
        if "=" in line and " " not in line
    )
    assert set(example) == {match[1] for match in VARIABLE.finditer(text)}
    secret = {
        n for n in example if "PASSWORD" in n or "SECRET" in n or n.endswith(("SALT", "AUTH"))
    }
    assert len(secret) == 8
    assert secret <= required()
    assert not any(example[name] for name in secret)
    told = subprocess.run(["git", "check-ignore", "-q", "docker/.env"], cwd=DOCKER.parent)
    assert told.returncode == 0


def test_a_secret_stands_in_no_command():
    values = {name: f"secret-{name}" for name in required()}
    for one in SERVICES.values():
        assert "secret-" not in json.dumps(filled(one.get("command", []), values))


def test_every_service_waits_for_the_health_of_what_it_needs():
    for name, one in SERVICES.items():
        serves = name != "buckets"
        checked = "healthcheck" in one or name in ("cpu-worker", "gpu-worker")  # the image's own
        assert checked, name
        for other, wait in one.get("depends_on", {}).items():
            expected = "service_healthy" if other != "buckets" else "service_completed_successfully"
            assert wait == {"condition": expected}
        assert one["restart"] == ("unless-stopped" if serves else "no")


def test_ports_are_on_loopback_unless_said_otherwise():
    published = [port for one in SERVICES.values() for port in one.get("ports", [])]
    assert filled(published, {}) == ["127.0.0.1:4200:4200", "127.0.0.1:5000:5000"]


def test_our_containers_have_no_rights_and_a_root_that_cannot_be_written():
    assert set(OURS) == {"buckets", "prefect", "mlflow", "cpu-worker", "gpu-worker"}
    for one in OURS.values():
        assert one["read_only"]
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]


def test_every_image_is_pinned():
    theirs = {one["image"] for name, one in SERVICES.items() if name not in OURS}
    bases = [base.split()[0] for base in instructions("FROM") if ":" in base.split()[0]]
    for image in [*theirs, *bases]:
        assert image.partition(":")[2] not in ("", "latest")


def test_the_images_run_the_workers_of_the_compose_file_as_a_user_without_rights():
    commands = [json.loads(command) for command in instructions("CMD")]
    assert commands == [OURS["cpu-worker"]["command"], OURS["gpu-worker"]["command"]]
    assert instructions("USER") == ["10001:10001", "10001:10001"]


def test_the_images_hold_the_code_and_nothing_else_is_sent_to_the_build():
    copied = [line.split()[:-1] for line in instructions("COPY") if not line.startswith("--")]
    names = {name for line in copied for name in line}
    assert {"flows", "karma", "sql", "tasks"} <= names
    assert all((DOCKER.parent / name).exists() for name in names)
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == names
