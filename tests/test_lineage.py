"""Lineage: the graph up to the files and down to the report, as text, document and page."""

import json

import pytest

from karma import dag
from karma.errors import RecipeError
from karma.lineage import graph, locate
from karma.lineage import page as drawn
from karma.lineage.ancestry import Ancestry
from karma.plan import plan
from karma.recipe import load
from karma.store import sha256
from tests.filled import RANGES, SMOKE, fill
from tests.small import karma


def test_a_policy_is_made_from_its_dumps_and_the_report_is_made_from_it(store):
    recipe = load(SMOKE, [])
    fill(store, "smoke", recipe)
    made = plan("smoke", recipe, store)
    up = graph.above(made.dag, "policy/reddit/context/0")
    assert {"world", "source/RC_2023-01.zst", "dumps/RC_2023-01.zst", "threads/" + RANGES[0]} <= {
        *up
    }
    assert {"sft/reddit/0", "reward/context/0", "reward/gold/0", "prompts/reddit"} <= {*up}
    assert "reward/metadata/0" not in up
    down = graph.below(made.dag, "policy/reddit/context/0")
    assert down[-1] == "report"
    assert all(n.startswith("evals/policy/reddit/context/0/") for n in down[:-1])


def test_an_unexposed_policy_reaches_reddit_only_through_its_reward(store):
    recipe = load(SMOKE, [])
    fill(store, "smoke", recipe)
    made = plan("smoke", recipe, store)
    assert graph.reaches_reddit_only_through_reward(made.dag) == []
    node = made.dag.nodes["sft/unexposed/0"]
    node.inputs["threads"] = "threads/" + RANGES[0]
    guilty = graph.reaches_reddit_only_through_reward(made.dag)
    assert "sft/unexposed/0" in guilty
    assert "policy/unexposed/context/0" in guilty


def test_the_document_holds_every_edge_between_its_nodes(store):
    recipe = load(SMOKE, [])
    made = plan("smoke", recipe, store)
    document = graph.document(made, store)
    assert len(document["nodes"]) == len(made.dag.nodes)
    assert len(document["edges"]) == sum(len(n.inputs) for n in made.dag.nodes.values())


def test_the_page_draws_every_kind_and_lists_every_instance(store):
    made = plan("smoke", load(SMOKE, []), store)
    page = drawn.page(graph.document(made, store))
    grouped = ("evals/", "benchmark/")
    alone = [name for name in made.dag.nodes if not name.startswith(grouped)]
    models = {name.rpartition("/")[0] for name in made.dag.nodes if name.startswith("evals/")}
    assert page.count("<rect") == len(alone) + len(models) + 1
    assert all(f"<td>{name}<td>" in page for name in made.dag.nodes)
    assert "http" not in page
    assert "<script" not in page


def test_a_cell_leads_up_to_the_files_with_bytes_and_sha256_and_down_to_the_report(filled):
    made = plan("smoke", load(SMOKE, []), filled)
    document = graph.document(made, filled, "evals/policy/reddit/context/0/humor")
    nodes = {node["id"]: node for node in document["nodes"]}
    (file,) = nodes["source/RC_2023-01.zst"]["files"]
    path = filled.path(made.entries["world"].digest) / "RC_2023-01.zst"
    assert file["path"] == "world/RC_2023-01.zst"
    assert (file["bytes"], file["sha256"]) == (path.stat().st_size, sha256(path))
    sides = {name: node["side"] for name, node in nodes.items()}
    assert sides["dumps/RC_2023-01.zst"] == "up"
    assert sides["report"] == "down"
    text = "\n".join(drawn.text(document))
    assert f"{file['bytes']} bytes  sha256 {file['sha256']}" in text
    assert text.index("made from:") < text.index("made of it:")


def test_a_file_on_disk_has_its_sha256_once_it_was_hashed(filled, tmp_path, monkeypatch):
    monkeypatch.setenv("KARMA_SALT", "x")
    dump = tmp_path / "RC_1.ndjson"
    dump.write_text("{}")
    settings = [f"dumps.comments={dump}", "dumps.submissions=null"]
    for known in (None, filled.hash_source):
        digest = known(dump) if known else None
        made = plan("smoke", load(SMOKE, settings), filled)
        document = graph.document(made, filled, "source/RC_1.ndjson")
        (focus,) = [node for node in document["nodes"] if node["side"] == "self"]
        assert focus["files"] == [{"path": str(dump), "bytes": 2, "sha256": digest}]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("policy/reddit/context/0:humor", "evals/policy/reddit/context/0/humor"),
        ("base/mmlu", "evals/base/mmlu"),
        ("context/0", "reward/context/0"),
        ("policy/reddit/context/0", "policy/reddit/context/0"),
        ("abcdef0123", None),
    ],
)
def test_what_a_person_points_at_is_found(filled, text, name):
    assert locate.instance(plan("smoke", load(SMOKE, []), filled), filled, text) == name


