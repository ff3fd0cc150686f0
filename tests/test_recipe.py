"""Recipes: every mistake is told by its place, with the way out."""

from pathlib import Path

import pytest

from karma.errors import RecipeError
from karma.recipe import load
from tests.filled import SMOKE

RECIPES = sorted(SMOKE.parent.glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_project_is_valid(path):
    load(path, [])


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("policy.kl_cof=1", r"policy\.kl_cof is no known key; did you mean kl_coef\?"),
        ("polcy.kl_coef=1", r"polcy is no known key; did you mean policy\?"),
        ("policy.lr=fast", r"policy\.lr: .*number"),
        ("policy.variants=[contxt]", r"policy\.variants names 'contxt'; did you mean context\?"),
        ("policy.exposures=[twitter]", r"'twitter'; known are reddit, unexposed"),
        ("evals.benchmarks=[humour]", r"no benchmark 'humour'; did you mean humor\?"),
        ("reward.variants.odd={}", r"unknown variant 'odd'"),
        ("reward.variants.context={contxt: true}", r"is no known key; did you mean context\?"),
        ("seeds=[]", r"seeds: .*at least 1"),
        ("policy", "is not KEY=VALUE"),
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
