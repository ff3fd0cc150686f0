"""The command line: what bad input gets, and what the commands print."""

import json
import os
import signal
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from flows.console import Console
from flows.recipe_name import take
from flows.running import finish
from karma.dag import build
from karma.errors import RecipeError, StageError
from karma.inputs import input_nodes
from karma.recipe import load
from karma.store import Store
from karma.worker import Pool
from tasks.stage import Outcome, Run
from tests.filled import SMOKE
from tests.small import KARMA, command, karma

DUMP = SMOKE.with_name("dump.yaml")


def refused(*arguments: str, workspace: Path, salt: str = "x") -> str:
    """What a command says that ends with 2; nothing else may happen."""
    ran = karma(*arguments, workspace=workspace, env={"KARMA_SALT": salt})
    assert ran.returncode == 2, ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""
    assert len(ran.stderr.strip().splitlines()) == 1
    return ran.stderr


def dump_settings(folder: Path, comments: str = "RC_1.ndjson") -> list[str]:
    values = {
        "dumps.comments": folder / comments,
        "dumps.submissions": "null",
        "prompts.unexposed.instructions": "world",
        "evals.data": "world",
    }
    return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]


def test_an_unknown_key_is_told_with_the_nearest_one(tmp_path):
    words = refused("run", str(SMOKE), "--set", "policy.kl_cof=1", workspace=tmp_path / "w")
    assert "policy.kl_cof is no known key; did you mean kl_coef?" in words
    assert not (tmp_path / "w").exists()


def test_a_wrong_argument_points_to_the_help_of_its_command(tmp_path):
    assert "(karma run --help)" in refused("run", workspace=tmp_path)
    assert "(karma validate --help)" in refused("validate", "x", "--odd", workspace=tmp_path)
    assert "(karma --help)" in refused("rnu", workspace=tmp_path)


def test_an_option_that_is_wrong_is_named(tmp_path):
    assert "--port" in refused("ui", "--port", "0", workspace=tmp_path)
    assert "--because" in refused("accept", str(SMOKE), "labels", workspace=tmp_path)
    assert "--overlap" in refused("deploy", str(SMOKE), "--overlap", "odd", workspace=tmp_path)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("deploy", str(SMOKE), "--timezone", "Europe/London"), "there is no schedule"),
        (("deploy", str(SMOKE), "--pool", "gpu"), "a Prefect server of your own"),
        (("keep", "--release"), "it names nothing"),
        (("plan", str(SMOKE), "--force", "base", "--store", "file:///nowhere"), "machines share"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(tmp_path, words, reason):
    (tmp_path / "objects").mkdir()
    assert reason in refused(*words, workspace=tmp_path)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("base={folder: ''}", "base.folder: it is empty"),
        ("reward.backbone={folder: ''}", "reward.backbone.folder: it is empty"),
        ("evals.data=''", "evals.data: it is empty"),
        ("evals.lm_eval=['']", "evals.lm_eval: it is empty"),
        ("threads.subreddits=[]", "the list is empty"),
        ("threads={min_chars: 10, max_chars: 2}", "min_chars (10) exceeds max_chars (2)"),
        ("threads.split.test=0", "threads.split.test"),
        ("seeds=[true, 0]", "seeds.0"),
        ("policy.max_new_tokens=100000", "leaves no room for a prompt in base.tiny.context (512)"),
        ("reward.max_tokens=100000", "reward.max_tokens (100000) exceeds base.tiny.context (512)"),
    ],
)
def test_what_must_fail_later_is_told_by_validate(setting, reason):
    ran = command("validate", SMOKE, "--set", setting)
    assert ran.returncode == 2
    assert reason in ran.stderr


def test_two_recipes_of_one_name_do_not_take_each_others_artefacts(tmp_path):
    store = Store(tmp_path / "w")
    store.create()
    first, copy, other = (tmp_path / name / "exp.yaml" for name in "abc")
    for path, text in ((first, "seeds: [0]"), (copy, "seeds: [0]"), (other, "seeds: [1]")):
        path.parent.mkdir()
        path.write_text(text)
    take(store, first)
    take(store, copy)
    with pytest.raises(RecipeError, match="exp is the name of"):
        take(store, other)
    copy.unlink()
    take(store, other)  # the one that had it is gone


def test_a_module_in_the_folder_where_a_run_is_started_is_never_imported(tmp_path):
    (tmp_path / "queue.py").write_text("raise SystemExit('my own queue')")
    pool = Pool(1)
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        spec = {"job": "karma.nowhere:run", "config": {}, "inputs": {}, "compute": "cpu"}
        (tmp_path / "job" / "out").mkdir(parents=True)
        with pytest.raises(StageError) as error:
            pool.run(spec, tmp_path / "job", {}, lambda *_: None, print)
    finally:
        os.chdir(before)
        pool.close()
    assert "nowhere" in str(error.value)


