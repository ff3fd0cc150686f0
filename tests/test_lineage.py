"""Lineage: the graph up to the files and down to the report, as text, document and page."""

from karma import dag, lineage
from karma.plan import plan
from karma.recipe import load
from tests.filled import RANGES, SMOKE, fill


def test_a_policy_is_made_from_its_dumps_and_the_report_is_made_from_it(store):
    recipe = load(SMOKE, [])
    fill(store, "smoke", recipe)
    made = plan("smoke", recipe, store)
    up = lineage.above(made.dag, "policy/reddit/context/0")
    assert {"world", "source/RC_2023-01.zst", "dumps/RC_2023-01.zst", "threads/" + RANGES[0]} <= {
        *up
    }
    assert {"sft/reddit/0", "reward/context/0", "reward/gold/0", "prompts/reddit"} <= {*up}
    assert "reward/metadata/0" not in up
    down = lineage.below(made.dag, "policy/reddit/context/0")
    assert down[-1] == "report"
    assert all(n.startswith("evals/policy/reddit/context/0/") for n in down[:-1])


def test_an_unexposed_policy_reaches_reddit_only_through_its_reward(store):
    recipe = load(SMOKE, [])
    fill(store, "smoke", recipe)
    made = plan("smoke", recipe, store)
    assert lineage.reaches_reddit_only_through_reward(made.dag) == []
    node = made.dag.nodes["sft/unexposed/0"]
    node.inputs["threads"] = "threads/" + RANGES[0]
    guilty = lineage.reaches_reddit_only_through_reward(made.dag)
    assert "sft/unexposed/0" in guilty
    assert "policy/unexposed/context/0" in guilty


def test_the_document_holds_every_edge_between_its_nodes(store):
    recipe = load(SMOKE, [])
    made = plan("smoke", recipe, store)
    document = lineage.document(made, list(made.dag.nodes))
    assert len(document["nodes"]) == len(made.dag.nodes)
    assert len(document["edges"]) == sum(len(n.inputs) for n in made.dag.nodes.values())


def test_the_page_draws_a_box_for_every_node_and_asks_for_nothing_from_elsewhere(store):
    made = plan("smoke", load(SMOKE, []), store)
    page = lineage.page(made)
    assert page.count("<rect") == len(made.dag.nodes)
    assert "http" not in page
    assert "<script" not in page


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
