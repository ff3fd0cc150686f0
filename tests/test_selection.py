"""What of a plan a run may touch, and what it says beforehand that it will do."""

import json

import pytest

from karma.errors import RecipeError
from karma.plan import FRESH, plan
from karma.recipe import load
from karma.selection import Selection, Work, work
from karma.store import Store
from tests.filled import SMOKE
from tests.small import karma

KL = "policy.kl_coef=0.2"
MARGIN = "labels.pairs.min_margin=3"


def found(store: Store, *settings: str, **options: list[str]) -> Work:
    made = plan("smoke", load(SMOKE, list(settings)), store)
    return work(made, Selection(**{name: tuple(parts) for name, parts in options.items()}))


def stages(work: Work, *runs: str) -> set[str]:
    return {entry.node.stage for entry in work.those(*runs)}


def test_without_options_what_is_stale_runs_and_what_waits_for_it_may(filled):
    all_of_it = found(filled, KL)
    assert stages(all_of_it, "yes") == {"policy"}
    assert stages(all_of_it, "maybe") == {"evals", "report"}
    assert all_of_it.left_alone == 0


def test_only_runs_a_stage_and_nothing_that_is_made_from_it(filled):
    only = found(filled, KL, only=["policy"])
    assert stages(only, "yes", "maybe") == {"policy"}
    assert only.left_alone == len(found(filled, KL).those("maybe"))


def test_only_takes_the_beginning_of_an_instances_id_and_more_than_one(filled):
    some = found(filled, KL, only=["policy/reddit/context", "policy/unexposed/context/0"])
    names = [entry.node.id for entry in some.those("yes")]
    assert names == ["policy/reddit/context/0", "policy/unexposed/context/0"]
    with pytest.raises(RecipeError, match=r"stage polic: the recipe has no instance.*policy"):
        found(filled, only=["polic"])


def test_from_runs_a_stage_and_all_that_is_made_from_it(filled):
    two = found(filled, KL, "threads.min_chars=9", start=["threads"])
    assert stages(two, "yes") == {"threads"}
    assert stages(two, "maybe") > {"labels", "policy", "report"}
    assert found(filled, start=["evals"]).those("yes", "maybe") == []


def test_nothing_runs_on_inputs_that_are_stale_and_not_to_run(filled):
    with pytest.raises(RecipeError, match=r"--only policy: .*labels is STALE.*--only labels"):
        found(filled, MARGIN, only=["policy"])
    with pytest.raises(RecipeError, match=r"--from evals: .*policy/reddit/context/0 is STALE"):
        found(filled, KL, start=["evals"])
    both = found(filled, MARGIN, only=["labels", "reward"])
    assert stages(both, "yes") == {"labels"}
    assert stages(both, "maybe") == {"labels", "reward"}


def test_only_and_from_together_and_a_force_out_of_reach_are_refused(filled):
    with pytest.raises(RecipeError, match="not both"):
        found(filled, only=["policy"], start=["evals"])
    with pytest.raises(RecipeError, match="labels is to be forced and is not among"):
        found(filled, only=["policy"], force=["labels"])


def test_force_runs_what_is_fresh_and_what_is_made_from_it_may_follow(filled):
    forced = found(filled, force=["labels"])
    assert {e.node.id: e.state for e in forced.those("yes")} == {
        "labels": FRESH,
        "labels/card": FRESH,
    }
    assert stages(forced, "maybe") == {"reward", "policy", "evals", "report"}
    base = "evals/base/humor"
    assert forced.runs[base] == "no"
    alone = found(filled, only=["policy"], force=["policy"])
    assert stages(alone, "yes", "maybe") == {"policy"}


def test_files_that_are_gone_are_made_again_only_where_what_runs_needs_them(filled):
    digest = found(filled).plan.entries["prompts/reddit"].digest
    (filled.path(digest) / "data.parquet").unlink()
    assert found(filled).those("yes", "maybe") == []
    assert found(filled, KL, only=["policy/unexposed"]).runs["prompts/reddit"] == "no"
    assert found(filled, KL, only=["policy/reddit"]).runs["prompts/reddit"] == "yes"


def test_plan_shows_with_the_options_of_run_what_would_run_and_what_it_took(filled):
    options = ("--set", KL, "--only", "policy", "--workspace", str(filled.root))
    printed = karma("plan", str(SMOKE), "--set", KL, "--only", "policy", workspace=filled.root)
    lines = printed.stdout.splitlines()
    assert {line.split()[1].split("/")[0] for line in lines[:-1]} == {"policy"}
    assert "/0 (8)        8 s    64 MiB  config policy.kl_coef" in lines[0]
    assert lines[-1].startswith("8 to run, 0 to look at")
    assert "not fresh and left alone" in lines[-1]
    dry = karma("run", str(SMOKE), *options[:4], "--dry-run", workspace=filled.root)
    assert dry.stdout == printed.stdout
    document = json.loads(
        karma("plan", str(SMOKE), *options[:4], "--json", workspace=filled.root).stdout
    )
    runs = {stage["id"]: stage["runs"] for stage in document["stages"]}
    assert runs["policy/reddit/context/0"] == "yes"
    assert runs["report"] == "no"


def test_a_run_of_one_stage_with_nothing_stale_ends_without_prefect(filled):
    ran = karma("run", str(SMOKE), "--only", "reward", workspace=filled.root)
    assert "instances of --only reward are up to date; nothing ran." in ran.stdout
