"""The recipe's section ``labels``."""

from itertools import pairwise
from typing import Literal

from pydantic import Field, field_validator

from karma.section import Section

SECONDS_PER_HOUR = 3600


class ValuationRecipe(Section):
    """Karma as a percentile in [0, 1], and as one of 8 levels of endorsement."""

    within: tuple[Literal["subreddit", "age"], ...] = ("subreddit", "age")
    """What a reply is compared within: its subreddit, its age when the score was read, or both."""

    age_hours: tuple[float, ...] = (1.0, 6.0, 24.0, 36.0, 72.0, 168.0, 720.0)
    """The bounds between age bins, in hours, ascending; an unknown age is a bin of its own."""

    min_group: int = Field(default=50, ge=1)
    """The fewest training replies of a group; a smaller one is valued within its subreddit, and
    that failing among all replies."""

    @property
    def age_bounds(self) -> list[int]:
        """The bounds between age bins, in seconds."""
        return [round(hours * SECONDS_PER_HOUR) for hours in self.age_hours]

    @field_validator("age_hours")
    @classmethod
    def _ascending(cls, hours: tuple[float, ...]) -> tuple[float, ...]:
        if any(later <= earlier for earlier, later in pairwise(hours)):
            raise ValueError("must rise from each bound to the next")
        return hours


class PairsRecipe(Section):
    """Two replies to the same parent, one preferred by its score."""

    min_margin: int = Field(default=2, ge=1)
    """The smallest difference of scores between preferred and rejected."""

    min_ratio: float | None = Field(default=None, ge=1.0)
    """The smallest ratio of scores, the rejected one's counted as at least 1; null asks none."""

    later_preferred: bool = True
    """Only pairs whose preferred reply is not the earlier one, so that its higher score cannot come
    from the longer time it was seen (as in the Stanford Human Preferences data). A reward that sees
    `delay` then learns from pairs that later is better."""

    siblings: int = Field(default=10, ge=2)
    """How many replies to one parent are compared, chosen by a hash of their ids."""

    per_parent: int = Field(default=5, ge=1)
    """How many pairs one parent gives, chosen by a hash of their ids."""


class LabelsRecipe(Section):
    """What the reward models learn from."""

    valuation: ValuationRecipe = ValuationRecipe()
    """The value of each reply."""

    pairs: PairsRecipe = PairsRecipe()
    """The preferences between siblings."""
