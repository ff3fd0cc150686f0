"""A step whose numbers are not numbers is skipped and counted; three in a row end the run."""

from karma.errors import StageError

LIMIT = 3


class NotFiniteError(Exception):
    """A number that training rests on is NaN or infinite; the message names it."""


class Skips:
    """Counts skipped steps, in all and in a row."""

    def __init__(self, total: int = 0, row: int = 0) -> None:
        self.total = total
        self.row = row

    def skipped(self, step: int, error: NotFiniteError) -> None:
        """Count ``step`` as skipped and say why."""
        self.total += 1
        self.row += 1
        print(f"policy: step {step} is skipped: {error}", flush=True)

    def learned(self) -> None:
        """A step went well: what follows is no longer in a row with what was before."""
        self.row = 0

    @property
    def too_many(self) -> bool:
        """Whether the run must end."""
        return self.row >= LIMIT

    def end(self, step: int, error: NotFiniteError) -> StageError:
        """The error that ends the run."""
        return StageError(
            f"{LIMIT} steps in a row were skipped, the last was step {step}: {error}; "
            "lower policy.lr, or look at the reward model"
        )
