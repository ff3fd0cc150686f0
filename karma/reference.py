"""Writes ``docs/recipe.md``: every field of a recipe with its default and its help text.

``python -m karma.reference > docs/recipe.md`` makes the page again after a field has changed.
"""

import inspect
import json
import textwrap
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from karma.recipe import Recipe, section_of

HEAD = """\
# The recipe

All fields of a recipe, made from the help texts in the code by `make recipe-page`. A recipe names
only what differs from the defaults; `NAME` stands for a name of your own. Required sections:
{required}.
"""
WIDTH = 100


def page() -> str:
    """The page's whole text."""
    fields = Recipe.model_fields
    required = ", ".join(f"`{name}`" for name, field in fields.items() if field.is_required())
    sections = {name: section_of(field.annotation) for name, field in fields.items()}
    top = (_row(name, fields[name]) for name, section in sections.items() if section is None)
    parts = [HEAD.format(required=required), "## At the top\n", _table(top)]
    for name, section in sections.items():
        if section is not None:
            parts += [f"## {name}\n", _about(section), _table(_rows(section, ""))]
    return "\n".join(parts)


def _about(section: type[BaseModel]) -> str:
    """The section's own description, in paragraphs."""
    paragraphs = _marked(inspect.cleandoc(section.__doc__ or "")).split("\n\n")
    return "".join(f"{textwrap.fill(part, WIDTH)}\n\n" for part in paragraphs).removesuffix("\n")


def _table(rows: Iterator[str]) -> str:
    return "\n".join(["| field | default | what it means |", "|---|---|---|", *rows, ""])


def _rows(section: type[BaseModel], prefix: str) -> Iterator[str]:
    """The fields of a section, those of the sections within it after the field that holds them."""
    for name, field in section.model_fields.items():
        yield _row(prefix + name, field)
        below = section_of(field.annotation)
        if below is not None:
            named = get_origin(field.annotation) is dict
            yield from _rows(below, f"{prefix}{name}.{'NAME.' if named else ''}")


def _row(name: str, field: FieldInfo) -> str:
    words = _marked(" ".join((field.description or "").split()))
    choices = _choices(field.annotation)
    if len(choices) > 1 and not all(choice in words for choice in choices):
        number = "Any" if get_origin(field.annotation) in (list, tuple) else "One"
        words += f" {number} of {', '.join(f'`{choice}`' for choice in choices)}."
    return f"| `{name}` | {_default(field)} | {words.replace('|', chr(92) + '|')} |"


def _default(field: FieldInfo) -> str:
    """As a recipe would write it; nothing for a section, whose fields follow."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return ""
    if isinstance(value, str):
        return f"`{value}`"
    if isinstance(value, dict):
        return f"`{{{', '.join(f'{name}: {{}}' for name in value)}}}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(str(part) for part in value)}]`"
    return f"`{json.dumps(TypeAdapter(Any).dump_python(value, mode='json'))}`"


def _choices(annotation: Any) -> list[str]:
    """The words that a field takes, where it takes only some."""
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [word for part in get_args(annotation) for word in _choices(part)]


def _marked(text: str) -> str:
    """The code's double backticks as Markdown's single ones."""
    return text.replace("``", "`")


if __name__ == "__main__":
    print(page(), end="")
