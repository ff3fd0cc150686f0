"""YAML as people write it: the text of a recipe, and the values of settings put over it."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from karma.errors import RecipeError


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of the recipe at ``path``, line ends as they are, and its sections.

    Raises RecipeError naming the file, the line and what to do.
    """
    thing = f"recipe {path}"
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise RecipeError(thing, reason, "Check the path.") from error
    except UnicodeDecodeError as error:
        raise RecipeError(thing, "it is no UTF-8 text", "Name a YAML file.") from error
    try:
        document = parse(text)
    except ValueError as error:
        raise RecipeError(thing, f"it is no YAML: {error}", "Correct it.") from error
    if not isinstance(document, dict):
        raise RecipeError(thing, "it holds no sections", "Start from flows/recipes.")
    return text, document


def parse(text: str) -> Any:
    """The value of a YAML text. Raises ValueError, in one line, for what is none."""
    try:
        return yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - it is a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except Exception as error:
        # What its constructors raise has no common type: KeyError for !!bool x, ValueError for
        # 2001-99-99, RecursionError for a thousand brackets.
        raise ValueError(f"a value cannot be read ({type(error).__name__}: {error})") from error


def put(document: dict[str, Any], setting: str) -> None:
    """Put ``a.b=value`` into the document; the value is YAML. Raises RecipeError."""
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {setting}", "it is not KEY=VALUE", "Write --set policy.lr=1e-5.")
    *sections, last = key.split(".")
    for name in sections:
        below = document.setdefault(name, {})
        if below is None:
            below = document[name] = {}
        if not isinstance(below, dict):
            raise RecipeError(f"--set {setting}", f"{name} is no section", "Check the key.")
        document = below
    try:
        document[last] = parse(text)
    except ValueError as error:
        raise RecipeError(f"--set {setting}", "the value is no YAML", "Quote it.") from error


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error, not a silent override."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, Hashable):
                raise yaml.YAMLError(f"a key must be a word (line {line})")
            if key in seen:
                raise yaml.YAMLError(f"the key {key!r} stands twice (line {line})")
            seen.add(key)
        return super().construct_mapping(node, deep)