def test_a_digest_and_a_number_of_the_headline_are_found(filled):
    made = plan("smoke", load(SMOKE, []), filled)
    labels = made.entries["labels"]
    for mark in (labels.digest[:8], labels.key[:8]):
        assert locate.instance(made, filled, mark) == "labels"
    cells = {"humor": {"value": 0.5124}, "mmlu": {"value": 0.25}}
    rows = [{"model": "base", "cells": cells}, {"model": "sft/reddit/0", "cells": {"mmlu": None}}]
    report = {"headline": {"rows": rows}}
    path = filled.path(made.entries["report"].digest) / "report.json"
    path.write_text(json.dumps(report))
    assert locate.instance(made, filled, "0.512") == "evals/base/humor"
    with pytest.raises(RecipeError, match="no cells of the headline show it"):
        locate.instance(made, filled, "0.900")


def test_an_artefact_of_earlier_settings_is_followed_by_the_records(filled):
    recipe = load(SMOKE, [])
    old = plan("smoke", recipe, filled).entries["policy/reddit/context/0"].digest
    labels = plan("smoke", recipe, filled).entries["labels"].digest
    fill(filled, "other", load(SMOKE, ["policy.kl_coef=0.2"]))
    document = Ancestry(filled).document(old)
    nodes = {node["id"].partition("@")[0]: node for node in document["nodes"]}
    assert nodes["labels"]["digest"] == labels
    assert nodes["policy/reddit/context/0"]["side"] == "self"
    assert nodes["source/RC_2023-01.zst"]["files"][0]["path"] == "world/RC_2023-01.zst"
    assert nodes["world"]["side"] == "up"
    assert nodes["report"]["side"] == "down"
    assert "policy/reddit/random/0" not in nodes
    assert drawn.page(document).count("class=focus") == 1
    elsewhere = graph.document(plan("smoke", recipe, filled), filled, "labels")["elsewhere"]
    assert {node["recipe"] for node in elsewhere} == {"other"}
    assert any(node["id"].startswith("policy/reddit/random/0@") for node in elsewhere)


def test_the_command_writes_a_page_or_a_document(filled, tmp_path):
    cell = ("lineage", str(SMOKE), "base:humor")
    page = karma(*cell, "--html", str(tmp_path / "a.html"), workspace=filled.root)
    assert page.returncode == 0, page.stderr
    assert "<svg" in (tmp_path / "a.html").read_text()
    document = json.loads(karma(*cell, "--json", workspace=filled.root).stdout)
    assert document["focus"] == "evals/base/humor"
    lines = karma(*cell, workspace=filled.root).stdout.splitlines()
    assert lines[0] == "made from:"
    digest = filled.ref("smoke", "base")["digest"]
    filled_by_records = karma("lineage", str(SMOKE), digest[:10], workspace=filled.root)
    assert "made of it:" in filled_by_records.stdout


def test_every_input_of_a_node_stands_before_it():
    made = dag.build("smoke", load(SMOKE, []))
    seen = set()
    for node in made.nodes.values():
        assert set(node.inputs.values()) <= seen
        seen.add(node.id)


def test_names_that_data_brings_never_become_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("KARMA_SALT", "x")
    odd = tmp_path / "RC; rm -rf ~ ü.zst"
    odd.write_bytes(b"")
    made = dag.build("smoke", load(SMOKE, [f"dumps.comments={odd}", "dumps.submissions=null"]))
    names = [n for n in made.nodes if n.startswith("dumps/")]
    assert len(names) == 1
    assert all(c.isalnum() or c in "._-/" for c in names[0])


def test_two_dumps_of_one_name_get_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("KARMA_SALT", "x")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "RC_2006-01.zst").write_bytes(b"")
    setting = f"dumps.comments={tmp_path}/*/RC_2006-01.zst"
    made = dag.build("smoke", load(SMOKE, [setting, "dumps.submissions=null"]))
    names = [n for n in made.nodes if n.startswith("dumps/")]
    assert len(set(names)) == 2


def test_only_a_full_revision_makes_instruction_data_the_hubs(tmp_path):
    file = tmp_path / "me@home.json"
    file.write_text("[]")
    named = f"org/chat@{'0' * 40}"
    for where, path, said in ((file, file, None), (named, None, named)):
        made = dag.build("smoke", load(SMOKE, [f"prompts.unexposed.instructions={where}"]))
        assert made.nodes["instructions"].source.path == path
        assert made.nodes["prompts/unexposed"].config["prompts"].get("instructions") == said
        assert made.nodes["sft/unexposed/0"].config.get("instructions") == said
