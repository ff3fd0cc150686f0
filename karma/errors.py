"""What can go wrong, in words for the person who reads it.

A ``UserError`` is the user's to mend: it is shown as one message that names the thing, the reason
and the next step, and ends the command with exit code 2, wherever in the pipeline it was found.
"""

# Characters of another library's words that a message holds.
LONGEST_REASON = 300


def words(error: BaseException) -> str:
    """What a library says of its error, on one line; the error's type if it says nothing."""
    told = " ".join(str(error).split()).rstrip(".:") or type(error).__name__
    return told if len(told) <= LONGEST_REASON else f"{told[:LONGEST_REASON].rstrip()} ..."


class UserError(Exception):
    """The user's input is wrong: one message, no traceback, exit code 2."""

    def __init__(self, thing: str, reason: str, next_step: str) -> None:
        stop = "" if reason.endswith("?") else "."
        super().__init__(f"{thing}: {reason}{stop} {next_step}")


class RecipeError(UserError):
    """The recipe, or an option that changes it, cannot be used."""


class InputError(UserError):
    """A file that the recipe names is missing, unreadable, or not what it should be."""


class WorkspaceError(UserError):
    """The workspace cannot be read or written."""


class SharedStoreError(UserError):
    """The store that several machines share cannot be reached, read or written."""


class ToldError(UserError):
    """A user's mistake that another process found, already in words."""

    def __init__(self, message: str) -> None:
        Exception.__init__(self, message)


class CheckError(Exception):
    """A result contradicts what must hold of it: a check in ``sql/checks``, an account of lines."""


class StageError(Exception):
    """A stage failed; the message is the stage's own last words."""


class BusyError(Exception):
    """Another run is at an instance, and this one is not to wait for it."""
