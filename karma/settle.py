"""A recipe whose globs name the dump files of this moment, less those still being written."""

from typing import Any

from karma.dumps.whole import unfinished
from karma.errors import InputError
from karma.inputs import globbed, patterns
from karma.recipe import Recipe

GLOB = "*?["


def settle(recipe: Recipe) -> tuple[Recipe, dict[str, str]]:
    """The recipe, and each file that is left out, with the reason.

    A file that is named, not globbed, stays. Raises InputError if nothing is left of what a glob
    found, or if a file cannot be read.
    """
    left: dict[str, str] = {}
    found: dict[str, Any] = {}
    for kind in ("comments", "submissions"):
        names: list[str] = []
        growing: dict[str, str] = {}
        for pattern in patterns(getattr(recipe.dumps, kind)):
            whole, unfinished_here = _sorted(f"dumps.{kind}", pattern)
            names += whole if unfinished_here else [pattern]
            growing |= unfinished_here
        # The recipe stays as it is written where it can: the report shows it.
        if growing:
            found[kind] = tuple(names)
        left |= growing
    dumps = recipe.dumps.model_copy(update=found)
    return recipe.model_copy(update={"dumps": dumps}), left


def _sorted(field: str, pattern: str) -> tuple[list[str], dict[str, str]]:
    """The files of a pattern that are whole, and those that are not, with the reason."""
    if not any(sign in pattern for sign in GLOB):
        return [pattern], {}
    whole: list[str] = []
    growing: dict[str, str] = {}
    for path in globbed(pattern):
        try:
            reason = unfinished(path)
        except OSError as error:
            raise InputError(
                str(path), error.strerror or "it cannot be read", "Check the path and its rights."
            ) from error
        if reason is None:
            whole.append(str(path))
        else:
            growing[str(path)] = reason
    if growing and not whole:
        told = "; ".join(f"{path}: {reason}" for path, reason in growing.items())
        raise InputError(
            f"{field} {pattern}", f"no file is whole yet ({told})", "The next run takes them."
        )
    return whole, growing
