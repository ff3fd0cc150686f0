"""The documentation says what the code does."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from karma import reference
from karma.dumps.columns import CommentColumns, SubmissionColumns
from karma.evals.catalogue import BENCHMARKS
from karma.nodes import STAGES
from karma.plan import STATES
from karma.recipe import load
from karma.reward.recipe import DEFAULTS
from tests.filled import SMOKE

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()


def table(text: str, head: str) -> list[str]:
    """The first column of the table whose head row begins with ``head``, without backticks."""
    lines = text[text.index(f"| {head} |") :].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append(line.split("|")[1].strip().strip("`"))
    return rows


def commands() -> dict[str, str]:
    import typer.main

    from flows.cli import app

    group = typer.main.get_command(app)
    return {name: command.help for name, command in group.commands.items()}


def test_the_readme_lists_every_stage_in_order():
    assert table(README, "stage") == list(STAGES)


def test_the_readme_lists_every_command_and_no_other():
    listed = [row.split()[1] for row in table(README, "command")]
    assert sorted(listed) == sorted(commands())


def test_every_command_has_help_with_an_example():
    for name, text in commands().items():
        assert f"Example: karma {name}" in text


def test_the_readmes_tree_is_the_projects():
    tree = README[README.index("## The tree") :]
    named = set(re.findall(r"^(\w+)/ ", tree, flags=re.MULTILINE))
    there = {
        line.split("/")[0]
        for line in subprocess.run(
            ["git", "ls-files"], cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True
        ).stdout.splitlines()
        if "/" in line and not line.startswith(".")
    }
    assert there <= named


def test_every_variant_of_a_reward_is_named_in_the_readme():
    for name in DEFAULTS:
        assert f"`{name}`" in README


def test_every_benchmark_is_described():
    text = (PROJECT / "docs" / "benchmarks.md").read_text()
    for name in BENCHMARKS:
        assert f"`{name}`" in text


def test_every_state_of_the_plan_is_explained():
    assert table((PROJECT / "docs" / "trust.md").read_text(), "state") == list(STATES)


def test_the_page_of_recipe_fields_is_made_from_the_help_texts():
    written = (PROJECT / "docs" / "recipe.md").read_text()
    assert written == reference.page(), "make recipe-page writes docs/recipe.md again"


def test_the_page_of_data_shows_valid_recipes_and_every_field_of_a_csv_file():
    text = (PROJECT / "docs" / "data.md").read_text()
    snippets = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    for snippet in snippets:
        section = yaml.safe_load(snippet)["dumps"]
        assert load(SMOKE, [f"dumps={json.dumps(section, default=str)}"]).dumps
    rows = text[text.index("| field |") :].partition("\n\n")[0]
    listed = re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in rows.splitlines()))
    assert len(snippets) == 3
    assert set(listed) == {*CommentColumns.model_fields, *SubmissionColumns.model_fields}


@pytest.mark.parametrize(
    "page",
    [*PROJECT.glob("*/README.md"), *PROJECT.glob("*.md"), *sorted(PROJECT.glob("docs/*.md"))],
)
def test_no_link_leads_nowhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_help_of_the_command_starts_at_once_and_imports_nothing_heavy():
    program = (
        "import sys; import flows.cli\n"
        "print(sorted({'torch', 'transformers', 'prefect', 'mlflow', 'numpy'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    assert ran.stdout == b"[]\n"
