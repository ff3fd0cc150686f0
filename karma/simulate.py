"""Writes the simulator's world into a folder of the user's choice."""

from pathlib import Path

import yaml

from karma.errors import InputError, RecipeError
from karma.jobs import Job
from karma.world import job
from karma.world.recipe import WorldRecipe


def simulate(out: Path, settings: list[str]) -> None:
    """Write a world with ``world.KEY=VALUE`` settings into ``out``, which must be new or empty."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(str(out), "it exists and is not empty", "Name a new folder.")
    values = {}
    for setting in settings:
        key, _, text = setting.partition("=")
        if not key.startswith("world."):
            raise RecipeError(f"--set {setting}", "it is no world setting", "Write world.seed=1.")
        values[key.removeprefix("world.")] = yaml.safe_load(text)
    try:
        recipe = WorldRecipe.model_validate(values)
    except ValueError as error:
        raise RecipeError("--set", str(error), "Check the settings of the world.") from error
    out.mkdir(parents=True, exist_ok=True)
    job.run(Job({"world": recipe.model_dump(mode="json")}, {}, out, out))
