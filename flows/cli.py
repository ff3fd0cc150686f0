"""The command ``karma``: its list of commands, and what its exit codes mean.

Nothing heavy is imported before it is needed, so that commands that only read start at once.
"""

import contextlib
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from flows import accepting, deploy, keeping, models, notify, planning, running, status, tracing
from flows.options import HERE, RecipePath, Settings, Workspace, say
from karma.errors import BusyError, StageError, UserError
from karma.links import PORT
from karma.recipe import load
from karma.store import Store

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run a command; exit with the code that the contract gives to what happened."""
    try:
        code = app(standalone_mode=False)
    except UserError as error:
        say(f"error: {error}")
        code = 2
    except (StageError, BusyError) as error:
        say(f"error: {error}")
        code = 1
    except typer.TyperException as error:
        # An unknown option or a missing argument.
        if told := error.format_message():
            say(f"error: {told} ({_helped(error)} --help)")
        code = 2
    except OSError as error:
        say(f"error: {_untold(error)}")
        code = 2
    _end(code or 0)


def _helped(error: typer.TyperException) -> str:
    """The command whose help has what the error is about: ``karma run``."""
    context = getattr(error, "ctx", None)
    return "karma" if context is None or context.parent is None else f"karma {context.info_name}"


def _untold(error: OSError) -> str:
    """The last resort for what no part has put into words: the path, the reason, the next step."""
    thing = "the system" if error.filename is None else error.filename
    return f"{thing}: {error.strerror or error}. Check the path, its rights and the disk."


def _end(code: int) -> None:
    """Leave at once: threads that wait for a server or a worker must not keep the command."""
    with contextlib.suppress(BrokenPipeError):  # whoever read it has gone, as head does
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


for command in (
    running.run,
    planning.plan,
    planning.why,
    accepting.accept,
    keeping.verify,
    keeping.gc,
    keeping.keep,
    tracing.lineage,
    tracing.diff,
    tracing.logs,
    models.score,
    models.export,
    deploy.deploy,
    notify.notify,
    status.status,
):
    app.command()(command)


def _version(asked: bool) -> None:
    if asked:
        print(version("karma-pipeline"))
        raise typer.Exit


@app.callback()
def options(
    shown: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Reward models from Reddit conversations, PPO on them, and what it did. Only what is stale
    runs.
    """


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
def simulate(
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override one key of world, no other; may be repeated, e.g. --set world.seed=1.",
        ),
    ] = None,
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
    """Write the full revision of every hub name into a recipe (needs the network).

    Never tried against the real hub.

    Example: karma pin flows/recipes/llama-3.2-1b.yaml
    """
    from karma.pin import pin as write

    for line in write(recipe):
        print(line)
    return 0


@app.command()
def ui(
    workspace: Workspace = HERE,
    port: Annotated[int, typer.Option(min=1, max=65535, help="MLflow's port on loopback.")] = PORT,
) -> int:
    """Serve the MLflow and Prefect pages of a workspace on loopback until Ctrl-C.

    Example: karma ui --port 5001
    """
    from flows.pages import serve

    store = Store(workspace)
    store.create()
    serve(store, running.tracking_uri(store), port)
    return 0


if __name__ == "__main__":
    main()
