"""Writes dump files of comments as Arctic Shift does, of any size, the same bytes for a seed.

    python -m tests.bench.generate --comments 1000000 RC.zst

Each file holds so many comments of a calendar month, as real dumps do. Values drift in a few
lines as they do in real dumps. Frames come from ``zstd --long=31`` reading a pipe, so that their
headers ask for a window of 2 GiB. Submissions are left out: contexts begin with comments.
"""

import argparse
import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from tests.bench.fields import template
from tests.bench.forest import Forest, grow
from tests.bench.prose import DELETED, NOTICE, REMOVED, Prose

# Reddit used to close threads after half a year.
LATEST_DAYS = 180
BATCH = 50_000
DIGITS = np.frombuffer(b"0123456789abcdefghijklmnopqrstuvwxyz", np.uint8)
POWERS = 36 ** np.arange(6, -1, -1)


def write(paths: list[Path], comments: int, seed: int, latest_days: float = LATEST_DAYS) -> None:
    """Write ``comments`` lines to each of ``paths``, one month after the other.

    No comment is later than about ``latest_days`` after its post. Raises CalledProcessError where
    ``zstd`` fails.
    """
    forest = grow(len(paths), comments, seed, latest_days)
    rng = np.random.default_rng(seed)
    prose, line = Prose(rng), template()
    for place, path in enumerate(paths):
        part = forest[place * comments : (place + 1) * comments]
        part = replace(part, created=_in_month(part.created, place))
        with _compressed(path) as stream:
            for start in range(0, comments, BATCH):
                columns = _columns(part[start : start + BATCH], rng, prose)
                rows = zip(*columns.values(), strict=True)
                lines = [line % dict(zip(columns, row, strict=True)) for row in rows]
                stream.write("".join(lines).encode())


def _in_month(created: np.ndarray, place: int) -> np.ndarray:
    """The same moments, in their order, from the beginning to the end of a calendar month."""
    months = (np.datetime64("2023-01") + place + np.arange(2)).astype("datetime64[s]")
    first, last = months.astype(np.int64)
    since = created - created.min()
    return first + since * (last - first) // (since.max() + 1)


@contextmanager
def _compressed(path: Path) -> Iterator[IO[bytes]]:
    """What goes into the stream is compressed; ``path`` is there only when all of it is."""
    part = path.with_name(path.name + ".part")
    command = ["zstd", "--long=31", "-6", "-q", "-c"]
    with part.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file)
        assert process.stdin is not None
        with process.stdin as stream:
            yield stream
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, command)
    part.rename(path)


