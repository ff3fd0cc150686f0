"""Whose Prefect server a workspace uses."""

import json
import shutil

import pytest

from flows import server
from tests.serving import Server


def healthy(environ, start):
    start("200 OK", [("Content-Length", "2")])
    return [b"ok"]


@pytest.fixture
def unconfigured(monkeypatch):
    for name in server.CONFIGURED:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("active", "own"), [("team", True), ("ephemeral", False)])
def test_an_active_profile_that_names_a_server_is_a_prefect_of_ones_own(
    tmp_path, unconfigured, monkeypatch, active, own
):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not server.configured()
    (tmp_path / ".prefect").mkdir()
    (tmp_path / ".prefect" / "profiles.toml").write_text(
        f'active = "{active}"\n[profiles.ephemeral]\n[profiles.team]\n'
        'PREFECT_API_URL = "https://prefect.example.org/api"\n'
    )
    assert server.configured() is own


def test_a_copied_workspace_does_not_use_the_server_of_the_other(tmp_path, unconfigured):
    folder = tmp_path / "a" / "prefect"
    folder.mkdir(parents=True)
    with Server(healthy, {}).serving() as up:
        known = {"url": up.address, "pid": 1, "folder": str(folder.resolve())}
        (folder / "server.json").write_text(json.dumps(known))
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        assert server.address(tmp_path / "a") == up.address
        assert server.address(tmp_path / "b") is None
