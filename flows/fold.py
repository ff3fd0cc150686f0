"""Instances whose ids differ in some parts only, as one name: ``policy/{reddit,unexposed}/0``."""

from collections.abc import Iterable, Iterator
from math import prod

# Ranges of threads and months of dumps can be hundreds; what a person chose is fewer.
MANY = 20


def products(ids: Iterable[str]) -> Iterator[list[str]]:
    """Cut ids into lists each of which is all combinations of some values for each part, few of
    them and none twice; order is kept.

    What is no whole product is cut by the values of its first part that differs, and so on.
    """
    of_length: dict[int, list[str]] = {}
    for one in ids:
        of_length.setdefault(one.count("/"), []).append(one)
    for alike in of_length.values():
        yield from _cut(alike)


def name(product: list[str]) -> str:
    """One of those lists as a shell would write it; of many values the first and the last."""
    return "/".join(_braces(list(values)) for values in _values(product))


def _braces(values: list[str]) -> str:
    if len(values) == 1:
        return values[0]
    told = values if len(values) <= MANY else [values[0], "...", values[-1]]
    return "{" + ",".join(told) + "}"


def _values(ids: list[str]) -> list[dict[str, None]]:
    """What stands at each part of the ids, in the order in which it comes first."""
    return [dict.fromkeys(part) for part in zip(*(one.split("/") for one in ids), strict=True)]


def _cut(ids: list[str]) -> Iterator[list[str]]:
    sizes = [len(values) for values in _values(ids)]
    if prod(sizes) == len(ids):
        yield ids
        return
    differs = next(place for place, size in enumerate(sizes) if size > 1)
    groups: dict[str, list[str]] = {}
    for one in ids:
        groups.setdefault(one.split("/")[differs], []).append(one)
    for group in groups.values():
        yield from _cut(group)
