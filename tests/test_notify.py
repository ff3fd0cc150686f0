"""Being told of a deployed run that has not gone well."""

import json
import subprocess
import sys

import pytest

from tests.serving import Server
from tests.small import command, wait_until

# What a deployment's run does, with its tag, without waiting for a schedule.
RUN = """
import sys
from pathlib import Path
from flows.server import server
with server(Path(sys.argv[1])):
    from prefect import tags
    from flows.scheduled import scheduled
    with tags(*sys.argv[2:]):
        scheduled({"seeds": []}, "broken", sys.argv[1], return_state=True)
    input()
"""


@pytest.mark.parametrize("url", [None, "chat.example.org/hooks/x"])
def test_without_an_address_nobody_can_be_told(tmp_path, url):
    given = {} if url is None else {"KARMA_WEBHOOK": url}
    told = command("notify", "--workspace", tmp_path / "w", **given)
    assert told.returncode == 2
    assert "KARMA_WEBHOOK" in told.stderr
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_webhook_is_told_of_a_deployed_run_that_failed_and_of_no_other(tmp_path):
    posted = []

    def hook(environ, start):
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        posted.append(json.loads(body)["text"])
        start("200 OK", [("Content-Length", "0")])
        return [b""]

    workspace = tmp_path / "w"
    with Server(hook, {}).serving() as chat:
        # Twice: the second takes the first one's place.
        for _ in range(2):
            made = command("notify", "--workspace", workspace, KARMA_WEBHOOK=f"{chat.address}/x")
            assert made.returncode == 0, made.stderr
        _run(workspace)
        _run(workspace, "karma", until=lambda: posted)
    [text] = posted
    assert text.startswith("KARMA: broken: Failed\n")
    assert "seeds" in text
    for _ in range(2):
        off = command("notify", "--off", "--workspace", workspace)
        assert off.returncode == 0, off.stderr


def _run(workspace, *tags: str, until=lambda: True) -> None:
    child = subprocess.Popen([sys.executable, "-c", RUN, workspace, *tags], stdin=subprocess.PIPE)
    wait_until(until, 120)
    child.communicate(b"\n", timeout=120)
