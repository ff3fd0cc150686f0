"""What the commands' arguments have in common, and how a person is spoken to."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from karma.recipe import Recipe, load
from karma.shared import open_store
from karma.store import Store

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe's YAML file.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one key of the recipe; may be repeated, e.g. --set policy.lr=1e-5.",
    ),
]
Workspace = Annotated[
    Path,
    typer.Option(envvar="KARMA_WORKSPACE", help="Where artefacts and records are kept."),
]
Shared = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="KARMA_STORE",
        help="A store that several machines share: s3://bucket/prefix, or a folder.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Instance = Annotated[str, typer.Argument(help="As karma plan names it, such as reward/context/0.")]
HERE = Path(".karma")


def opened(
    recipe: Path, settings: list[str] | None, workspace: Path, shared: str
) -> tuple[Recipe, Store]:
    """The recipe with its settings, and the workspace, which is not made here."""
    return load(recipe, settings or []), open_store(workspace, shared)


def say(words: str) -> None:
    """One line to whoever watches; standard output is for results."""
    print(words, file=sys.stderr)


def short(path: Path) -> str:
    """A path as a person would type it from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
