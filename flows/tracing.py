"""The commands that follow a result: ``karma lineage``, ``karma diff``, ``karma logs``."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.options import HERE, Instance, Json, RecipePath, Settings, Shared, Workspace, opened
from karma.plan import Plan
from karma.plan import plan as make_plan
from karma.shared import open_store
from karma.store import Store, write_atomically

A_RUN = "A recipe's name, the digest of a report (six digits or more), or a path of a report.json."


def lineage(
    recipe: RecipePath,
    instance: Annotated[
        str | None,
        typer.Argument(
            help="An instance; a cell of the report, MODEL:BENCHMARK; a number of its headline; or "
            "digits of a key or digest, of this recipe or any other. Without it, the whole graph."
        ),
    ] = None,
    settings: Settings = None,
    workspace: Workspace = HERE,
    shared: Shared = "",
    as_json: Json = False,
    page: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page with the graph drawn."),
    ] = None,
) -> int:
    """What an artefact was made from, up to the dump files, and all that was made from it.

    Files are listed with their bytes and SHA-256.

    Example: karma lineage flows/recipes/smoke.yaml policy/reddit/context/0:humor --html humor.html
    """
    from karma.lineage.page import page as drawn
    from karma.lineage.page import text

    document, store = opened(recipe, settings, workspace, shared)
    graph = _graph(make_plan(recipe.stem, document, store), store, instance)
    if page is not None:
        write_atomically(page, drawn(graph).encode())
    if as_json:
        print(json.dumps(graph, indent=1))
    elif page is not None:
        print(f"{page}: written.")
    else:
        print("\n".join(text(graph)))
    return 0


def _graph(made: Plan, store: Store, instance: str | None) -> dict[str, Any]:
    """The graph of an instance of the recipe, or the store's of a digest that it does not have."""
    from karma.lineage import graph
    from karma.lineage.ancestry import Ancestry
    from karma.lineage.known import find
    from karma.lineage.locate import instance as meant

    if instance is None:
        return graph.document(made, store)
    name = meant(made, store, instance)
    if name is not None:
        return graph.document(made, store, name)
    return Ancestry(store).document(find(store, instance)["digest"])


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help=A_RUN)],
    second: Annotated[str, typer.Argument(metavar="B", help=A_RUN)],
    workspace: Workspace = HERE,
    shared: Shared = "",
    as_json: Json = False,
) -> int:
    """Two runs or reports: configuration, code, data, scores with intervals; only what differs.

    A recipe's name is its last run. Two runs of one recipe with other --set are named by their
    reports' digests: the folder's name in the path that karma run prints last (Report: ...).

    Example: karma diff smoke planted
    """
    from karma import diff as two

    store = open_store(workspace, shared)
    document = two.compare(store, two.find(store, first), two.find(store, second))
    if as_json:
        print(json.dumps(document, indent=1))
    else:
        print("\n".join(two.text(document)))
    return 0


def logs(instance: Instance, workspace: Workspace = HERE, shared: Shared = "") -> int:
    """What a stage printed, the last time that it ran; RECIPE:INSTANCE tells recipes apart.

    Of a store that machines share also what another machine made; what failed there is shown only
    on that machine.

    Example: karma logs policy/reddit/context/0
    """
    from karma.errors import InputError
    from karma.instances import one_of
    from karma.logs import find, tried

    store = open_store(workspace, shared)
    found = find(store, instance)
    if found is None and (below := tried(store, instance)):
        raise InputError(f"instance {instance}", "it is a stage", one_of(below))
    if found is None:
        raise InputError(
            f"instance {instance}", f"it never ran in {workspace}", "karma plan lists instances."
        )
    sys.stdout.write(found)
    return 0
