"""Writes full revisions of hub names into a recipe, so that planning it needs no network.

The text is edited where YAML's own reader says that a value stands; everything else stays as it is
to the byte. The result is read again, and if it does not say what was meant, nothing is written.
"""

import copy
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from karma.document import parse, read
from karma.errors import RecipeError, words
from karma.evals.catalogue import BENCHMARKS
from karma.prompts.hub import unpinned
from karma.store import write_atomically

MODELS = (("base",), ("reward", "backbone"), ("evals", "toxicity", "classifier"))
DIALOGUES = ("prompts", "unexposed")
EVALS, ROWS = ("evals",), ("evals", "hub")

Edits = dict[tuple[int, int], str]


class Loose(NamedTuple):
    """A name of the hub that stands in a recipe without its full revision."""

    section: tuple[str, ...]
    kind: str
    """``model`` or ``dataset``, in the hub's words."""
    name: str
    at: str | None
    """The branch, tag or short revision that the recipe gives."""
    key: str = ""
    """For a data set, the key of the section at which it stands, or will."""


def pin(path: Path) -> list[str]:
    """Pin the models and data sets that a recipe names; one line for each.

    With ``evals.data: hub`` the benchmarks that name none get the catalogue's. What is pinned
    already stays. Raises RecipeError if the hub cannot be asked or the text cannot
    be edited; the file is as it was then.
    """
    text, document = read(path)
    asked: dict[tuple[str, str, str | None], str] = {}
    revisions = {}
    for loose in find(document):
        what = (loose.kind, loose.name, loose.at)
        if what not in asked:
            asked[what] = _revision(loose)
        revisions[loose] = asked[what]
    if not revisions:
        return ["every hub name is pinned already"]
    _write(path, rewrite(text, revisions))
    return [f"{loose.name} pinned to {revision}" for loose, revision in revisions.items()]


def find(document: dict[str, Any]) -> list[Loose]:
    """The names in a recipe that have no full revision. Raises RecipeError for a section that is
    none."""
    found = []
    for place in MODELS:
        section = _section(document, place)
        name, revision = section.get("model"), section.get("revision")
        if isinstance(name, str) and not re.fullmatch(r"[0-9a-f]{40}", str(revision)):
            found.append(Loose(place, "model", name, str(revision) if revision else None))
    data = unpinned(str(_section(document, DIALOGUES).get("instructions", "world")))
    if data is not None:
        found.append(Loose(DIALOGUES, "dataset", *data, "instructions"))
    return found + _benchmarks(document)


def _benchmarks(document: dict[str, Any]) -> list[Loose]:
    """The data sets of benchmarks that stand there loose, and with ``data: hub`` those that do not
    stand there."""
    evals, given = _section(document, EVALS), _section(document, ROWS)
    known = {name: entry.hub.name for name, entry in BENCHMARKS.items() if entry.hub}
    asked = evals.get("benchmarks")
    named = [name for name in known if not isinstance(asked, list) or name in asked]
    found = [
        Loose(ROWS, "dataset", *loose, name)
        for name, where in given.items()
        if (loose := unpinned(str(where))) is not None
    ]
    if evals.get("data") == "hub":
        found += [Loose(ROWS, "dataset", known[n], None, n) for n in named if n not in given]
    return found


