"""The recipe's section ``dumps``: which files, and whose lines never to keep."""

from pathlib import Path

from karma.dumps.columns import CsvRecipe
from karma.section import Section, how

KINDS = ("comments", "submissions")
CORPUS = "corpus"
# What a ConvoKit corpus is read from: the first that is there, of each.
UTTERANCES = ("utterances.jsonl", "utterances.json")
CONVERSATIONS = ("conversations.json", "conversations.jsonl")


class DumpsRecipe(Section):
    """Dump files and what is taken out of them."""

    comments: str | tuple[str, ...] | None = None
    """Dump files of comments: a path, a glob such as data/RC_*.zst, or a list of them; `world` is
    the simulator's."""
    submissions: str | tuple[str, ...] | None = None
    """Dump files of submissions, named in the same way."""
    corpora: str | tuple[str, ...] | None = None
    """ConvoKit corpora: a folder that holds utterances.jsonl, a glob, or a list of them."""
    csv: CsvRecipe = CsvRecipe()
    """Which columns hold what, in the files that are CSV."""
    removed: str | None = None
    """A text file with one user name a line. Lines of these authors are rejected with the reason
    'removed' and none of their text is kept. Its content, not its path, makes dumps stale."""
    bots: tuple[str, ...] = ()
    """Accounts that are programs, beside those of karma/dumps/bots.txt."""
    memory_mb: int = how(1024, ge=256)
    """What a job may use (MiB), about, beside the decoder's window."""


def corpus_files(folder: Path) -> tuple[Path, ...]:
    """The files of a ConvoKit corpus that are read, utterances first; none if it has none."""
    found = []
    for names in (UTTERANCES, CONVERSATIONS):
        there = [folder / name for name in names if (folder / name).is_file()]
        found += there[:1]
    return tuple(found) if found and found[0].name in UTTERANCES else ()