def base36(numbers: np.ndarray) -> list[str]:
    """Numbers below 36**7 as Reddit writes its ids."""
    digits = DIGITS[numbers[:, None] // POWERS % 36]
    return [word.decode().lstrip("0") for word in digits.view("S7").ravel().tolist()]


def _columns(part: Forest, rng: np.random.Generator, prose: Prose) -> dict[str, list]:
    """The values of the template's names, a list each, one entry a comment."""
    thread = base36(part.thread)
    names = [prose.names[number] for number in range(part.subreddit.max() + 1)]
    created = part.created.tolist()
    slugs = [f"{prose.names[n]}_{prose.names[-n]}".lower() for n in (part.thread % 9000).tolist()]
    return {
        "id": base36(part.number),
        "thread": thread,
        "parent": _parents(part, thread, rng),
        "slug": slugs,
        "subreddit": [names[number] for number in part.subreddit.tolist()],
        "subreddit_id": base36(part.subreddit + 2_000_000),
        "created": _some(created, rng.random(len(part)) < 0.003, [f'"{t}"' for t in created]),
        "retrieved": (part.created + 12).tolist(),
        "second_look": (part.created + 129_600).tolist(),
        **_votes(part, rng),
        **_writers(len(part), rng, prose),
    }


def _parents(part: Forest, thread: list[str], rng: np.random.Generator) -> list[str]:
    """``parent_id``: now and then the bare number that real dumps hold, or nothing."""
    top = part.parent < 0
    answered = base36(np.maximum(part.parent, 0))
    usual = [
        f'"t3_{post}"' if above else f'"t1_{comment}"'
        for above, post, comment in zip(top.tolist(), thread, answered, strict=True)
    ]
    draw = rng.random(len(part))
    numbers = np.where(top, part.thread, part.parent).astype(str).tolist()
    return _some(_some(usual, draw < 0.004, numbers), draw > 0.999, ["null"] * len(part))


def _votes(part: Forest, rng: np.random.Generator) -> dict[str, list]:
    """Scores with a heavy tail and some below zero, a few of them null; and what else is rare."""
    size = len(part)
    score = np.round(np.exp(rng.normal(0.6, 1.25, size))).astype(np.int64)
    score = np.where(rng.random(size) < 0.07, 1 - score, score)
    later, edit = (part.created + 300).tolist(), rng.random(size)
    edited = _some(["false"] * size, edit < 0.03, [str(second) for second in later])
    return {
        "score": _some(score.astype(str).tolist(), rng.random(size) < 0.003, ["null"] * size),
        "collapsed": _booleans(score < -5),
        "controversial": (rng.random(size) < 0.03).astype(np.int64).tolist(),
        "edited": _some(edited, edit < 0.01, [f"{second}.0" for second in later]),
        "submitter": _booleans(rng.random(size) < 0.08),
    }


def _writers(size: int, rng: np.random.Generator, prose: Prose) -> dict[str, list]:
    """Who wrote what: 7 % of the authors are deleted, some texts too, and some come from a bot."""
    fate = rng.random(size)
    number = (10 * size * rng.random(size) ** 3).astype(np.int64)
    gone, bot = fate < 0.07, (fate > 0.985)
    named = [f'"{prose.names[n % 9000]}_{n}"' for n in number.tolist()]
    body = _some(prose.bodies(size), fate < 0.065, [REMOVED] * size)
    body = _some(body, fate < 0.03, [DELETED] * size)
    body = _some(body, bot, [NOTICE] * size)
    null = ["null"] * size
    flaired = ~gone & (rng.random(size) < 0.25)
    flair = [f'"Flair {n % 50}"' for n in number.tolist()]
    parts = [f'[{{"e":"text","t":{text}}}]' for text in flair]
    fullname = [f'"t2_{name}"' for name in base36(number + 10**9)]
    return {
        "author": _some(_some(named, bot, ['"AutoModerator"'] * size), gone, [DELETED] * size),
        "fullname": _some(fullname, gone, null),
        "registered": _some((number + 1_300_000_000).tolist(), gone, null),
        "premium": _booleans(rng.random(size) > 0.95),
        "flair": _some(null, flaired, flair),
        "flair_parts": _some(["[]"] * size, flaired, parts),
        "flair_color": _some(null, flaired, ['"dark"'] * size),
        "flair_background": _some(null, flaired, ['""'] * size),
        "flair_type": _some(['"text"'] * size, flaired, ['"richtext"'] * size),
        "body": body,
        "sha1": [hashlib.sha1(text.encode()).hexdigest() for text in body],
        "distinguished": _some(null, bot, ['"moderator"'] * size),
        "stickied": _booleans(bot),
    }


def _some(usual: list, where: np.ndarray, other: list) -> list:
    """``usual``, with the values of ``other`` where ``where`` is true."""
    merged = list(usual)
    for place in np.flatnonzero(where).tolist():
        merged[place] = other[place]
    return merged


def _booleans(values: np.ndarray) -> list[str]:
    return ["true" if value else "false" for value in values.tolist()]


def main() -> None:
    """Write the files that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--comments", type=int, required=True, help="lines of each file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latest-days", type=float, default=LATEST_DAYS)
    asked = parser.parse_args()
    write(asked.paths, asked.comments, asked.seed, asked.latest_days)


if __name__ == "__main__":
    main()
