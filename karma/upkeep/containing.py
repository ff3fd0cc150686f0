"""Every artefact that comes from the rows of an author or a thread, for a request to remove them.

    dumps ── whose Parquet holds such a row ─► the ranges of thread ids it lies in
    threads/<range> ── one of those ranges, read from such a dump, or its own rows hold it
    everything else ── by its lineage: one of its inputs is among them

A dump keeps user names hashed with ``KARMA_SALT``, so the name is hashed in the same way. A range
that only left out a near-duplicate of such a row is not found; rejected lines hold no names to look
for.
"""

import hmac
import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from karma.dumps.privacy import SIMULATED_SALT, salt
from karma.errors import InputError
from karma.inputs import salt_mark
from karma.upkeep.holdings import Holdings, Item
from karma.upkeep.needed import Record

# As Reddit writes them: u/name, /u/name, t3_id.
PARTS = re.compile(r"(/?u/|t3_)?(.*)", re.IGNORECASE | re.DOTALL)
HASH = re.compile(r"[0-9a-f]{32}")  # as sql/dumps/keyed makes them
HOLDS, MADE_FROM = "holds", "made from"


@dataclass(frozen=True)
class Sought:
    """What a row is compared with."""

    authors: list[str]
    """Hashed names."""
    profiles: list[str]
    """The subreddits of their profiles."""
    threads: list[str]
    """Ids in base 36, without ``t3_``."""


def sought(name: str, salts: list[str], say: Callable[[str], None]) -> Sought:
    """``u/NAME`` or a hashed name, ``t3_ID``, or a word that may be either.

    ``salts`` are the marks of those that the real dumps were made with. Raises InputError if
    nothing is named, or if there is no salt to hash a name with, or one that no dump was made with.
    """
    found = PARTS.fullmatch(name.strip())
    assert found is not None, "it takes any text"
    kind, word = found.groups()
    if not word:
        raise InputError(
            f"--containing {name!r}", "it names nobody", "Write u/NAME or t3_ID, as Reddit does."
        )
    if (kind or "").lower() == "t3_":
        return Sought([], [], [word.lower()])
    author, threads = word, [] if kind else [word.lower()]
    authors = [author] if HASH.fullmatch(author) else []
    if salts and not authors:
        others = sum(mark != salt_mark() for mark in salts)
        if others == len(salts):
            raise InputError(
                "KARMA_SALT",
                "no dump here was made with it, so it finds no name",
                "Set the salt that the dumps were made with.",
            )
        if others:
            say(f"{others} of {len(salts)} dumps have another salt: no name is found in those")
        authors.append(_keyed(author, salt(simulated=False)))
    authors.append(_keyed(author, SIMULATED_SALT))
    return Sought(authors, [f"u_{author}" for author in authors], threads)


def _keyed(name: str, key: bytes) -> str:
    return hmac.new(key, name.lower().encode(), "sha256").hexdigest()[:32]


def find(holdings: Holdings, name: str, say: Callable[[str], None]) -> list[Item]:
    """The artefacts that hold such rows or are made from them, needed or not.

    Raises InputError if it cannot be looked for: no dumps, no salt, or one that no dump was made
    with. Where some dumps were made with another, that is told.
    """
    dumps = [record for record in holdings.records if record["stage"] == "dumps"]
    if not dumps:
        raise InputError(holdings.place, "it holds no dumps", "Check --workspace and --store.")
    configs = [record["fingerprint"]["config"] for record in dumps]
    real = [config for config in configs if not config["simulated"]]
    look = Look(holdings, sought(name, [config["salt"] for config in real], say))
    found = {id(record): HOLDS for record in dumps if look.ranges(record["digest"])}
    digests = {record["digest"] for record in dumps if id(record) in found}
    waiting = [record for record in holdings.records if id(record) not in found]
    while True:
        more = {id(r): how for r in waiting if (how := _how(r, digests, look))}
        if not more:
            return holdings.items(found)
        found |= more
        digests |= {record["digest"] for record in waiting if id(record) in more}
        waiting = [record for record in waiting if id(record) not in more]


def _how(record: Record, digests: set[str], look: "Look") -> str:
    """How an artefact comes from the rows, if it does; ``digests`` are those known to."""
    inputs = set(record["fingerprint"]["input"].values())
    name = record["fingerprint"]["config"].get("range")
    if record["stage"] != "threads" or name is None:
        return MADE_FROM if inputs & digests else ""
    if look.holds(record["digest"]):
        return HOLDS
    return MADE_FROM if any(name in look.ranges(d) for d in inputs & digests) else ""


class Look:
    """Looks for rows in the Parquet of artefacts, once each; where files are gone it finds none."""

    def __init__(self, holdings: Holdings, what: Sought) -> None:
        self._holdings = holdings
        self._what = asdict(what)
        self._ranges: dict[str, set[str]] = {}
        self._holds: dict[str, bool] = {}

    def ranges(self, digest: str) -> set[str]:
        """The ranges of thread ids in which a dump holds rows."""
        if digest not in self._ranges:
            rows = [*self._rows(digest, "comments"), *self._rows(digest, "submissions")]
            self._ranges[digest] = {row[0] for row in rows}
        return self._ranges[digest]

    def holds(self, digest: str) -> bool:
        """Whether conversations of a range are by the author or of the thread."""
        if digest not in self._holds:
            self._holds[digest] = any(row[0] for row in self._rows(digest, "conversations"))
        return self._holds[digest]

    def _rows(self, digest: str, name: str) -> list[tuple[Any, ...]]:
        from karma import sql

        with (
            self._holdings.file(digest, f"{name}.parquet") as file,
            tempfile.TemporaryDirectory() as temp,
        ):
            if file is None:
                return []
            connection = sql.connect([file.parent], Path(temp))
            statement = sql.statement(f"upkeep/{name}")
            rows = connection.execute(statement, {"file": sql.plain(file), **self._what}).fetchall()
            connection.close()
        return rows
