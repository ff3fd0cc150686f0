"""Writes the simulator's world into a folder of the user's choice."""

from pathlib import Path
from typing import Any

from karma.document import put
from karma.jobs import Job, new_folder
from karma.recipe import check
from karma.section import Section
from karma.world import job
from karma.world.recipe import WorldRecipe


class Settings(Section):
    """The one section that the simulator reads."""

    world: WorldRecipe = WorldRecipe()
    """The simulator's."""


def simulate(out: Path, settings: list[str]) -> None:
    """Write a world with ``world.KEY=VALUE`` settings into ``out``, which must be new or empty.

    Raises RecipeError for a setting, InputError for a folder that cannot be used.
    """
    document: dict[str, Any] = {}
    for setting in settings:
        put(document, setting)
    recipe = check(Settings, document, "--set", "Write world.seed=1.").world
    new_folder(out)
    job.run(Job({"world": recipe.model_dump(mode="json")}, {}, out, out))