def test_a_file_is_wanted_where_a_folder_is_named_and_a_relative_path_says_from_where(tmp_path):
    (tmp_path / "sub").mkdir()
    settings = [*dump_settings(tmp_path), "--set", f"prompts.unexposed.instructions={tmp_path}/sub"]
    settings += ["--set", "dumps.comments=RC_gone.zst"]
    words = refused("run", str(DUMP), *settings, workspace=tmp_path / "w")
    assert f"instructions: {tmp_path}/sub: it is an empty folder" in words
    assert f"RC_gone.zst: there is no such file or folder (from {Path.cwd()})" in words


def test_a_workspace_that_duckdb_would_take_as_a_glob_is_refused(tmp_path):
    words = refused("run", str(SMOKE), workspace=tmp_path / "w[1]")
    assert "its path holds one of * ? [" in words


def test_a_status_tells_what_ran_here_though_the_server_is_down(tmp_path):
    ran = karma("status", workspace=tmp_path, env={"PREFECT_API_URL": "http://127.0.0.1:9/api"})
    assert "No run in" in ran.stdout
    assert ran.returncode == 2


def test_the_version_is_that_of_the_package():
    assert command("--version").stdout.strip() == version("karma-pipeline")


def test_an_unknown_variant_and_benchmark_are_told(tmp_path):
    words = refused("plan", str(SMOKE), "--set", "reward.variants.odd={}", workspace=tmp_path)
    assert "unknown variant 'odd'" in words
    words = refused("plan", str(SMOKE), "--set", "evals.benchmarks=[mmlo]", workspace=tmp_path)
    assert "did you mean mmlu?" in words


def test_a_missing_dump_is_told_before_anything_starts(tmp_path):
    words = refused("run", str(DUMP), *dump_settings(tmp_path), workspace=tmp_path / "w")
    assert f"dumps.comments: {tmp_path}/RC_1.ndjson: there is no such file" in words
    assert "--set" in words


def test_all_missing_inputs_are_told_at_once_by_their_keys(tmp_path):
    (tmp_path / "RC_1.ndjson").write_text("{}")
    gone = {"prompts.unexposed.instructions": "gone.json", "evals.data": "nowhere"}
    more = [word for key, name in gone.items() for word in ("--set", f"{key}={tmp_path}/{name}")]
    words = refused("run", str(DUMP), *dump_settings(tmp_path), *more, workspace=tmp_path / "w")
    for key, name in gone.items():
        assert words.count(f"{key}: {tmp_path}/{name}: there is no such file") == 1


def test_a_missing_benchmark_is_told_by_its_file_and_the_simulators_is_not_asked_for(tmp_path):
    (tmp_path / "RC_1.ndjson").write_text("{}")
    (tmp_path / "data").mkdir()
    more = ["--set", f"evals.data={tmp_path}/data", "--set", "evals.benchmarks=[humor]"]
    words = refused("run", str(DUMP), *dump_settings(tmp_path), *more, workspace=tmp_path / "w")
    assert "data/colbert_humor.csv: there is no such file" in words
    recipe = load(DUMP, [f"evals.data={tmp_path}/nowhere", "evals.benchmarks=all"])
    names = {node.id for node in input_nodes(recipe)}
    assert "benchmark/humor" in names
    assert "benchmark/fit" not in names


def test_real_dumps_without_a_salt_are_refused(tmp_path):
    words = refused("run", str(DUMP), *dump_settings(tmp_path), workspace=tmp_path / "w", salt="")
    assert "KARMA_SALT: it is not set" in words


def test_a_workspace_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    words = refused("run", str(SMOKE), workspace=tmp_path / "file" / "w")
    assert "cannot be written" in words
    assert "--workspace" in words


def test_a_workspace_below_a_file_is_told_by_those_that_only_read(tmp_path):
    (tmp_path / "file").write_text("")
    for words in (["plan", str(SMOKE)], ["lineage", str(SMOKE)], ["why", str(SMOKE), "world"]):
        told = refused(*words, workspace=tmp_path / "file" / "w")
        assert "it cannot be read (Not a directory)" in told
        assert "--workspace" in told


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_damaged_file_of_the_workspace_is_told(tmp_path, content):
    path = tmp_path / "refs" / "smoke" / "world.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    words = refused("plan", str(SMOKE), workspace=tmp_path)
    assert f"{path}: it is damaged: no JSON object. Delete the file" in words


