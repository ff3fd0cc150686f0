"""Profiles: what a stage counted, as nested dicts of numbers."""

from collections.abc import Iterable
from typing import Any


def added(profiles: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The counts of all profiles added, level by level; what is no whole number is left out."""
    total: dict[str, Any] = {}
    for profile in profiles:
        total = _added(total, profile)
    return total


def _added(total: dict[str, Any], profile: dict[str, Any]) -> dict[str, Any]:
    result = dict(total)
    for key, value in profile.items():
        if isinstance(value, dict):
            result[key] = _added(result.get(key, {}), value)
        elif isinstance(value, int) and not isinstance(value, bool):
            result[key] = result.get(key, 0) + value
    return result
