"""What a person points at when they ask where something comes from.

An instance's id; a cell of the report, ``policy/reddit/context/0:humor``; a number of its headline,
``0.512``; digits of a key or a digest, also of an artefact that no recipe has any more.
"""

import re

from karma.dag import Dag
from karma.errors import RecipeError
from karma.instances import find
from karma.plan import Plan
from karma.store import Store, read_json


def instance(plan: Plan, store: Store, text: str) -> str | None:
    """The id of the instance that is meant; None if it looks like a digest of no instance's.

    Raises RecipeError if there is none, or more than one.
    """
    named = _named(plan.dag, text)
    if named is not None:
        return named
    if re.fullmatch(r"[0-9a-f]{6,64}", text):
        marks = {n: (e.key or "", e.digest or "") for n, e in plan.entries.items()}
        return next(
            (n for n, those in marks.items() if any(m.startswith(text) for m in those)), None
        )
    if re.fullmatch(r"[+-]?\d*\.\d+", text):
        return _cell(plan, store, text)
    return find(plan.dag, text).id


def _named(dag: Dag, text: str) -> str | None:
    plain = text.replace(":", "/")
    names = (text, f"evals/{plain}", f"reward/{plain}", f"threads/{plain}")
    return next((name for name in names if name in dag.nodes), None)


def _cell(plan: Plan, store: Store, number: str) -> str:
    """The evaluation whose score the report's headline prints as ``number``."""
    digest = plan.entries["report"].digest
    report = read_json(store.path(digest) / "report.json") if digest else None
    if report is None:
        raise RecipeError(f"number {number}", "there is no report to find it in", "Run the recipe.")
    places = len(number.partition(".")[2])
    found = [
        f"{row['model']}:{name}"
        for row in report["headline"]["rows"]
        for name, cell in row["cells"].items()
        if cell is not None and f"{cell['value']:.{places}f}" == number
    ]
    if len(found) == 1:
        return f"evals/{found[0].replace(':', '/')}"
    raise RecipeError(
        f"number {number}",
        f"{len(found) or 'no'} cells of the headline show it",
        f"Name one: {', '.join(found[:6])}." if found else "Name a model and a benchmark.",
    )
