"""The recipe's section ``dumps``: which files, and whose lines never to keep."""

from karma.section import Section, how


class DumpsRecipe(Section):
    """Dump files and what is taken out of them."""

    comments: str | tuple[str, ...] | None = None
    """Dump files of comments: a path, a glob such as data/RC_*.zst, or a list of them; `world` is
    the simulator's."""
    submissions: str | tuple[str, ...] | None = None
    """Dump files of submissions, named in the same way."""
    removed: str | None = None
    """A text file with one user name a line. Lines of these authors are rejected with the reason
    'removed' and none of their text is kept. Its content, not its path, makes dumps stale."""
    bots: tuple[str, ...] = ()
    """Accounts that are programs, beside those of karma/dumps/bots.txt."""
    memory_mb: int = how(1024, ge=256)
    """What the database may use (MiB) beside the decoder's window; more than that goes to disk."""
