"""Recipes: every mistake is told by its place, with the way out."""

from pathlib import Path

import pytest

from karma.errors import RecipeError
from karma.recipe import load
from tests.filled import SMOKE

LONG = "x" * 256  # more than a name in a path can have
RECIPES = sorted(SMOKE.parent.glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_project_is_valid(path):
    load(path, [])


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("policy.kl_cof=1", r"policy\.kl_cof is no known key; did you mean kl_coef\?"),
        ("polcy.kl_coef=1", r"polcy is no known key; did you mean policy\?"),
        ("polcy=1", r"smoke\.yaml --set polcy=1: polcy is no .* mean policy\? Correct it"),
        ("seeds=3", r"seeds: write a list, such as \[3\]"),
        ("policy=fast", r"policy: it is a section, with keys of its own"),
        ("policy.lr=fast", r"policy\.lr: .*number"),
        ("policy.variants=[contxt]", r"policy\.variants names 'contxt'; did you mean context\?"),
        ("policy.exposures=[twitter]", r"'twitter'; known are reddit, unexposed"),
        ("evals.benchmarks=[humour]", r"no benchmark 'humour'; did you mean humor\?"),
        ("reward.variants.odd={}", r"unknown variant 'odd'"),
        ("reward.variants.context={contxt: true}", r"is no known key; did you mean context\?"),
        ("time_limits={polcy: 60}", r"time_limits names 'polcy'; did you mean policy\?"),
        ("time_limits={policy: 0}", r"time_limits\.policy: .*greater than 0"),
        ("pools={polcy: gpu}", r"pools names 'polcy'; did you mean policy\?"),
        ("pools={dumps: gpu}", r"pools names 'dumps'; known are base, sft, reward, policy, evals"),
        ("pools={policy: a/b}", r"pools\.policy: .*pattern"),
        ("seeds=[]", r"seeds: .*at least 1"),
        ("seeds=[0, 1, 0]", "seeds: 0 is named twice"),
        ("seeds=[-1]", r"seeds\.0: .*greater than or equal to 0"),
        ("seeds=[4294967296]", r"seeds\.0: .*less than 4294967296"),
        ("policy.variants=[context, context]", r"policy\.variants: context is named twice"),
        ("policy.exposures=[]", r"policy\.exposures: the list is empty"),
        ("reward.variants={}", r"reward\.variants: .*at least 1"),
        ("evals.benchmarks=[]", r"evals\.benchmarks: the list is empty"),
        ("evals.benchmarks=[mmlu, mmlu]", r"evals\.benchmarks: mmlu is named twice"),
        ("report.primary=[humour]", r"report\.primary names 'humour'; did you mean humor\?"),
        ("report.primary=[]", r"report\.primary: the list is empty"),
        ("dumps.comments=[a.zst, a.zst]", r"dumps\.comments: a\.zst is named twice"),
        ("world.fit=.inf", r"world\.fit: .*finite"),
        ("policy.lr=.nan", r"policy\.lr: .*finite"),
        ("reward.variants.s={kind: sum, terms: {context: .inf}}", r"terms\.context: .*finite"),
        (f"dumps.comments={LONG}", r"dumps\.comments: it is no path"),
        (f"dumps.submissions=[{LONG}]", r"dumps\.submissions: it is no path"),
        (f"evals.data=data/{LONG}", r"evals\.data: it is no path"),
        (f"base={{folder: {LONG}}}", r"base\.folder: it is no path"),
        (f"dumps.corpora={LONG}", r"dumps\.corpora: it is no path"),
        (f"reward.backbone={{folder: {LONG}}}", r"reward\.backbone\.folder: it is no path"),
        (f"evals.toxicity.classifier={{folder: {LONG}}}", r"classifier\.folder: it is no path"),
        (f"dumps.removed={'/x' * 2048}", r"dumps\.removed: it is no path"),
        ('evals.data="a\\0b"', r"evals\.data: it is no path"),
        ("prompts.unexposed.instructions=org/chat", r"karma pin RECIPE writes"),
        ("prompts.unexposed.instructions=foo@bar", r"karma pin RECIPE writes"),
        ("policy", "is not KEY=VALUE"),
        ("policy.lr=[", "the value is no YAML"),
        ("policy.lr=!!bool x", "the value is no YAML"),
        ("policy.lr=2001-99-99", "the value is no YAML"),
        ("seeds.x=1", "seeds is no section"),
    ],
)
def test_a_mistake_is_told_by_its_place(setting, words):
    with pytest.raises(RecipeError, match=words):
        load(SMOKE, [setting])


def test_a_recipe_that_is_no_yaml_names_the_file_and_the_line(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("policy: {lr: 1\nsft: [}")
    with pytest.raises(RecipeError, match=r"bad\.yaml: it is no YAML: .*line 2"):
        load(path, [])


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("sft: {lr: 1}\nsft: {lr: 2}\n")
    with pytest.raises(RecipeError, match="'sft' stands twice"):
        load(path, [])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"? [1, 2]\n: 3\n", r"it is no YAML: a key must be a word \(line 1\)"),
        (b"seeds: 2001-99-99\n", "it is no YAML: a value cannot be read"),
        (b"[" * 5000, "it is no YAML"),
        (b"\x89PNG\xff", "it is no UTF-8 text"),
        (b"- 1\n", "it holds no sections"),
        (b"1: 2\n", "Keys should be strings"),
    ],
)
def test_a_file_that_is_no_recipe_is_told(tmp_path, content, words):
    (tmp_path / "bad.yaml").write_bytes(content)
    with pytest.raises(RecipeError, match=words):
        load(tmp_path / "bad.yaml", [])


def test_the_primary_benchmarks_are_among_those_that_are_asked():
    settings = ["evals.benchmarks=[humor, mmlu]", "report.primary=[humor]"]
    assert load(SMOKE, settings).report.primary == ("humor",)
    with pytest.raises(RecipeError, match=r"report\.primary names 'sentiment'; known are humor"):
        load(SMOKE, [*settings, "report.primary=[sentiment]"])


def test_a_missing_recipe_is_told(tmp_path):
    with pytest.raises(RecipeError, match="No such file"):
        load(tmp_path / "none.yaml", [])


def test_a_setting_is_put_over_the_recipe_and_leaves_the_rest():
    recipe = load(SMOKE, ["policy.kl_coef=0.2", "seeds=[0, 1]"])
    assert recipe.policy.kl_coef == 0.2
    assert recipe.seeds == (0, 1)
    assert recipe.sft == load(SMOKE, []).sft


def test_every_field_of_a_recipe_has_a_help_text():
    from pydantic import BaseModel

    from karma.recipe import Recipe

    def bare(model: type[BaseModel], path: str) -> list[str]:
        found = []
        for name, field in model.model_fields.items():
            place = f"{path}{name}"
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found += bare(kind, place + ".")
            elif not field.description:
                found.append(place)
        return found

    assert bare(Recipe, "") == []


def test_a_recipe_path_is_told_when_it_is_a_folder(tmp_path):
    with pytest.raises(RecipeError, match="Is a directory"):
        load(Path(tmp_path), [])


def test_a_gate_can_be_off_without_quotes():
    assert load(SMOKE, ["gates.reward_beats_length=off"]).gates.reward_beats_length == "off"
