"""The command ``karma``: parses, calls, prints.

Nothing heavy is imported before it is needed, so that commands that only read start at once.
"""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import models
from karma.errors import StageError, UserError
from karma.nodes import STAGES
from karma.plan import FAILED, FRESH, MISSING, Entry, Plan
from karma.plan import plan as make_plan
from karma.recipe import Recipe, load
from karma.shared import SharedStore, open_store
from karma.store import Store

if TYPE_CHECKING:
    from tasks.stage import Run

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Reward models from Reddit conversations, PPO on them, and what it did. Only what is "
    "stale runs.",
)

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe's YAML file.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Put over the recipe.")
]
Workspace = Annotated[
    Path,
    typer.Option(envvar="KARMA_WORKSPACE", help="Where artefacts and records are kept."),
]
Shared = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="KARMA_STORE",
        help="A store that several machines share: s3://bucket/prefix, or a folder.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Instance = Annotated[str, typer.Argument(help="As karma plan names it, such as reward/context/0.")]
HERE = Path(".karma")


def main() -> None:
    """Run a command; exit with the code that the contract gives to what happened."""
    try:
        code = app(standalone_mode=False)
    except UserError as error:
        _say(f"error: {error}")
        code = 2
    except StageError as error:
        _say(f"error: {error}")
        code = 1
    except typer.TyperException as error:
        # An unknown option or a missing argument.
        if str(error):
            _say(f"error: {error} (karma --help)")
        code = 2
    except OSError as error:
        _say(f"error: {_untold(error)}")
        code = 2
    _end(code or 0)


def _untold(error: OSError) -> str:
    """The last resort for what no part has put into words: the path, the reason, the next step."""
    thing = "the system" if error.filename is None else error.filename
    return f"{thing}: {error.strerror or error}. Check the path, its rights and the disk."


def _interrupted() -> None:
    _say("interrupted; run the same command again to go on")
    _end(130)


def _end(code: int) -> None:
    """Leave at once: threads that wait for a server or a worker must not keep the command."""
    with contextlib.suppress(BrokenPipeError):  # whoever read it has gone, as head does
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _say(words: str) -> None:
    print(words, file=sys.stderr)


def _open(
    recipe: Path, settings: list[str] | None, workspace: Path, shared: str
) -> tuple[Recipe, Store]:
    return load(recipe, settings or []), open_store(workspace, shared)


@app.command()
def run(
    recipe: RecipePath,
    settings: Settings = None,
    workspace: Workspace = HERE,
    shared: Shared = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would run.")] = False,
) -> int:
    """Bring a recipe up to date: run what is stale, and nothing else.

    Example: karma run flows/recipes/smoke.yaml --set policy.kl_coef=0.1
    """
    document, store = _open(recipe, settings, workspace, shared)
    if not dry_run:
        store.create()
    before = make_plan(recipe.stem, document, store)
    if dry_run:
        _print_plan(before)
        return 0
    _refuse_missing(before)
    if document.compute == "cuda" and any(STAGES[e.node.stage].trained for e in _jobs(before)):
        from karma.worker import cards

        cards()
    if isinstance(store, SharedStore) and not before.to_run and not _agree(before, store):
        before = make_plan(recipe.stem, document, store)
    if not before.to_run:
        print(f"{recipe.stem}: all {len(before.entries)} instances are up to date; nothing ran.")
        _flush(store)
        digest = before.entries["report"].digest
        return _conclude(document, digest, store, workspace)
    return _finish(_run(before, store), workspace)


def _agree(plan: Plan, store: SharedStore) -> bool:
    """Let what is here be known there and the other way round; whether all is as it was planned.

    Where another machine was first with a key, its artefact stands from now on.
    """
    agreed = True
    for entry in plan.entries.values():
        record = store.record(entry.node.stage, entry.key) if entry.key else None
        if record is not None:
            digest = store.share(record)["digest"]
            agreed = agreed and digest == entry.digest
            store.set_ref(plan.dag.recipe, entry.node.id, record["key"], digest)
    return agreed and store.fetch(plan.entries["report"].digest or "")


def _jobs(plan: Plan) -> list[Entry]:
    """What a run would have to do or look at, without the inputs."""
    return [entry for entry in plan.to_run if entry.node.source is None]


def _refuse_missing(plan: Plan) -> None:
    """Inputs that are not there end the run before anything starts."""
    from karma.errors import InputError

    for entry in plan.entries.values():
        if entry.node.source is not None and entry.state == MISSING:
            path = entry.node.source.path
            assert path is not None
            raise InputError(
                str(path),
                _missing(path),
                "Check the path in the recipe, or give another with --set.",
            )


