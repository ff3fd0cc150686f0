"""Prompt templates: text files in ``templates/<benchmark>/``, one wording each.

A file holds the prompt with its fields in braces and, below a line ``---``, the choices, one a
line, unless each item brings its own. ``default.txt`` is what the headline scores use.
"""

from pathlib import Path
from typing import NamedTuple

from karma.evals.benchmark import Item

FOLDER = Path(__file__).parent / "templates"
DEFAULT = "default"


class Template(NamedTuple):
    """One wording of a benchmark's question."""

    name: str
    prompt: str
    choices: tuple[str, ...]

    def write(self, item: Item) -> tuple[str, tuple[str, ...]]:
        """The prompt and the choices of an item."""
        return self.prompt.format_map(item.fields), item.choices or self.choices


def load(benchmark: str, name: str = DEFAULT) -> Template:
    """The template ``name`` of a benchmark."""
    text = (FOLDER / benchmark / f"{name}.txt").read_text(encoding="utf-8")
    prompt, _, choices = text.removesuffix("\n").partition("\n---\n")
    return Template(name, prompt, tuple(choices.splitlines()))
