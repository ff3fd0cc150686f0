"""The job ``dumps/<name>``: a dump file or corpus in; rows, rejected lines and a profile out.

Decoding runs in this thread, parsing in a few others; their parts are taken in the file's order, so
that the result is the same bytes whatever their timing.
"""

import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from karma import sql
from karma.dumps import decode, formats
from karma.dumps.ingest import Part, Staging
from karma.dumps.lines import LongLine, Reject
from karma.dumps.quarantine import REMOVED, TOO_LONG, Quarantine
from karma.dumps.recipe import CORPUS, DumpsRecipe
from karma.errors import CheckError, InputError
from karma.jobs import Job, write_json

BOTS = Path(__file__).with_name("bots.txt")
MACROS = (
    "integral",
    "instant",
    "bare_id",
    "parent_name",
    "decimal_id",
    "keyed",
    "range_name",
    "names_table",
)
PARSERS = 2
# So many lines without a single usable one: this is no dump, and reading on would help nobody.
HOPELESS = 100_000


@dataclass
class Account:
    """What became of every line so far."""

    lines: int = 0
    rows: int = 0
    blank: int = 0
    parts: list[Path] = field(default_factory=list)


def run(job: Job) -> None:
    """Turn ``job.inputs["file"]`` into the files that the stage promises.

    Raises InputError if the file is missing, unreadable, damaged, cut short or no dump, and
    CheckError if the account of its lines does not add up.
    """
    recipe = DumpsRecipe.model_validate(job.config["dumps"])
    file, kind = job.inputs["file"], job.config["kind"]
    removed = _names(job.inputs["removed"]) if "removed" in job.inputs else frozenset()
    work = job.scratch / "parts"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    connection = sql.connect([work, job.out], job.scratch, memory_mb=recipe.memory_mb)
    for name in MACROS:
        connection.execute(sql.statement(f"dumps/{name}"))
    bots = _names(BOTS) | {name.lower() for name in recipe.bots}
    for group, names in (("bots", bots), ("removed", removed)):
        parameters = {"kind": group, "names": sorted(names)}
        connection.execute(sql.statement("dumps/names"), parameters)
    staging, facts = formats.stagings(connection, file, job.config, work)
    with Quarantine(job.out / "rejects.parquet", file.name, removed) as quarantine:
        account = _read(job, connection, staging, work, quarantine)
    rejected = sum(quarantine.reasons.values())
    if account.lines != account.rows + rejected + account.blank:
        raise CheckError(f"{file.name}: {account} and {rejected} rejected lines do not add up")
    _require_rows(file, kind, account, quarantine.reasons)
    profile = {
        "file": file.name,
        "kind": kind,
        "lines": account.lines,
        "rows": account.rows,
        "rejected": rejected,
        "blank": account.blank,
        "reasons": quarantine.reasons,
        **facts,
        **_write(job, connection, account),
    }
    write_json(job.out / "profile.json", profile)
    numbers = {name: profile[name] for name in ("lines", "rows", "rejected", "blank")}
    write_json(job.out / "metrics.json", numbers)
    connection.close()
    shutil.rmtree(work)
    print(f"{file.name}: {numbers}, {len(profile['ranges'])} ranges of thread ids")