def test_what_no_part_has_put_into_words_is_told_by_its_path_and_reason(tmp_path):
    words = refused("logs", "labels", workspace=tmp_path / ("x" * 256))
    assert f"{'x' * 256}" in words
    assert "File name too long" in words


def test_a_folder_in_the_place_of_a_dump_is_told_as_what_it_is(tmp_path):
    for name, reason in (("empty", "it is an empty folder"), ("", "it is a folder, not a file")):
        (tmp_path / "dumps" / "empty").mkdir(parents=True, exist_ok=True)
        settings = dump_settings(tmp_path / "dumps", name)
        words = refused("run", str(DUMP), *settings, workspace=tmp_path / "w")
        assert f"{tmp_path / 'dumps' / name}: {reason}" in words


def test_a_prefect_server_that_does_not_answer_is_told(tmp_path):
    away = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    ran = karma("run", str(SMOKE), workspace=tmp_path / "w", env=away)
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
    told = ran.stderr.splitlines()[-1]
    assert told.startswith("error: Prefect's server http://127.0.0.1:9/api")
    assert "correct PREFECT_API_URL" in told


def test_a_reader_that_has_seen_enough_ends_the_command_quietly(tmp_path):
    for arguments in (["validate", SMOKE], ["plan", SMOKE, "--json", "--workspace", tmp_path]):
        child = subprocess.Popen(
            [KARMA, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        child.stdout.close()
        assert child.stderr.read() == b""
        child.stderr.close()
        child.wait(60)


def test_an_unknown_option_is_refused(tmp_path):
    ran = karma("plan", str(SMOKE), "--jason", workspace=tmp_path)
    assert ran.returncode == 2
    assert "--jason" in ran.stderr


def test_plan_writes_nothing_and_its_exit_code_tells_what_is_not_fresh(tmp_path):
    ran = karma("plan", str(SMOKE), "--exit-code", workspace=tmp_path / "w")
    assert ran.returncode == 4
    assert not (tmp_path / "w").exists()


def test_the_plan_of_a_recipe_without_its_inputs_shows_what_is_missing(tmp_path):
    recipe = SMOKE.with_name("llama-3.2-1b.yaml")
    dumps = f"dumps.comments={tmp_path}/RC_*.zst"
    given = ("plan", str(recipe), "--set", dumps, "--json")
    ran = karma(*given, workspace=tmp_path, env={"KARMA_SALT": "x"})
    stages = {stage["id"]: stage for stage in json.loads(ran.stdout)["stages"]}
    assert stages["base"]["state"] == "MISSING"
    assert stages["instructions"]["state"] == "FRESH"
    missing = [s for s in stages.values() if s["causes"] and s["causes"][0]["new"]]
    assert any(s["causes"][0]["what"] == f"{tmp_path}/RC_*.zst" for s in missing)


def test_validate_needs_no_inputs(tmp_path):
    for recipe in SMOKE.parent.glob("*.yaml"):
        ran = command("validate", recipe)
        assert ran.returncode == 0
        assert "valid" in ran.stdout


def test_why_tells_every_cause_with_old_and_new(tmp_path):
    ran = karma("why", str(SMOKE), "world", workspace=tmp_path)
    assert ran.stdout.splitlines() == [
        "world is MISSING because it was never built.",
        "  missing never built: nothing → nothing",
    ]


def test_logs_of_what_never_ran_are_told(tmp_path):
    words = refused("logs", "labels", workspace=tmp_path)
    assert "it never ran" in words


def test_logs_of_an_instance_are_those_of_the_recipe_that_is_named(store):
    for recipe in ("first", "second"):
        (store.begin(recipe) / "out" / "a.txt").write_text(recipe)
        record = store.commit("labels", recipe, {"fingerprint": {}})
        log = store.path(record["digest"]) / "log" / recipe
        log.mkdir(parents=True)
        (log / "output.txt").write_text(f"printed by {recipe}")
        store.set_ref(recipe, "labels", recipe, record["digest"])
    for recipe in ("first", "second"):
        ran = karma("logs", f"{recipe}:labels", workspace=store.root)
        assert ran.stdout == f"printed by {recipe}"


def test_who_names_a_stage_is_told_its_instances(tmp_path):
    words = refused("why", str(SMOKE), "policy", workspace=tmp_path)
    assert "instance policy: it is a stage. Name one of its instances: policy/" in words
    Store(tmp_path).set_try("smoke", "reward/context/0", "a key")
    words = refused("logs", "reward", workspace=tmp_path)
    assert "it is a stage. Name one of its instances: reward/context/0." in words


def test_simulate_writes_a_world_and_refuses_a_folder_that_is_not_empty(tmp_path):
    arguments = ("simulate", tmp_path / "world", "--set", "world.threads=20")
    first = command(*arguments)
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "world" / "RC_2023-01.zst").exists()
    second = command(*arguments)
    assert second.returncode == 2
    assert "is not empty" in second.stderr


@pytest.mark.parametrize(
    ("out", "setting", "words"),
    [
        ("file/world", "world.seed=1", "it cannot be made (Not a directory)"),
        ("file", "world.seed=1", "it cannot be made (File exists)"),
        ("x" * 256, "world.seed=1", "it cannot be made (File name too long)"),
        ("new", "world.seed=[", "the value is no YAML"),
        ("new", "world.fit=.inf", "world.fit: Input should be a finite number"),
        ("new", "world.sead=1", "world.sead is no known key; did you mean seed?"),
        ("new", "policy.lr=1", "policy is no known key; known are world"),
        ("new", "seed", "it is not KEY=VALUE"),
    ],
)
def test_a_world_that_cannot_be_simulated_is_told(tmp_path, out, setting, words):
    (tmp_path / "file").write_text("")
    ran = command("simulate", tmp_path / out, "--set", setting)
    assert (ran.returncode, ran.stdout) == (2, "")
    (told,) = ran.stderr.splitlines()
    assert words in told
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_after_a_failure_the_report_with_its_holes_is_announced(store, capsys):
    folder = store.begin("key")
    headline = {
        "columns": ["humor", "mmlu"],
        "rows": [{"model": "base", "cells": {"humor": {"value": 0.5, "low": 0.4, "high": 0.6}}}],
    }
    report = {"headline": headline, "conditions": [], "rewards": []}
    (folder / "out" / "report.json").write_text(json.dumps(report))
    record = store.commit("report", "key", {"fingerprint": {}, "seconds": 1.0, "ranges": []})
    done = Run(build("smoke", load(SMOKE, [])), store, Console())
    done.failures["evals/base/mmlu"] = StageError("a bug")
    done.outcomes["report"] = Outcome("key", record["digest"], ran=True)
    assert finish(done, store.root) == 1
    printed = capsys.readouterr()
    assert "evals/base/mmlu: a bug" in printed.err
    assert "base  0.500 [0.40,0.60]                  —" in printed.out
    assert f"Report: {store.path(record['digest'])}/report.html" in printed.out


def write_bad_dumps(folder: Path, good: bytes) -> dict[str, str]:
    """Dumps that cannot be used, by name, and what is said of each."""
    (folder / "image.zst").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (folder / "cut.zst").write_bytes(good[: len(good) * 6 // 10])
    (folder / "empty.ndjson").write_bytes(b"")
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0xFF
    (folder / "flipped.zst").write_bytes(bytes(flipped))
    return dict.fromkeys(("image.zst", "cut.zst", "empty.ndjson", "flipped.zst"), "")


@pytest.mark.slow
def test_dumps_that_cannot_be_used_are_told_by_name_and_leave_nothing_half_written(
    tmp_path, shared_data
):
    good = (shared_data / "reddit" / "RC_2006-01.zst").read_bytes()
    names = write_bad_dumps(tmp_path, good)
    settings = dump_settings(tmp_path, "*.*")
    settings += ["--set", "base.tiny.sequences=32", "--set", "sft.count=16"]
    ran = karma("run", str(DUMP), *settings, workspace=tmp_path / "w", env={"KARMA_SALT": "x"})
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
    for name in names:
        assert any(
            f"dumps/{name}: " in line and "error:" in line for line in ran.stderr.splitlines()
        )
    assert not list((tmp_path / "w" / "records").glob("dumps/*"))


def test_the_pages_are_announced_without_a_password(tmp_path):
    servers = {
        "MLFLOW_TRACKING_URI": "http://me:s3cret@127.0.0.1:9",
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
    }
    child = subprocess.Popen(
        [KARMA, "ui", "--workspace", tmp_path / "w"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **servers},
    )
    lines = [child.stdout.readline() for _ in range(3)]
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)
    assert lines[0] == "MLflow:  http://127.0.0.1:9\n"
    assert not any("s3cret" in line for line in lines)


def test_cuda_without_a_card_is_refused_before_anything_starts(tmp_path):
    env = {"CUDA_VISIBLE_DEVICES": ""}
    ran = karma("run", str(SMOKE), "--set", "compute=cuda", workspace=tmp_path / "w", env=env)
    assert ran.returncode == 2
    assert "compute: cuda: this machine has no CUDA card" in ran.stderr
    assert "starting Prefect" not in ran.stderr
