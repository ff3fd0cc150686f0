"""The recipe's section ``prompts``."""

from pydantic import Field, field_validator

from karma.prompts.hub import unpinned
from karma.section import Section


class RedditPrompts(Section):
    """Prompts cut from Reddit threads before a real reply."""

    count: int = Field(default=2000, ge=1)
    """How many prompts PPO gets, from the threads of the use ``ppo``."""

    test_count: int = Field(default=400, ge=1)
    """How many prompts are held out to evaluate replies, from the test threads."""


class UnexposedPrompts(Section):
    """Prompts cut from instruction dialogues, which are not Reddit's."""

    instructions: str = "world"
    """Where the dialogues come from: ``world`` (the simulator's), a file, or a data set of the hub
    with its full revision, ``name@<40 hex digits>``. Of ten dialogues about six are learned from by
    the starting policies and a base trained here, three give PPO's prompts, and one is held out for
    tests."""

    count: int = Field(default=2000, ge=1)
    """How many prompts PPO gets at most, one per dialogue."""

    test_count: int = Field(default=400, ge=1)
    """How many prompts are held out to evaluate replies."""

    @field_validator("instructions")
    @classmethod
    def _path_or_pinned(cls, where: str) -> str:
        if unpinned(where):
            raise ValueError(
                f"{where} looks like a data set of the hub without its full revision, which karma "
                f"pin RECIPE writes; if it is a file, write ./{where}"
            )
        return where


class PromptsRecipe(Section):
    """What the policies are asked, one sub-section per exposure."""

    reddit: RedditPrompts = RedditPrompts()
    """For policies that have read Reddit."""

    unexposed: UnexposedPrompts = UnexposedPrompts()
    """For policies that have not."""