def rewrite(text: str, revisions: dict[Loose, str]) -> str:
    """A recipe's text with these revisions, otherwise unchanged.

    Raises RecipeError where a value stands in a way that cannot be edited in its place.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert root is not None
    meant = copy.deepcopy(parse(text))
    edits: Edits = {}
    missing: dict[str, str] = {}
    for loose, revision in revisions.items():
        section, new = _section(meant, loose.section), f"{loose.name}@{revision}"
        if loose.kind == "model":
            section["revision"] = revision
            edits |= _beside(text, _nodes(root, loose.section), revision)
        elif loose.key in section:
            old, section[loose.key] = section[loose.key], new
            edits |= _within(text, _pairs(_nodes(root, loose.section))[loose.key][1], old, new)
        else:
            missing[loose.key] = new
    if missing:
        meant["evals"]["hub"] = {**_section(meant, ROWS), **missing}
        edits |= _rows(text, _nodes(root, EVALS), missing)
    for (start, end), new in sorted(edits.items(), reverse=True):
        text = text[:start] + new + text[end:]
    if not _says(text, meant):
        places = ", ".join(".".join(loose.section) for loose in revisions)
        raise RecipeError(
            f"recipe section {places}",
            "it is written in a way that cannot be edited here",
            f"Write by hand: {', '.join(f'{n.name} {r}' for n, r in revisions.items())}.",
        )
    return text


def _beside(text: str, section: yaml.MappingNode, revision: str) -> Edits:
    """Put ``revision`` into a section: over the value that is there, or after ``model``."""
    pairs = _pairs(section)
    if "revision" in pairs:
        old = pairs["revision"][1]
        gap = "" if text[old.start_mark.index - 1].isspace() else " "
        return {(old.start_mark.index, old.end_mark.index): gap + revision}
    return _after(text, section, *pairs["model"], f"revision: {revision}")


def _rows(text: str, evals: yaml.MappingNode, missing: dict[str, str]) -> Edits:
    """Put benchmarks into the mapping ``hub``, which is made after ``data`` if it is not there."""
    pairs = _pairs(evals)
    each = [f"{name}: {where}" for name, where in missing.items()]
    braces = f"{{{', '.join(each)}}}"
    if "hub" not in pairs:
        key, value = pairs["data"]
        step = "\n" + " " * (2 * key.start_mark.column)
        new = f"hub: {braces}" if evals.flow_style else step.join(["hub:", *each])
        return _after(text, evals, key, value, new)
    hub = pairs["hub"][1]
    if not isinstance(hub, yaml.MappingNode) or not hub.value:
        start, end = hub.start_mark.index, hub.end_mark.index
        return {(start, end): braces if text[start - 1].isspace() else f" {braces}"}
    key, value = hub.value[-1]
    step = ", " if hub.flow_style else "\n" + " " * key.start_mark.column
    return _after(text, hub, key, value, step.join(each))


def _after(
    text: str, section: yaml.MappingNode, key: yaml.Node, value: yaml.Node, new: str
) -> Edits:
    """Put ``new`` behind a pair of a section, on a line of its own unless it is in braces."""
    at = value.end_mark.index
    if section.flow_style:
        return {(at, at): f", {new}"}
    line_end = re.compile(r"\r?\n|$").search(text, at)
    assert line_end is not None
    end = line_end[0] or "\n"
    lines = new.replace("\n", end)
    whole = f"{end}{' ' * key.start_mark.column}{lines}"
    return {(line_end.start(), line_end.start()): whole}


def _within(text: str, value: yaml.Node, old: str, new: str) -> Edits:
    """Put ``new`` in the place of ``old`` in a value, its quotes and anchor kept."""
    start, end = value.start_mark.index, value.end_mark.index
    return {(start, end): text[start:end].replace(old, new, 1)}


def _says(text: str, meant: dict[str, Any]) -> bool:
    try:
        return bool(parse(text) == meant)
    except ValueError:
        return False


def _section(document: dict[str, Any], place: tuple[str, ...]) -> dict[str, Any]:
    """The section at ``place``, empty if there is none."""
    for name in place:
        document = document.get(name) or {}
        if not isinstance(document, dict):
            raise RecipeError(
                f"recipe section {'.'.join(place)}",
                f"{name} is no section",
                "Correct it and run karma validate.",
            )
    return document


def _nodes(node: yaml.Node, place: tuple[str, ...]) -> yaml.MappingNode:
    for name in place:
        assert isinstance(node, yaml.MappingNode)
        node = _pairs(node)[name][1]
    assert isinstance(node, yaml.MappingNode)
    return node


def _pairs(section: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    return {key.value: (key, value) for key, value in section.value}


def _write(path: Path, text: str) -> None:
    """Replace the file, or what it is a link to, keeping its rights."""
    target = path.resolve()
    try:
        rights = target.stat().st_mode
        write_atomically(target, text.encode())
        target.chmod(rights)
    except OSError as error:
        reason = f"it cannot be written ({error.strerror})"
        raise RecipeError(f"recipe {path}", reason, "Check its rights.") from error


def _revision(loose: Loose) -> str:
    """The full revision that the hub gives for a name."""
    from huggingface_hub import HfApi

    try:
        found = HfApi().repo_info(loose.name, repo_type=loose.kind, revision=loose.at).sha
    except Exception as error:
        # Offline it is an error of whichever HTTP library the hub's client is built on.
        raise RecipeError(
            loose.name,
            f"the hub did not tell its revision ({words(error)})",
            "Check the name and try again online.",
        ) from error
    assert found is not None
    return found
