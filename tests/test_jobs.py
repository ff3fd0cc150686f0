"""A job started by hand: what it makes, and what a mistake gets."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def by_hand(*arguments: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "karma.jobs", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def told(ran: subprocess.CompletedProcess) -> str:
    """The one line that a mistake gets."""
    assert (ran.returncode, ran.stdout) == (2, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def write_spec(folder: Path, instructions: Path) -> Path:
    spec = {
        "job": "karma.prompts.job:unexposed",
        "config": {"prompts": {"count": 3, "test_count": 3}},
        "inputs": {"instructions": str(instructions)},
        "compute": "cpu",
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    return folder / "spec.json"


def test_a_job_by_hand_makes_its_files_and_refuses_to_mix_them_with_others(tmp_path):
    dialogues = [{"data": [f"Question {n}?", f"Answer {n}."]} for n in range(40)]
    (tmp_path / "chat.json").write_text(json.dumps(dialogues))
    spec = write_spec(tmp_path, tmp_path / "chat.json")
    ran = by_hand(spec, tmp_path / "out")
    assert ran.returncode == 0, ran.stderr
    made = (tmp_path / "out" / "prompts.parquet").read_bytes()
    assert "it exists and is not empty" in told(by_hand(spec, tmp_path / "out"))
    assert (tmp_path / "out" / "prompts.parquet").read_bytes() == made


def test_a_users_mistake_in_a_job_by_hand_is_told_in_one_line(tmp_path):
    spec = write_spec(tmp_path, tmp_path / "none.json")
    assert "none.json: cannot be read" in told(by_hand(spec, tmp_path / "out"))


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"job": "a:b"}', b"\xff"])
def test_a_specification_that_is_none_is_told(tmp_path, content):
    (tmp_path / "spec.json").write_bytes(content)
    assert "karma logs" in told(by_hand(tmp_path / "spec.json", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_paths_that_cannot_be_used_are_told(tmp_path):
    spec = write_spec(tmp_path, tmp_path / "none.json")
    assert "it takes two paths" in told(by_hand(spec))
    assert "none: No such file" in told(by_hand(tmp_path / "none", tmp_path / "out"))
    assert "it cannot be made (Not a directory)" in told(by_hand(spec, spec / "out"))