def _missing(path: Path) -> str:
    if not path.is_dir():
        return "there is no such file or folder"
    return "it is a folder, not a file" if any(path.iterdir()) else "it is an empty folder"


def _run(plan: Plan, store: Store) -> "Run":
    """Run what is stale under Prefect."""
    from flows.console import Console
    from flows.server import server

    if isinstance(store, SharedStore):
        store.remote.check()
    stale = len(_jobs(plan))
    # Workers and the server see that this process is gone and end; what is done is kept.
    signal.signal(signal.SIGINT, lambda *_: _interrupted())
    with Console() as console:
        console.say(f"{plan.dag.recipe}: {stale} instances to bring up to date; starting Prefect")
        with server(store.root) as address:
            console.say(f"Prefect's page: {address.removesuffix('/api') or 'as configured'}")
            from flows.pipeline import execute

            return execute(plan.dag, store, console, tracking_uri(store))


def _finish(done: "Run", workspace: Path) -> int:
    """Say what failed and what came out; after a failure there is a report too, with holes."""
    code = _explain_failures(done)
    report = done.outcomes.get("report")
    met = _conclude(done.dag.settings, report.digest if report else None, done.store, workspace)
    return code or met


def _explain_failures(done: "Run") -> int:
    """Say what failed: 0 if nothing did, 2 if the user can mend it, else 1."""
    if not done.failures:
        return 0
    _say("")
    for name, error in done.failures.items():
        _say(f"error: {name}: {error}")
        if not isinstance(error, UserError):
            _say(f"  karma logs {name} --workspace {_short(done.store.root)} shows its output")
    missing = len(done.dag.nodes) - len(done.outcomes)
    _say(f"{missing} of {len(done.dag.nodes)} instances are missing; the rest is done and kept.")
    return 2 if any(isinstance(e, UserError) for e in done.failures.values()) else 1


def tracking_uri(store: Store) -> str:
    """The MLflow server that the environment names, or the workspace's own database."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{store.root / 'mlflow.db'}"


def _flush(store: Store) -> None:
    from karma.journal import settle_dead
    from karma.outbox import Outbox

    settle_dead(store, _say)
    if Outbox(store.root).waiting():
        from karma.record import flush

        flush(store, tracking_uri(store), _say)


def _conclude(recipe: Recipe, digest: str | None, store: Store, workspace: Path) -> int:
    """Print the report's headline, its path and where to look; 0, or 3 if a gate was not met."""
    from karma.gates import unmet

    if digest is None or not store.fetch(digest):
        return 0
    folder = store.path(digest)
    report = json.loads((folder / "report.json").read_bytes())
    _headline(report["headline"])
    print(f"Report: {_short(folder / 'report.html')}")
    print(f"MLflow and Prefect pages: karma ui --workspace {workspace}")
    gate = recipe.gates.reward_beats_length
    sentences = unmet(report) if gate != "off" else []
    for sentence in sentences:
        print(f"gate reward_beats_length: {sentence}")
    return 3 if sentences and gate == "fail" else 0


def _headline(table: dict[str, Any]) -> None:
    width = max((len(row["model"]) for row in table["rows"]), default=0)
    print(" " * width, *(f"{name[:16]:>18}" for name in table["columns"]))
    for row in table["rows"]:
        cells = [_cell(row["cells"].get(name)) for name in table["columns"]]
        print(f"{row['model']:<{width}}", *cells)


def _cell(cell: dict[str, float] | None) -> str:
    if cell is None or cell.get("value") is None:
        return f"{'—':>18}"
    if cell.get("low") is None:
        return f"{cell['value']:>18.3f}"
    return f"{cell['value']:.3f} [{cell['low']:.2f},{cell['high']:.2f}]".rjust(18)


