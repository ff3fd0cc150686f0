"""The plan: what is stale and why, from the store alone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from karma import dag, fingerprint
from karma.errors import RecipeError
from karma.evals.catalogue import BENCHMARKS
from karma.instances import find
from karma.plan import FAILED, FRESH, MISSING, PENDING, STALE, plan
from karma.recipe import load
from karma.store import Store
from karma.world.recipe import COMMENTS
from tests.filled import RANGES, SMOKE, fill


def states(store: Store, *settings: str) -> dict[str, str]:
    made = plan("smoke", load(SMOKE, list(settings)), store)
    return {name: entry.state for name, entry in made.entries.items()}


def entry(store: Store, name: str, *settings: str):
    return plan("smoke", load(SMOKE, list(settings)), store).entries[name]


def test_in_an_empty_workspace_only_the_world_can_be_built_and_threads_is_one_entry(store):
    found = states(store)
    assert found["world"] == MISSING
    assert found["threads"] == PENDING
    assert {s for n, s in found.items() if n != "world"} == {PENDING}


def test_when_everything_was_built_everything_is_fresh_and_threads_has_its_ranges(filled):
    found = states(filled)
    assert set(found.values()) == {FRESH}
    ranges = [f"threads/{r}" for r in RANGES]
    signatures = ["threads/signatures/RC_2023-01.zst"]
    assert [n for n in found if n.startswith("threads")] == signatures + ranges


def test_a_setting_of_ppo_makes_the_policies_stale_and_what_follows_wait(filled):
    found = states(filled, "policy.kl_coef=0.2")
    assert {n.split("/")[0] for n, s in found.items() if s == STALE} == {"policy"}
    assert all(s == STALE for n, s in found.items() if n.startswith("policy/"))
    waiting = {n for n, s in found.items() if s == PENDING}
    assert waiting == {n for n in found if n.startswith("evals/policy/") or n == "report"}
    causes = entry(filled, "policy/reddit/context/0", "policy.kl_coef=0.2").causes
    assert [(c["kind"], c["what"], c["new"]) for c in causes] == [("config", "policy.kl_coef", 0.2)]


def test_what_was_built_with_other_settings_is_fresh_again_when_they_return(filled):
    recipe = load(SMOKE, ["policy.kl_coef=0.2"])
    fill(filled, "smoke", recipe)
    assert set(states(filled, "policy.kl_coef=0.2").values()) == {FRESH}
    assert set(states(filled).values()) == {FRESH}


def test_a_new_exposure_seed_or_variant_leaves_the_other_cells_fresh(filled):
    found = states(filled, "seeds=[0, 1]")
    cells = [n for n in found if n.startswith("policy/") and n.endswith("/0")]
    assert cells
    assert all(found[n] == FRESH for n in cells)
    found = states(filled, "reward.variants.longer={kind: model, context: true, max_tokens: 99}")
    assert found["reward/context/0"] == FRESH
    assert found["policy/reddit/context/0"] == FRESH
    assert found["reward/longer/0"] == MISSING


def test_a_file_gone_makes_its_stage_missing_and_leaves_its_consumers_fresh(filled):
    digest = entry(filled, "labels").digest
    (filled.path(digest) / "data.parquet").unlink()
    found = states(filled)
    assert found["labels"] == MISSING
    assert {s for n, s in found.items() if n != "labels"} == {FRESH}
    assert plan("smoke", load(SMOKE, []), filled).to_run == []


def test_a_report_whose_files_are_gone_is_made_again(filled):
    (filled.path(entry(filled, "report").digest) / "data.parquet").unlink()
    assert [e.node.id for e in plan("smoke", load(SMOKE, []), filled).to_run] == ["report"]


def test_the_last_error_of_a_failed_try_is_told(filled):
    changed = entry(filled, "policy/reddit/context/0", "policy.kl_coef=0.2")
    filled.begin(changed.key)
    filled.fail(changed.key, "no more memory")
    again = entry(filled, "policy/reddit/context/0", "policy.kl_coef=0.2")
    assert (again.state, again.last_error) == (FAILED, "no more memory")


def test_an_edited_sql_file_makes_its_stage_stale_with_cause_sql(filled, monkeypatch):
    original = fingerprint.text_digest

    def edited(path: Path) -> str:
        return "edited" if path.name == "pairs.sql" else original(path)

    monkeypatch.setattr(dag, "text_digest", edited)
    found = entry(filled, "labels")
    assert found.state == STALE
    assert [(c["kind"], c["what"]) for c in found.causes] == [("sql", "sql/labels/pairs.sql")]
    assert states(filled)["threads/" + RANGES[0]] == FRESH


def test_a_new_benchmark_leaves_every_existing_cell_fresh(filled, monkeypatch):
    other = dag.BENCHMARKS["humor"]._replace(module="karma.evals.benchmarks.implicature", files=())
    monkeypatch.setitem(dag.BENCHMARKS, "brand_new", other)
    found = states(filled)
    fresh = {n for n, s in found.items() if s == FRESH}
    assert {n for n in found if n.startswith("evals/") and "brand_new" not in n} <= fresh
    assert found["evals/base/brand_new"] == MISSING


def test_an_input_file_is_stale_until_it_was_hashed_and_its_absence_is_told(
    filled, tmp_path, monkeypatch
):
    monkeypatch.setenv("KARMA_SALT", "x")
    dump = tmp_path / "RC_1.ndjson"
    settings = (f"dumps.comments={dump}", "dumps.submissions=null")
    absent = entry(filled, "source/RC_1.ndjson", *settings)
    dump.write_text("{}")
    unknown = entry(filled, "source/RC_1.ndjson", *settings)
    filled.hash_source(dump)
    known = entry(filled, "source/RC_1.ndjson", *settings)
    assert (absent.state, absent.causes[0]["new"]) == (MISSING, "no such file")
    assert (unknown.state, unknown.causes[0]["what"]) == (STALE, "input, not yet hashed")
    assert known.state == FRESH


def test_the_salt_is_in_the_key_of_a_real_dump_and_nowhere_in_clear(store, tmp_path, monkeypatch):
    dump = tmp_path / "RC_1.ndjson"
    dump.write_text("{}")
    store.hash_source(dump)
    settings = (f"dumps.comments={dump}", "dumps.submissions=null")
    monkeypatch.setenv("KARMA_SALT", "correct horse")
    first = entry(store, "dumps/RC_1.ndjson", *settings)
    monkeypatch.setenv("KARMA_SALT", "battery staple")
    second = entry(store, "dumps/RC_1.ndjson", *settings)
    assert first.key != second.key
    assert "horse" not in json.dumps(first.node.config)


def test_the_document_of_the_plan_has_the_fields_of_the_contract(filled):
    document = plan("smoke", load(SMOKE, []), filled).document()
    assert (document["schema"], document["recipe"]) == (1, "smoke")
    fields = {"id", "stage", "state", "key", "digest", "causes", "inputs"}
    assert all(
        set(s) == fields | {"last_seconds", "last_mib", "last_error", "accepted"}
        for s in document["stages"]
    )


@pytest.mark.parametrize(
    ("command", "last"),
    [
        (["plan", SMOKE], " fresh."),
        (["why", SMOKE, "labels"], "labels is FRESH."),
        (["lineage", SMOKE, "base:humor", "--html", "page.html"], "page.html: written."),
        (["verify"], " s: nothing damaged."),
        (["gc"], "0 listed; --apply removes 0, 0 B."),
        (["keep"], ""),
    ],
)
def test_commands_that_read_import_nothing_heavy(built, tmp_path, command, last):
    program = (
        "import sys; sys.argv = ['karma', *sys.argv[1:]]\n"
        "import os; os._exit = sys.exit\n"
        "from flows.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'prefect', 'mlflow', 'duckdb', 'pyarrow', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    words = [sys.executable, "-c", program, *command, "--workspace", built]
    ran = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    *lines, heavy = ran.stdout.splitlines()
    assert "".join(lines[-1:]).endswith(last)
    assert heavy == "[]"


def test_an_unknown_instance_is_told_with_the_nearest(filled):
    made = plan("smoke", load(SMOKE, []), filled)
    with pytest.raises(RecipeError, match="reward/context/0"):
        find(made.dag, "reward/contxt/0")


@pytest.mark.parametrize(
    "setting",
    [
        "dumps.memory_mb=2048",
        "threads.memory_mb=4096",
        "policy.micro_tokens=512",
        "policy.checkpoint_every=7",
        "reward.checkpoint_steps=7",
        "sft.checkpoint_steps=7",
        "evals.batch_tokens=512",
    ],
)
def test_how_a_job_runs_makes_nothing_stale_and_reaches_the_job(filled, setting):
    assert set(states(filled, setting).values()) == {FRESH}
    section, _, name = setting.partition("=")[0].partition(".")
    nodes = plan("smoke", load(SMOKE, [setting]), filled).dag.nodes.values()
    jobs = [node.job_config for node in nodes if node.stage == section]
    # The swap probe asks reward models, which cut their batches themselves.
    given = {job[section][name] for job in jobs if job.get("benchmark") != "swap"}
    assert given == {int(setting.partition("=")[2])}


def test_a_setting_of_generation_makes_only_the_benchmarks_stale_that_generate(filled):
    stale = {n for n, s in states(filled, "evals.generations=3").items() if s == STALE}
    assert {name.rsplit("/", 1)[1] for name in stale} == {"toxicity", "replies", "fit"}
    found = states(filled, "evals.toxicity.classifier={folder: x}")
    assert found["source/toxicity_classifier"] == MISSING
    changed = {n for n, s in found.items() if s == PENDING and n.startswith("evals/")}
    assert {name.rsplit("/", 1)[1] for name in changed} == {"toxicity"}


def test_what_a_backbones_folder_holds_counts_and_not_where_it_lies(filled, tmp_path):
    def key(folder: Path) -> str | None:
        filled.hash_source(folder / "model.safetensors")
        setting = f"reward.backbone={{folder: {folder}}}"
        return entry(filled, "reward/context/0", setting).key

    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
    assert key(one) == key(two) is not None
    (two / "model.safetensors").write_bytes(b"other weights")
    assert key(one) != key(two)


def test_an_input_from_a_world_that_is_made_again_with_other_bytes_has_their_digest(
    store, monkeypatch
):
    from tasks.stage import Run, _restore, bring_up_to_date
    from tests.test_shared import Quiet

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    recipe = load(SMOKE, ["world.threads=20", "world.texts=20"])
    fill(store, "smoke", recipe)
    run = Run(plan("smoke", recipe, store).dag, store, Quiet())
    for name in ("world", "source/RC_2023-01.zst"):
        bring_up_to_date(run, name)
    before = run.outcomes["source/RC_2023-01.zst"].digest
    shutil.rmtree(store.path(run.outcomes["world"].digest))
    _restore(run, run.dag.nodes["source/RC_2023-01.zst"])
    run.close()
    files = store.record("world", run.outcomes["world"].key)["files"]
    now = run.outcomes["source/RC_2023-01.zst"].digest
    assert now == files[COMMENTS]["sha256"] != before


def test_every_library_that_a_job_imports_is_in_its_key():
    distributions = {"sklearn": "scikit-learn", "yaml": "pyyaml"}
    other = ["policy.algorithm=rloo", "policy.vf_coef=0.1", "evals.lm_eval=[arc_easy]"]
    recipes = load(SMOKE, []), load(SMOKE, other)
    nodes = [n for recipe in recipes for n in dag.build("smoke", recipe).nodes.values()]
    jobs = {node.job.split(":")[0]: node for node in nodes if node.source is None}
    jobs |= {benchmark.module: jobs["karma.evals.job"] for benchmark in BENCHMARKS.values()}
    for root, node in jobs.items():
        modules = fingerprint.code(root)
        imported = {i.split(".")[0] for module in modules for i in _imports(module)}
        foreign = imported - sys.stdlib_module_names - {"karma", "pydantic"}
        lacking = {distributions.get(i, i) for i in foreign} - set(node.libraries)
        assert not lacking, f"{node.id} does not declare {lacking}"


def _imports(module: str) -> frozenset[str]:
    path = fingerprint._file(module)
    return fingerprint._parse(path)[1]


@pytest.mark.parametrize(
    "setting",
    [
        "slots=7",
        "time_limits={policy: 60}",
        "pools={policy: gpu, reward: gpu}",
        "gates.reward_beats_length=fail",
        "registry.policy=gold",
    ],
)
def test_how_a_run_is_made_makes_nothing_stale(filled, setting):
    made = plan("smoke", load(SMOKE, [setting]), filled)
    assert {entry.state for entry in made.entries.values()} == {FRESH}
