"""The store: commits are whole or not there, and content decides what an artefact is called."""

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from karma.errors import WorkspaceError
from karma.store import Store, write_atomically

FACTS = {"fingerprint": {}, "seconds": 1.0}


def build(store: Store, key: str, files: dict[str, str]) -> dict:
    folder = store.begin(key)
    for name, text in files.items():
        path = folder / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return store.commit("base", key, FACTS)


def test_equal_files_have_one_digest_whatever_key_made_them(store):
    first = build(store, "k1", {"a.txt": "one", "b/c.txt": "two"})
    second = build(store, "k2", {"a.txt": "one", "b/c.txt": "two"})
    assert first["digest"] == second["digest"]
    assert (store.path(first["digest"]) / "b" / "c.txt").read_text() == "two"


def test_a_log_is_kept_with_the_artefact_but_does_not_change_its_digest(store):
    first = build(store, "k1", {"a.txt": "one", "log/output.txt": "hello"})
    second = build(store, "k2", {"a.txt": "one", "log/output.txt": "good bye"})
    assert first["digest"] == second["digest"]
    assert (store.log_folder("base", "k1") / "output.txt").read_text() == "hello"
    assert (store.log_folder("base", "k2") / "output.txt").read_text() == "good bye"


def test_the_first_commit_of_a_key_stands(store):
    first = build(store, "k", {"a.txt": "one"})
    second = build(store, "k", {"a.txt": "another"})
    assert second == first
    assert store.record("base", "k")["digest"] == first["digest"]


def test_two_keys_that_make_the_same_bytes_at_once_are_both_committed(store):
    for number in range(40):
        both = threading.Barrier(2)

        def commit(key: str, number: int = number, both: threading.Barrier = both) -> dict:
            (store.begin(key) / "out" / "a.txt").write_text(str(number))
            both.wait()
            return store.commit("base", key, FACTS)

        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(commit, (f"{number}-a", f"{number}-b"))
        assert first["digest"] == second["digest"]
    assert list((store.root / "scratch").iterdir()) == []


def test_a_forced_commit_takes_the_place_of_a_record_which_is_kept_beside_it(store):
    first = build(store, "k", {"a.txt": "one"})
    store.begin("k")
    (store.root / "scratch" / "k" / "out" / "a.txt").write_text("another")
    second = store.commit("base", "k", FACTS, replace=True)
    assert store.record("base", "k")["digest"] == second["digest"] != first["digest"]
    assert [record["digest"] for record in store.records()] == [first["digest"], second["digest"]]


def test_an_artefact_with_a_file_gone_is_not_intact_and_a_new_commit_mends_it(store):
    record = build(store, "k", {"a.txt": "one"})
    (store.path(record["digest"]) / "a.txt").unlink()
    assert not store.intact(record["digest"])
    build(store, "k", {"a.txt": "one"})
    assert store.intact(record["digest"])


def test_a_file_cut_short_is_not_intact(store):
    record = build(store, "k", {"a.txt": "one"})
    (store.path(record["digest"]) / "a.txt").write_text("o")
    assert not store.intact(record["digest"])


def test_nothing_is_left_in_scratch_after_a_commit(store):
    build(store, "k", {"a.txt": "one"})
    assert list((store.root / "scratch").iterdir()) == []


def test_checkpoints_of_an_earlier_try_survive_but_its_output_does_not(store):
    folder = store.begin("k")
    (folder / "out" / "half.txt").write_text("half")
    (folder / "state" / "step-3").write_text("state")
    again = store.begin("k")
    assert list((again / "out").iterdir()) == []
    assert (again / "state" / "step-3").read_text() == "state"


def test_the_next_run_drops_what_a_finished_key_left_and_keeps_what_is_made_anew(store):
    record = build(store, "k", {"a.txt": "one"})
    build(store, "gone", {"b.txt": "two"})
    (store.path(store.record("base", "gone")["digest"]) / "b.txt").unlink()
    for key in ("k", "gone", "new"):
        store.begin(key)
    store.tidy()
    assert sorted(path.name for path in (store.root / "scratch").iterdir()) == ["gone", "new"]
    assert store.here(record["digest"])


def test_a_failure_is_remembered_until_a_try_succeeds(store):
    store.begin("k")
    store.fail("k", "it broke")
    assert store.failure("k") == "it broke"
    build(store, "k", {"a.txt": "one"})
    assert store.failure("k") is None


def test_a_workspace_that_cannot_be_written_is_told_with_the_way_out(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match=r"cannot be written.*--workspace"):
        Store(tmp_path / "file" / "workspace").create()


def test_a_file_that_finds_no_room_leaves_nothing_of_itself(tmp_path):
    path = tmp_path / "a.json"
    write_atomically(path, b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_atomically(path, bytes(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.json", b"before")]


def test_an_input_file_is_hashed_once_and_again_when_it_changes(store, tmp_path):
    path = tmp_path / "dump"
    path.write_text("one")
    assert store.known_digest(path) is None
    first = store.hash_source(path)
    assert store.known_digest(path) == first
    path.write_text("other")
    assert store.known_digest(path) is None
    assert store.hash_source(path) != first


def test_a_thousand_input_files_are_looked_up_at_once(store, tmp_path):
    path = tmp_path / "RC.zst"
    path.touch()
    store.hash_source(path)
    notes = json.loads((store.root / "sources.json").read_text())
    notes |= {f"/data/reddit/RC_{n}.zst": notes[str(path)] for n in range(1000)}
    (store.root / "sources.json").write_text(json.dumps(notes))
    began = time.process_time()
    assert all(store.known_digest(path) for _ in range(1000))
    assert time.process_time() - began < 0.5


def _commit_in_a_child(root: Path, number: int) -> None:
    store = Store(root)
    with store.lock("k", lambda _: None):
        if store.record("base", "k") is None:
            folder = store.begin("k")
            (folder / "out" / "a.txt").write_text(str(number))
            store.commit("base", "k", FACTS)
            with (root / "commits").open("a") as file:
                file.write(f"{number}\n")


def test_twenty_processes_that_want_the_same_key_commit_it_once(store):
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_commit_in_a_child, args=(store.root, n)) for n in range(20)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert all(child.exitcode == 0 for child in children)
    assert len((store.root / "commits").read_text().splitlines()) == 1
    assert store.intact(store.record("base", "k")["digest"])


def test_a_lock_is_free_when_its_holder_is_killed_and_tells_who_held_it(store):
    hold = (
        "import sys, time; from pathlib import Path; from karma.store import Store\n"
        f"with Store(Path({str(store.root)!r})).lock('k', print):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    told = []

    def waiting(holder: str) -> None:
        told.append(holder)
        os.kill(child.pid, signal.SIGKILL)

    began = time.monotonic()
    with store.lock("k", waiting):
        assert time.monotonic() - began < 5
    assert told
    assert f"pid {child.pid} on " in told[0]
    child.wait()
    child.stdout.close()
