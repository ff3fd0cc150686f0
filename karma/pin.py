"""Writes full revisions of hub names into a recipe, so that planning it needs no network."""

import re
from pathlib import Path
from typing import Any

import yaml

from karma.errors import RecipeError
from karma.store import write_atomically


def pin(path: Path) -> list[str]:
    """Pin the base model, the reward backbone and the instruction data; one line for each.

    What is pinned already stays. Raises RecipeError if the hub cannot be asked.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = yaml.safe_load(text) or {}
    except (OSError, yaml.YAMLError) as error:
        raise RecipeError(f"recipe {path}", str(error), "Check the path.") from error
    lines = []
    for section in (_at(document, "base"), _at(document, "reward", "backbone")):
        name = section.get("model")
        if name and not section.get("revision"):
            revision = _revision(name, "model")
            text = re.sub(
                rf"^(\s*)model: *['\"]?{re.escape(name)}['\"]? *$",
                rf"\1model: {name}\n\1revision: {revision}",
                text,
                count=1,
                flags=re.MULTILINE,
            )
            lines.append(f"{name} pinned to {revision}")
    data = _at(document, "prompts", "unexposed").get("instructions", "world")
    if "/" in data and "@" not in data and not Path(data).exists():
        revision = _revision(data, "dataset")
        text = text.replace(data, f"{data}@{revision}")
        lines.append(f"{data} pinned to {revision}")
    write_atomically(path, text.encode())
    return lines or ["every hub name is pinned already"]


def _at(document: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        document = document.get(name) or {}
    return document


def _revision(name: str, kind: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        found = HfApi().repo_info(name, repo_type=kind).sha
    except (OSError, HfHubHTTPError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(name, f"the hub did not answer: {reason}", "Try again online.") from error
    assert found is not None
    return found
