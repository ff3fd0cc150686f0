"""Prompt templates: text files in ``templates/<benchmark>/``, one wording each.

A file holds the prompt with its fields in braces and, below a line ``---``, the choices, one a
line and with fields too, unless each item brings its own. ``default.txt`` comes first.
"""

from pathlib import Path

from karma.errors import InputError
from karma.evals.benchmark import Template

FOLDER = Path(__file__).parent / "templates"
DEFAULT = "default"


def load(benchmark: str, name: str = DEFAULT) -> Template:
    """The template ``name`` of a benchmark."""
    text = (FOLDER / benchmark / f"{name}.txt").read_text(encoding="utf-8")
    prompt, _, choices = f"\n{text}".removesuffix("\n").partition("\n---\n")
    return Template(name, prompt.removeprefix("\n"), tuple(choices.splitlines()))


def names(benchmark: str) -> list[str]:
    """The wordings that a benchmark has, the default one first."""
    found = sorted(path.stem for path in (FOLDER / benchmark).glob("*.txt"))
    return sorted(found, key=lambda name: name != DEFAULT)


def chosen(benchmark: str, primary: str, most: int | None) -> list[str]:
    """The wordings that are asked: the primary one first, at most ``most`` (None: all).

    Raises InputError if the benchmark has no wording of the primary one's name.
    """
    known = names(benchmark)
    if primary not in known:
        raise InputError(
            f"evals.template {primary}",
            f"benchmark {benchmark} has no such wording",
            f"Name one of {', '.join(known)}.",
        )
    return [primary, *(name for name in known if name != primary)][:most]
