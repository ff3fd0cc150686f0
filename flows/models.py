"""The commands that use a reward model outside the pipeline: ``karma score``, ``karma export``."""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.options import HERE, Shared, Workspace
from karma.shared import open_store

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A folder of a reward model; or an instance of the workspace, such as "
        "reward/context/0, with RECIPE: before it where several recipes have made one.",
    ),
]


def score(
    model: Model,
    workspace: Workspace = HERE,
    shared: Shared = "",
    neutral: Annotated[
        bool,
        typer.Option(
            "--neutral", help="The view's neutral slot stands in for fields that a record lacks."
        ),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first bad record, with exit code 2.")
    ] = False,
    batch: Annotated[int, typer.Option(min=1, help="Records that are scored together.")] = 256,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> int:
    """Score JSON lines from standard input with a reward model.

    A record holds reply, and what the model sees of context (turns of role
    and text), subreddit, depth, delay, hour and parent_score. Each JSON line
    out holds line, id and reward; a bad record's holds its error, and the
    next one follows.

    Example: karma score smoke:reward/context/0 < in.jsonl > out.jsonl
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader that has enough ends this quietly
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from karma.reward.locate import locate

    folder = locate(model, open_store(workspace, shared))
    _quiet()
    from karma.reward.score import check_device, load
    from karma.reward.stream import score_lines

    check_device(device)
    score_lines(
        load(folder, device),
        sys.stdin.buffer,
        sys.stdout,
        _say,
        batch=batch,
        neutral=neutral,
        strict=strict,
    )
    return 0


def export(
    model: Model,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new or empty folder.")],
    workspace: Workspace = HERE,
    shared: Shared = "",
) -> int:
    """Write a reward model as a plain Hugging Face folder with its card.

    It loads with AutoModelForSequenceClassification.from_pretrained; the card says how to use it.

    Example: karma export reward/context/0 my-reward
    """
    from karma.reward.locate import locate

    folder = locate(model, open_store(workspace, shared))
    _quiet()
    from karma.reward.export import export as write

    write(folder, out)
    print(f"{out}: written. {out / 'README.md'} says how to use it.")
    return 0


def _quiet() -> None:
    """No bars of libraries among the lines of progress."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
