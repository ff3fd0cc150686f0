"""Pinning: a recipe's text changes where a revision belongs, and nowhere else."""

import re

import pytest
import yaml

from karma.errors import RecipeError
from karma.evals.recipe import ON_THE_HUB, EvalsRecipe
from karma.pin import Loose, find, pin, rewrite
from tests.filled import SMOKE
from tests.small import command

A, B = "a" * 40, "b" * 40
BASE, BACKBONE = ("base",), ("reward", "backbone")
DIALOGUES = ("prompts", "unexposed")


def pinned(text: str) -> str:
    """The text with revision A for the base and for data, B for the backbone."""
    return rewrite(
        text, {loose: B if loose.section == BACKBONE else A for loose in find(yaml.safe_load(text))}
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("base: {model: x/y}\n", f"base: {{model: x/y, revision: {A}}}\n"),
        (
            "base: {model: 'x/y' , tiny: null}",
            f"base: {{model: 'x/y', revision: {A} , tiny: null}}",
        ),
        ("base:\n  model: x/y  # note\n", f"base:\n  model: x/y  # note\n  revision: {A}\n"),
        ("base:\n    model: x/y", f"base:\n    model: x/y\n    revision: {A}"),
        ("base:\r\n  model: x/y\r\n", f"base:\r\n  model: x/y\r\n  revision: {A}\r\n"),
        ("base: {model: x/y, revision: null}", f"base: {{model: x/y, revision: {A}}}"),
        (
            "base:\n  revision:  # of May\n  model: x",
            f"base:\n  revision: {A}  # of May\n  model: x",
        ),
        ("base: {model: x/y, revision: main}", f"base: {{model: x/y, revision: {A}}}"),
    ],
)
def test_a_revision_stands_beside_its_model_however_that_is_written(text, expected):
    assert pinned(text) == expected


def test_two_sections_that_name_one_model_get_a_revision_each():
    text = "# x/y\nbase:\n  model: x/y\nreward:\n  backbone:\n    model: x/y\n  lr: 1.0\n"
    assert pinned(text) == (
        f"# x/y\nbase:\n  model: x/y\n  revision: {A}\n"
        f"reward:\n  backbone:\n    model: x/y\n    revision: {B}\n  lr: 1.0\n"
    )


@pytest.mark.parametrize("name", ["org/chat", '"org/chat"', "org/chat@main", "&data org/chat"])
def test_the_instruction_data_are_pinned_and_a_comment_that_names_them_stays(name):
    text = f"# from org/chat\nprompts: {{unexposed: {{instructions: {name}}}}}  # org/chat\n"
    new = name.removesuffix("@main").replace("org/chat", f"org/chat@{A}")
    assert pinned(text) == text.replace(f"instructions: {name}", f"instructions: {new}")


M, T = f"mmlu: cais/mmlu@{A}", f"truthfulqa: truthfulqa/truthful_qa@{A}"
BLOCK = "evals:\n  data: hub  # note\n  benchmarks: [truthfulqa, mmlu, replies]\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("evals: {data: hub, benchmarks: [mmlu]}", f"evals: {{data: hub, hub: {{{M}}}, b}}"),
        (BLOCK, BLOCK.replace("note\n", f"note\n  hub:\n    {T}\n    {M}\n")),
        (f"{BLOCK}  hub:\n    mmlu: cais/mmlu\n", f"{BLOCK}  hub:\n    {M}\n    {T}\n"),
        (f"{BLOCK}  hub:\n", f"{BLOCK}  hub: {{{T}, {M}}}\n"),
        (
            "evals: {hub: {mmlu: cais/mmlu@main}, data: hub, benchmarks: [truthfulqa, mmlu]}",
            f"evals: {{hub: {{{M}, {T}}}, data: hub, b}}",
        ),
        ("evals: {hub: {mmlu: cais/mmlu}, data: x}", f"evals: {{hub: {{{M}}}, data: x}}"),
    ],
)
def test_benchmarks_of_the_hub_get_their_revisions(text, expected):
    listed = re.search(r"benchmarks: \[.*?\]", text)
    assert pinned(text) == expected.replace(", b}", f", {listed[0]}}}" if listed else "")
    assert find(yaml.safe_load(pinned(text))) == []


def test_without_a_list_every_benchmark_of_the_hub_is_pinned():
    found = yaml.safe_load(pinned("evals:\r\n  data: hub\r\n"))["evals"]
    assert tuple(found["hub"]) == ON_THE_HUB
    assert EvalsRecipe(**found).hub == found["hub"]


def test_an_anchor_that_serves_two_sections_is_pinned_once():
    text = "base: &m {model: x/y}\nreward: {backbone: *m}\n"
    names = find(yaml.safe_load(text))
    expected = f"base: &m {{model: x/y, revision: {A}}}\nreward: {{backbone: *m}}\n"
    assert rewrite(text, dict.fromkeys(names, A)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "base: {model: &m x/y}\nreward: {backbone: {model: *m}}\n",
        'prompts: {unexposed: {instructions: "org\\x2Fchat"}}\n',
        "base:\n  model: >-\n    x/y\nsft: {}\n",
    ],
)
def test_what_cannot_be_edited_in_its_place_is_told_and_not_guessed(text):
    with pytest.raises(RecipeError, match=r"cannot be edited here\. Write by hand: .* aaaa"):
        pinned(text)


def test_what_is_pinned_or_is_no_hub_name_is_left_and_the_file_is_not_written(tmp_path):
    text = (
        f"base: {{model: x/y, revision: {A}}}\n"
        f"prompts: {{unexposed: {{instructions: org/chat@{B}}}}}\n"
    )
    (tmp_path / "recipe.yaml").write_text(text)
    before = (tmp_path / "recipe.yaml").stat()
    assert pin(tmp_path / "recipe.yaml") == ["every hub name is pinned already"]
    assert (tmp_path / "recipe.yaml").stat().st_mtime_ns == before.st_mtime_ns
    for path in sorted(SMOKE.parent.glob("*.yaml")):
        assert find(yaml.safe_load(path.read_text())) == []


def test_a_branch_or_a_short_revision_is_asked_for():
    document = {"base": {"model": "x/y", "revision": "main"}}
    assert find(document) == [Loose(BASE, "model", "x/y", "main")]
    document = {"prompts": {"unexposed": {"instructions": "org/chat@abc123"}}}
    assert find(document) == [Loose(DIALOGUES, "dataset", "org/chat", "abc123", "instructions")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"- 1\n", "it holds no sections"),
        (b"\x89PNG\r\n\x1a\n\xff", "it is no UTF-8 text"),
        (b"base: x\n", "recipe section base: base is no section"),
        (b"base: {model: x/y}\n", "x/y: the hub did not tell its revision"),
    ],
)
def test_a_recipe_that_cannot_be_pinned_is_told_and_stays(tmp_path, content, reason):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    # Nothing answers there, so that the test asks no hub.
    ran = command("pin", path, HF_ENDPOINT="http://127.0.0.1:9")
    assert ran.returncode == 2
    assert ran.stdout == ""
    (told,) = ran.stderr.splitlines()
    assert reason in told
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]
