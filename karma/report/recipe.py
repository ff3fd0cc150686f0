"""The recipe's section ``report``."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from karma.section import Section, distinct


class ReportRecipe(Section):
    """Which results the report leads with, and how sure it has to be of them."""

    primary: Annotated[Literal["pragmatics"] | tuple[str, ...], AfterValidator(distinct)] = (
        "pragmatics"
    )
    """The benchmarks whose differences are the study's question: names, or `pragmatics` for all of
    that kind. Together with the comparisons they are the family that p-values are corrected over;
    everything else is a side effect, shown with its interval and without a correction."""

    family: Literal["holm"] = "holm"
    """How p-values are corrected within the family: Holm's step-down method."""

    resamples: int = Field(default=2000, ge=100)
    """Bootstrap resamples and random sign flips behind each interval and p-value."""

    samples: int = Field(default=4, ge=0)
    """Prompts whose replies by every model are shown side by side."""
