"""The job ``dumps/<name>``: a dump file or corpus in; rows, rejected lines and a profile out.

Decoding runs in this thread, parsing in a few others; their parts are taken in the file's order, so
that the result is the same bytes whatever their timing.
"""

from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path

import duckdb
import pyarrow as pa

from karma import sql
from karma.dumps import decode, formats
from karma.dumps.batches import batches
from karma.dumps.ingest import Part, Staging
from karma.dumps.lines import LongLine, Reject
from karma.dumps.quarantine import REMOVED, TOO_LONG, Quarantine
from karma.dumps.recipe import CORPUS, DumpsRecipe
from karma.dumps.rows import RowWriter
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
    "time_within",
    "score_within",
    "names_table",
)
PARSERS = 1
# So many lines without a single usable one: this is no dump, and reading on would help nobody.
HOPELESS = 100_000


@dataclass
class Account:
    """What became of every line so far."""

    lines: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    blank: int = 0
    lost: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """The rows of all kinds."""
        return self.kinds.total()


def run(job: Job) -> None:
    """Turn ``job.inputs["file"]`` into the files that the stage promises.

    Raises InputError if the file is missing, unreadable, damaged, cut short or no dump, and
    CheckError if the account of its lines does not add up.
    """
    recipe = DumpsRecipe.model_validate(job.config["dumps"])
    file, name, kind = job.inputs["file"], job.config["name"], job.config["kind"]
    removed = _names(job.inputs["removed"]) if "removed" in job.inputs else frozenset()
    job.scratch.mkdir(parents=True, exist_ok=True)
    # The others keep much of what is given back to them.
    pa.set_memory_pool(pa.system_memory_pool())
    connection = sql.connect([], job.scratch, memory_mb=recipe.memory_mb)
    for macro in MACROS:
        connection.execute(sql.statement(f"dumps/{macro}"))
    bots = _names(BOTS) | {bot.lower() for bot in recipe.bots}
    for group, names in (("bots", bots), ("removed", removed)):
        listed = {"kind": group, "names": sorted(names)}
        connection.execute(sql.statement("dumps/names"), listed)
    stagings, facts = formats.stagings(connection, file, job.config, job.scratch)
    writers = {staging.kind: RowWriter(job.out / f"{staging.kind}.parquet") for staging in stagings}
    with ExitStack() as stack:
        quarantine = stack.enter_context(Quarantine(job.out / "rejects.parquet", name, removed))
        for writer in writers.values():
            stack.enter_context(writer)
        account = _read(job, connection, stagings, quarantine, writers)
    rejected = sum(quarantine.reasons.values())
    if account.lines != account.rows + rejected + account.blank:
        raise CheckError(f"{name}: {account} and {rejected} rejected lines do not add up")
    _require_rows(file, kind, account, quarantine.reasons)
    profile = {
        "file": name,
        "kind": kind,
        "lines": account.lines,
        "rows": account.rows,
        "rejected": rejected,
        "blank": account.blank,
        "reasons": quarantine.reasons,
        **facts,
        **({part: account.kinds[part] for part in writers} if kind == CORPUS else {}),
        "ranges": sum((Counter(writer.ranges) for writer in writers.values()), Counter()),
        "months": _months(sum((writer.days for writer in writers.values()), Counter())),
        "unconverted": dict(account.lost),
    }
    write_json(job.out / "profile.json", profile)
    numbers = {count: profile[count] for count in ("lines", "rows", "rejected", "blank")}
    write_json(job.out / "metrics.json", numbers)
    connection.close()
    print(f"{name}: {numbers}, {len(profile['ranges'])} ranges of thread ids")


def _months(days: Counter[int]) -> list[str]:
    """The first and the last month, of ``days`` as RowWriter counts them.

    Months in a row count if they hold a hundredth of the rows of the largest month together: a few
    wrong clocks in a dump of one month make it no dump of many, and a small beginning is one.
    """
    months: Counter[int] = Counter()
    for day, rows in days.items():
        when = date(1970, 1, 1) + timedelta(days=day)
        months[12 * when.year + when.month - 1] += rows
    held: list[int] = []
    for _, places in groupby(enumerate(sorted(months)), lambda place: place[1] - place[0]):
        row = [month for _, month in places]
        if sum(months[month] for month in row) * 100 >= max(months.values()):
            held += row
    return [f"{month // 12}-{month % 12 + 1:02}" for month in (held[0], held[-1])]


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
    stagings: list[Staging],
    quarantine: Quarantine,
    writers: dict[str, RowWriter],
) -> Account:
    """Decode, cut, parse; at most ``PARSERS`` batches wait, so that memory stays flat."""
    kind = job.config["kind"]
    file = formats.file_of(job.inputs["file"], kind)
    account = Account()
    waiting: deque[Future[Part]] = deque()
    with ThreadPoolExecutor(PARSERS) as pool:
        pieces = formats.pieces(file, _blocks(job, file), job.config)
        for piece in batches(pieces, job.scratch):
            if isinstance(piece, LongLine):
                waiting.append(pool.submit(_long, piece))
            else:
                cursor = connection.cursor()
                waiting.append(pool.submit(formats.ingest_kinds, cursor, stagings, piece))
            if len(waiting) > PARSERS:
                _take(account, quarantine, writers, waiting.popleft().result())
                if not account.rows and account.lines > HOPELESS:
                    _require_rows(file, kind, account, quarantine.reasons)
        while waiting:
            _take(account, quarantine, writers, waiting.popleft().result())
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
    return Part(1, rejects=[reject])


def _take(
    account: Account, quarantine: Quarantine, writers: dict[str, RowWriter], part: Part
) -> None:
    """Enter one part, which must come in the file's order."""
    account.lines += part.lines
    account.blank += part.blank
    account.lost.update(part.lost)
    for reject in part.rejects:
        quarantine.add(reject)
    for kind, rows in part.rows.items():
        account.kinds[kind] += rows.num_rows
        writers[kind].add(rows)


def _require_rows(file: Path, kind: str, account: Account, reasons: dict[str, int]) -> None:
    """Raise InputError if no line of the file is a row of Reddit's."""
    if account.rows:
        return
    if REMOVED in reasons:
        raise InputError(
            str(file),
            "every usable line is by an author of the removal list",
            f"Leave it out of {formats.section(kind)}.",
        )
    what = "corpus" if kind == CORPUS else f"dump of {kind}"
    why = ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items()))
    raise InputError(
        str(file),
        f"is no Reddit {what}: none of its {account.lines} lines could be used "
        f"({why or 'all are blank'})",
        f"Check what {formats.section(kind)} of the recipe names.",
    )
