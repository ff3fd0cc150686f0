"""docker/compose.yaml and docker/Dockerfile as the tests read them."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

DOCKER = Path(__file__).parents[1] / "docker"
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def document() -> dict[str, Any]:
    """The compose file, its variables as they are written."""
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


def filled(part: Any, values: dict[str, str]) -> Any:
    """A part of the compose file with its variables put in. Raises KeyError as compose refuses."""
    if isinstance(part, dict):
        return {name: filled(value, values) for name, value in part.items()}
    if isinstance(part, list):
        return [filled(value, values) for value in part]
    return (
        VARIABLE.sub(lambda match: _value(match, values), part) if isinstance(part, str) else part
    )


def _value(match: re.Match[str], values: dict[str, str]) -> str:
    name, sign, rest = match.groups()
    if values.get(name):
        return values[name]
    if sign == "?":
        raise KeyError(f"{name}: {rest}")
    return rest or ""


def required() -> set[str]:
    """The variables without which compose does not start."""
    text = (DOCKER / "compose.yaml").read_text()
    return {match[1] for match in VARIABLE.finditer(text) if match[2] == "?"}


def instructions(word: str) -> list[str]:
    """What follows ``word`` in the Dockerfile, each with its continued lines joined."""
    text = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
    return re.findall(rf"^{word} +(.*)$", text, flags=re.MULTILINE)


def health() -> list[str]:
    """The command by which an image says that its worker is well."""
    return json.loads(instructions("HEALTHCHECK")[0].partition(" CMD ")[2])