def _names(path: Path) -> frozenset[str]:
    """The names of a list, one a line, in lower case; ``#`` begins a comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = f"the list of names cannot be read ({error})"
        raise InputError(str(path), reason, "Give a text file with one name a line.") from None
    names = (line.strip().removeprefix("u/").lower() for line in lines)
    return frozenset(name for name in names if name and not name.startswith("#"))


def _read(
    job: Job,
    connection: duckdb.DuckDBPyConnection,
    staging: dict[str, Staging],
    work: Path,
    quarantine: Quarantine,
) -> Account:
    """Decode, cut, parse; at most ``PARSERS`` chunks wait, so that memory stays flat."""
    kind = job.config["kind"]
    file = formats.file_of(job.inputs["file"], kind)
    account = Account()
    waiting: deque[Future[Part]] = deque()
    with ThreadPoolExecutor(PARSERS) as pool:
        for piece in formats.pieces(file, _blocks(job, file), job.config):
            if isinstance(piece, LongLine):
                waiting.append(pool.submit(_long, piece))
            else:
                part = work / f"{piece.line:012}.parquet"
                cursor = connection.cursor()
                waiting.append(pool.submit(formats.ingest_kinds, cursor, staging, piece, part))
            if len(waiting) > PARSERS:
                _take(account, quarantine, waiting.popleft().result())
                if not account.rows and account.lines > HOPELESS:
                    _require_rows(file, kind, account, quarantine.reasons)
        while waiting:
            _take(account, quarantine, waiting.popleft().result())
    return account


def _blocks(job: Job, file: Path) -> Iterator[bytes]:
    """The decompressed blocks of ``file``, with the progress in bytes of the file."""
    size = 0
    for done, block in decode.blocks(file):
        size = size or file.stat().st_size
        job.progress(done, size, "bytes")
        yield block


def _long(line: LongLine) -> Part:
    """A line that is too long to look at, as a part of its own."""
    reject = Reject(line.line, line.offset, TOO_LONG, line.head)
    return Part(Path(), 1, rejects=[reject])


def _take(account: Account, quarantine: Quarantine, part: Part) -> None:
    """Enter one part, which must come in the file's order."""
    account.lines += part.lines
    account.rows += part.rows
    account.blank += part.blank
    for reject in part.rejects:
        quarantine.add(reject)
    if part.rows:
        account.parts.append(part.path)


def _require_rows(file: Path, kind: str, account: Account, reasons: dict[str, int]) -> None:
    """Raise InputError if no line of the file is a row of Reddit's."""
    if account.rows or REMOVED in reasons:
        return
    what = "corpus" if kind == CORPUS else f"dump of {kind}"
    why = ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items()))
    raise InputError(
        str(file),
        f"is no Reddit {what}: none of its {account.lines} lines could be used "
        f"({why or 'all are blank'})",
        f"Check what {formats.section(kind)} of the recipe names.",
    )


def _write(job: Job, connection: duckdb.DuckDBPyConnection, account: Account) -> dict[str, Any]:
    """Join the parts into the final files, one a kind; returns the rest of the profile."""
    source = job.config["kind"]
    if not account.parts:
        raise InputError(
            str(job.inputs["file"]),
            "every usable line is by an author of the removal list",
            f"Leave it out of {formats.section(source)}.",
        )
    kinds = formats.kinds(source)
    rows, ranges, lost = zip(
        *(_join(job, connection, kind, account.parts) for kind in kinds), strict=True
    )
    if sum(rows) != account.rows:
        raise CheckError(f"{rows} rows of {kinds} written, {account.rows} expected")
    counts = dict(zip(kinds, rows, strict=True)) if len(kinds) > 1 else {}
    return {**counts, "ranges": _added(ranges), "unconverted": _added(lost)}


def _join(
    job: Job, connection: duckdb.DuckDBPyConnection, kind: str, paths: list[Path]
) -> tuple[int, dict[str, int], dict[str, int]]:
    """Join the parts of one kind; the rows, those of each range, and what did not convert."""
    out = job.out / f"{kind}.parquet"
    parts = [sql.plain(formats.part_of(path, kind)) for path in paths]
    parameters = {"parts": parts, "out": sql.plain(out), "width": job.config["width"]}
    written = connection.execute(sql.statement(f"dumps/{kind}"), parameters).fetchone()
    ranges = connection.execute(sql.statement("dumps/ranges"), {"file": sql.plain(out)}).fetchall()
    lost = connection.execute(sql.statement("dumps/unconverted"), {"parts": parts}).fetchone()
    assert written is not None
    assert lost is not None
    names = ("score", "parent_id", "retrieved_on")
    return int(written[0]), dict(ranges), dict(zip(names, lost, strict=True))


def _added(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """The sums of counts that have the same names."""
    total: dict[str, int] = {}
    for one in counts:
        for name, count in one.items():
            total[name] = total.get(name, 0) + count
    return total
