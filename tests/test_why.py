"""``karma why``: all causes, and the first one behind them in a sentence."""

import pytest

from karma import why
from karma.dag import fingerprint
from karma.plan import plan
from karma.recipe import load
from karma.store import Store
from tests.filled import SMOKE, build
from tests.small import karma

KL = "policy.kl_coef=0.2"
MARGIN = "labels.pairs.min_margin=3"


def sentence(store: Store, instance: str, *settings: str) -> str:
    return why.sentence(plan("smoke", load(SMOKE, list(settings)), store), store, instance)


@pytest.mark.parametrize(
    ("instance", "words"),
    [
        (
            "policy/reddit/context/0",
            "is STALE because policy.kl_coef changed from 0.15 to 0.2.",
        ),
        (
            "evals/policy/reddit/context/0/humor",
            "is PENDING because policy.kl_coef of policy/reddit/context/0 "
            "changed from 0.15 to 0.2.",
        ),
        ("labels", "is FRESH."),
    ],
)
def test_the_first_root_cause_is_told_in_one_sentence(filled, instance, words):
    assert sentence(filled, instance, KL) == f"{instance} {words}"


def test_what_was_never_built_is_told(store):
    assert sentence(store, "world") == "world is MISSING because it was never built."
    assert sentence(store, "base").startswith("base is PENDING because world was never built")


def test_files_that_are_gone_are_told(filled):
    digest = plan("smoke", load(SMOKE, []), filled).entries["labels"].digest
    (filled.path(digest) / "data.parquet").unlink()
    assert sentence(filled, "labels") == "labels is MISSING because its files are gone."


def test_behind_an_input_that_was_made_again_stands_what_changed_it(filled):
    recipe = load(SMOKE, [MARGIN])
    labels = plan("smoke", recipe, filled).entries["labels"]
    inputs = filled.record("labels", filled.ref("smoke", "labels")["key"])["fingerprint"]["input"]
    document = fingerprint(labels.node, recipe, inputs)
    build(filled, "smoke", labels.node, labels.key, document)
    made = plan("smoke", recipe, filled)
    (cause,) = made.entries["reward/context/0"].causes
    assert (cause["kind"], cause["what"]) == ("input", "labels")
    assert sentence(filled, "reward/context/0", MARGIN) == (
        "reward/context/0 is STALE because labels.pairs.min_margin of labels changed from 2 to 3."
    )


def test_all_roots_are_found_each_once(filled):
    made = plan("smoke", load(SMOKE, [KL, "labels.pairs.per_parent=3"]), filled)
    found = [(r.instance, r.cause["what"]) for r in why.roots(made, filled, "report")]
    assert found[:2] == [
        ("report", "recipe.labels.pairs.per_parent"),
        ("report", "recipe.policy.kl_coef"),
    ]
    assert ("labels", "labels.pairs.per_parent") in found
    assert found.count(("policy/reddit/context/0", "policy.kl_coef")) == 1


def test_why_prints_the_sentence_then_every_cause_with_old_and_new(filled):
    options = ("--set", KL, "--set", "policy.batch=32")
    ran = karma("why", str(SMOKE), "policy/reddit/context/0", *options, workspace=filled.root)
    assert ran.stdout.splitlines() == [
        "policy/reddit/context/0 is STALE because policy.batch changed from 64 to 32, and 1 more.",
        "  config policy.batch: 64 → 32",
        "  config policy.kl_coef: 0.15 → 0.2",
    ]


def test_of_two_lists_what_only_one_has_is_told_and_no_value_fills_the_screen():
    cause = {"kind": "config", "what": "lineage", "old": [{"a": 1}, {"b": 2}]}
    assert why.change({**cause, "new": [{"a": 1}, {"c": 3}]}) == ("[{'b': 2}]", "[{'c': 3}]")
    old, new = why.change({**cause, "old": ["x", "y"], "new": ["y", "x"]})
    assert (old, new) == ("['x', 'y']", "['y', 'x']")
    assert len(why.value("long " * 1000)) < 250
