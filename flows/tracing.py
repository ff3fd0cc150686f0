"""The commands that follow a result: ``karma lineage``, ``karma diff``, ``karma logs``."""

import json
import sys
from typing import Annotated

import typer

from flows.options import HERE, Instance, Json, RecipePath, Settings, Workspace, opened
from karma.store import Store


def lineage(
    recipe: RecipePath,
    instance: Annotated[str | None, typer.Argument(help="Without it, the whole graph.")] = None,
    settings: Settings = None,
    workspace: Workspace = HERE,
    as_json: Json = False,
) -> int:
    """The graph behind an artefact: up to the dump files and down to the report.

    Example: karma lineage flows/recipes/smoke.yaml policy/reddit/context/0
    """
    from karma import lineage as graph
    from karma.dag import find
    from karma.plan import plan

    document, store = opened(recipe, settings, workspace)
    made = plan(recipe.stem, document, store)
    if instance is None:
        up, down = list(made.dag.nodes), []
    else:
        node = find(made.dag, instance)
        up, down = graph.above(made.dag, node.id), graph.below(made.dag, node.id)
    if as_json:
        print(json.dumps(graph.document(made, [*up, *down]), indent=1))
        return 0
    for title, names in (("made from", up), ("made of it", down)):
        if names and instance is not None:
            print(f"{title}:")
        for name in names:
            entry = made.entries[name]
            print(f"  {entry.state:<8} {name:<44} {(entry.digest or '')[:16]}")
    return 0


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="A recipe's name, a report's digest.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Or the path of a report.json.")],
    workspace: Workspace = HERE,
    as_json: Json = False,
) -> int:
    """Two runs or reports: configuration, code, data, scores with intervals; only what differs.

    Example: karma diff smoke planted
    """
    from karma import diff as two

    store = Store(workspace)
    document = two.compare(store, two.find(store, first), two.find(store, second))
    if as_json:
        print(json.dumps(document, indent=1))
    else:
        print("\n".join(two.text(document)))
    return 0


def logs(instance: Instance, workspace: Workspace = HERE) -> int:
    """What a stage printed, the last time that it ran.

    Example: karma logs policy/reddit/context/0
    """
    from karma.errors import InputError

    store = Store(workspace)
    for recipe in store.recipes():
        key = store.last_try(recipe, instance)
        folder = store.log_folder(instance.split("/")[0], key) if key else None
        for name in ("output.txt", "log.txt"):
            if folder is not None and (folder / name).exists():
                sys.stdout.write((folder / name).read_text(encoding="utf-8", errors="replace"))
                return 0
    raise InputError(
        f"instance {instance}", f"it never ran in {workspace}", "karma plan lists instances."
    )
