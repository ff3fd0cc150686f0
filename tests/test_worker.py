"""Workers: jobs run one after the other in a child that never outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import pytest

from karma.cards import Card, cards
from karma.errors import InputError, StageError, UserError
from karma.fingerprint import code, minor
from karma.jobs import Job
from karma.worker import Pool


def write(job: Job) -> None:
    print("writing")
    job.progress(1, 2, "steps")
    job.progress(2, 2, "steps")
    (job.out / "a.txt").write_text(job.config["text"] + f" {os.getpid()}")


def complain(job: Job) -> None:
    raise InputError("file x", "it is empty", "Give another.")


def crash(job: Job) -> None:
    raise ValueError("a bug")


def die(job: Job) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hold(job: Job) -> None:
    began = time.monotonic()
    time.sleep(0.2)
    held = f"{os.environ['CUDA_VISIBLE_DEVICES']} {began} {time.monotonic()}"
    (job.out / "held").write_text(held)


def sleep(job: Job) -> None:
    (job.out / "pid").write_text(str(os.getpid()))
    time.sleep(60)


def spec(name: str, **config: str) -> dict:
    return {"job": f"tests.test_worker:{name}", "config": config, "inputs": {}, "compute": "cpu"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    (tmp_path / "state").mkdir()
    return tmp_path


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    made = Pool(1)
    yield made
    made.close()


def test_a_job_writes_its_files_reports_progress_and_logs_its_output(pool, folder):
    seen = []
    usage = pool.run(
        spec("write", text="hello"),
        folder,
        {},
        lambda *p: seen.append(p),
        lambda: seen.append("began"),
    )
    assert (folder / "out" / "a.txt").read_text().startswith("hello")
    assert seen[0] == "began"
    assert seen[-1] == (2, 2, "steps")
    assert "writing" in (folder / "log.txt").read_text()
    assert usage["peak_mib"] > 1


def test_two_jobs_share_a_process(pool, folder):
    pids = []
    for _ in range(2):
        pool.run(spec("write", text="x"), folder, {}, lambda *_: None, lambda: None)
        pids.append((folder / "out" / "a.txt").read_text())
    assert pids[0] == pids[1]


def test_jobs_of_one_group_run_in_one_process_even_if_another_slot_is_free(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    made = Pool(2)

    def run(number: int) -> tuple[str, str]:
        place = tmp_path / str(number)
        (place / "out").mkdir(parents=True)
        (place / "state").mkdir()
        group = "ab"[number % 2]
        made.run(spec("write", text=group), place, {}, lambda *_: None, lambda: None, group)
        name, pid = (place / "out" / "a.txt").read_text().split()
        return name, pid

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(run, range(8)))
    made.close()
    assert len(set(found)) == 2
    assert len({pid for _, pid in found}) == 2


def test_a_job_gets_as_many_cards_as_it_wants_and_no_card_has_two_jobs(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    # Two runs, each of which could use them all.
    names = ("a", "b", "c")
    pools = [Pool(0, names), Pool(0, names)]

    def run(number: int) -> tuple[set[str], float, float]:
        place = tmp_path / str(number)
        (place / "out").mkdir(parents=True)
        (place / "state").mkdir()
        wanted = 1 + number % 2
        pool = pools[number % 3 % 2]
        pool.run(spec("hold"), place, {}, lambda *_: None, lambda: None, cards=wanted)
        visible, began, ended = (place / "out" / "held").read_text().split()
        assert len(visible.split(",")) == wanted
        return set(visible.split(",")), float(began), float(ended)

    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(run, range(6)))
    for pool in pools:
        pool.close()
    for (some, began, ended), (others, start, end) in combinations(found, 2):
        assert ended <= start or end <= began or not some & others


def test_a_card_is_free_when_its_holder_is_killed():
    program = "from karma.cards import Card; c = Card('t'); print(c.take(), flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    card = Card("t")
    assert holder.stdout.readline() == b"True\n"
    assert not card.take()
    holder.kill()
    holder.communicate()
    assert card.take()
    card.free()


def test_a_job_that_wants_more_cards_than_there_are_is_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert cards(2) == ("0", "1")
    with pytest.raises(InputError, match=r"policy\.processes: 3: this machine has 2 CUDA card"):
        cards(3)


def test_a_users_mistake_keeps_its_words(pool, folder):
    with pytest.raises(UserError, match=r"file x: it is empty. Give another."):
        pool.run(spec("complain"), folder, {}, lambda *_: None, lambda: None)


def test_a_bug_is_told_with_its_type_and_the_log_holds_the_traceback(pool, folder):
    with pytest.raises(StageError, match="ValueError: a bug"):
        pool.run(spec("crash"), folder, {}, lambda *_: None, lambda: None)
    assert "Traceback" in (folder / "log.txt").read_text()


def test_a_killed_job_is_told_and_the_slot_takes_the_next_one(pool, folder):
    with pytest.raises(StageError, match="SIGKILL"):
        pool.run(spec("die"), folder, {}, lambda *_: None, lambda: None)
    pool.run(spec("write", text="x"), folder, {}, lambda *_: None, lambda: None)


def test_a_job_that_takes_too_long_is_ended_and_the_slot_takes_the_next_one(pool, folder):
    with pytest.raises(StageError, match=r"longer than its time limit, 2.5 s"):
        pool.run(spec("sleep"), folder, {}, lambda *_: None, lambda: None, limit=2.5)
    assert not Path(f"/proc/{(folder / 'out' / 'pid').read_text()}").exists()
    quick = pool.run(spec("write", text="x"), folder, {}, lambda *_: None, lambda: None, limit=60)
    assert quick["seconds"] < 60


def test_a_worker_is_gone_soon_after_its_parent_was_killed(folder):
    program = (
        "from pathlib import Path; from karma.worker import Pool\n"
        f"Pool(1).run({spec('sleep')!r}, Path({str(folder)!r}), {{}}, print, lambda: None)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    parent = subprocess.Popen([sys.executable, "-c", program], env=environment)
    pid_file = folder / "out" / "pid"
    wait_until(lambda: pid_file.exists() and pid_file.read_text() != "", 30)
    parent.kill()
    parent.wait()
    wait_until(lambda: not Path(f"/proc/{pid_file.read_text()}").exists(), 5)


def wait_until(condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


@pytest.mark.parametrize(("kind", "name"), [("code", "karma.text"), ("version", "numpy")])
def test_a_job_whose_code_or_libraries_changed_since_the_plan_is_refused(pool, folder, kind, name):
    known = {"code": code("karma.text"), "version": {"numpy": minor("numpy")}}
    pool.run(spec("write", text="x"), folder, known, lambda *_: None, lambda: None)
    known[kind][name] = "0.0"
    with pytest.raises(UserError, match=f"{name}: changed since the run was planned"):
        pool.run(spec("write", text="x"), folder, known, lambda *_: None, lambda: None)