def _short(path: Path) -> str:
    """A path as a person would type it from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


@app.command()
def plan(
    recipe: RecipePath,
    settings: Settings = None,
    workspace: Workspace = HERE,
    shared: Shared = "",
    as_json: Json = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 4 if something is not fresh.")
    ] = False,
) -> int:
    """What would run, and why; writes nothing.

    Example: karma plan flows/recipes/smoke.yaml --set policy.kl_coef=0.1
    """
    document, store = _open(recipe, settings, workspace, shared)
    made = make_plan(recipe.stem, document, store)
    if as_json:
        print(json.dumps(made.document(), indent=1))
    else:
        _print_plan(made)
    return 4 if exit_code and made.to_run else 0


def _print_plan(made: Plan) -> None:
    shown = [entry for entry in made.entries.values() if entry.state != FRESH]
    for entry in shown:
        seconds = f"{entry.last_seconds:.0f} s" if entry.last_seconds else ""
        print(f"{entry.state:<8} {entry.node.id:<44} {seconds:>7}  {_because(entry)}")
    fresh = len(made.entries) - len(shown)
    print(f"{len(shown)} to look at, {fresh} fresh.")


def _because(entry: Any) -> str:
    if entry.state == FAILED:
        return f"failed: {entry.last_error}"
    words = [f"{cause['kind']} {cause['what']}" for cause in entry.causes[:3]]
    more = len(entry.causes) - len(words)
    return ", ".join(words) + (f" and {more} more (karma why)" if more else "")


@app.command()
def why(
    recipe: RecipePath,
    instance: Instance,
    settings: Settings = None,
    workspace: Workspace = HERE,
    shared: Shared = "",
) -> int:
    """Every cause that makes an instance stale, old and new.

    Example: karma why flows/recipes/smoke.yaml policy/reddit/context/0
    """
    from karma.dag import find

    document, store = _open(recipe, settings, workspace, shared)
    made = make_plan(recipe.stem, document, store)
    entry = made.entries[find(made.dag, instance).id]
    print(f"{instance} is {entry.state}")
    if entry.last_error:
        print(f"  the last try failed: {entry.last_error}")
    for cause in entry.causes:
        print(f"  {cause['kind']} {cause['what']}: {_value(cause['old'])} → {_value(cause['new'])}")
    for name in dict.fromkeys(entry.node.inputs.values()):
        if made.entries[name].state != FRESH:
            print(f"  waits for {name}, which is {made.entries[name].state}")
    return 0


def _value(value: Any) -> str:
    """A value of a fingerprint, digests cut short."""
    text = "nothing" if value is None else str(value)
    return text[:12] + "…" if len(text) == 64 else text


@app.command()
def validate(recipe: RecipePath, settings: Settings = None) -> int:
    """Check a recipe alone, in a second, without its inputs.

    Example: karma validate flows/recipes/dump.yaml --set dumps.comments=data/RC_2006-01.zst
    """
    document = load(recipe, settings or [])
    cells = len(document.exposures) * len(document.policy_variants) * len(document.seeds)
    print(f"{recipe}: valid. {cells} policies, rewards {', '.join(document.reward.variants)}.")
    return 0


@app.command()
def lineage(
    recipe: RecipePath,
    instance: Annotated[str | None, typer.Argument(help="Without it, the whole graph.")] = None,
    settings: Settings = None,
    workspace: Workspace = HERE,
    shared: Shared = "",
    as_json: Json = False,
) -> int:
    """The graph behind an artefact: up to the dump files and down to the report.

    Example: karma lineage flows/recipes/smoke.yaml policy/reddit/context/0
    """
    from karma import lineage as graph
    from karma.dag import find

    document, store = _open(recipe, settings, workspace, shared)
    made = make_plan(recipe.stem, document, store)
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


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="A recipe's name, a report's digest.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Or the path of a report.json.")],
    workspace: Workspace = HERE,
    shared: Shared = "",
    as_json: Json = False,
) -> int:
    """Two runs or reports: configuration, code, data, scores with intervals; only what differs.

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


@app.command()
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


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    settings: Settings = None,
) -> int:
    """Write the simulator's world: dumps, instruction dialogues and benchmarks of known truth.

    Example: karma simulate world --set world.seed=1 --set world.joke_false=0
    """
    from karma.simulate import simulate as write

    write(out, settings or [])
    print(f"{out}: written. dumps.comments={out}/RC_2023-01.zst reads it as any other dump.")
    return 0


@app.command()
def pin(recipe: RecipePath) -> int:
    """Write the full revision of every hub name into a recipe (asks the hub; untried offline).

    Example: karma pin flows/recipes/llama-3.2-1b.yaml
    """
    from karma.pin import pin as write

    for line in write(recipe):
        print(line)
    return 0


app.command()(models.score)
app.command()(models.export)


@app.command()
def ui(
    workspace: Workspace = HERE,
    port: Annotated[int, typer.Option(min=1, max=65535, help="MLflow's port on loopback.")] = 5000,
) -> int:
    """Serve the MLflow and Prefect pages of a workspace on loopback until Ctrl-C.

    Example: karma ui --port 5001
    """
    from flows.pages import serve

    store = Store(workspace)
    store.create()
    serve(store, tracking_uri(store), port)
    return 0


if __name__ == "__main__":
    main()
