"""The recipe's section ``threads``: what a conversation holds, which replies count, who learns."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from karma.section import Chosen, Section, how

# The ISO 639-1 codes of all languages that the filter can tell (karma/threads/language.py).
_CODES = """
    af am an ar as az ba be bg bn br bs ca cs cy da de dz el en eo es et eu fa fi fo fr fy ga gd gl
    gu ha he hi hr ht hu hy id ig is it ja jv ka kk km kn ko ku ky la lb lg ln lo lt lv mg mk ml mn
    mr ms mt my ne nl nn no oc om or pa pl ps pt qu ro ru rw sa se si sk sl sn so sq sr st sv sw ta
    te tg th tk tl tr tt ug uk ur uz vi vo wa xh yo zh zu
"""
LANGUAGES = tuple(_CODES.split())
Languages = Literal["all"] | tuple[str, ...]


class SplitShares(Section):
    """Which share of the threads is held out; the rest is for training."""

    validation: float = Field(default=0.05, gt=0, lt=1)
    """For fitting nothing but choices."""
    test: float = Field(default=0.10, gt=0, lt=1)
    """For evaluation only."""

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together must stay below 1")
        return self


class UseShares(Section):
    """How the training threads are shared out; weights, made to sum to 1."""

    sft: float = Field(default=0.30, ge=0)
    """For fine-tuning the exposed starting policy."""
    reward: float = Field(default=0.40, ge=0)
    """For the reward models that PPO optimises."""
    gold: float = Field(default=0.15, ge=0)
    """For a second reward model that nobody optimises."""
    ppo: float = Field(default=0.15, ge=0)
    """For the prompts of PPO."""

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if self.sft + self.reward + self.gold + self.ppo <= 0:
            raise ValueError("at least one use must have a share above 0")
        return self


class ThreadsRecipe(Section):
    """Conversations: their context, the replies that count, and the splits."""

    width: int = Field(default=200_000, ge=1)
    """Thread ids per range (their decimal values). A range is built at a time: 200,000 threads of
    recent years hold about 1.5 million comments and want about 2 GiB."""
    turns: int = Field(default=8, ge=1)
    """At most so many comments stand before a reply, the nearest ones."""
    post: bool = True
    """Whether a context begins with the post's title and text."""
    orphans: Literal["drop", "keep"] = "drop"
    """Replies whose chain of comments is broken: dropped, or kept with what there is of it (their
    depth is unknown then). A chain that runs in a circle has no beginning and is always dropped."""
    deleted: str = Field(default="[deleted]", min_length=1)
    """What stands in a context for a comment or title that was deleted or removed. Such a comment
    is never a reply."""
    subreddits: Chosen = "all"
    """The subreddits to take, or all."""
    exclude_subreddits: tuple[str, ...] = ()
    """Subreddits to leave out."""
    min_age_hours: float = Field(default=36, ge=0)
    """A reply counts if its score was read at least so long after it was written; replies of
    unknown age pass, counted."""
    bots: Literal["drop", "keep"] = "drop"
    """Replies of accounts that are programs. In contexts they stay."""
    stickied: Literal["drop", "keep"] = "drop"
    """Replies that moderators pinned. In contexts they stay."""
    over_18: Literal["drop", "keep"] = "drop"
    """Replies under posts for adults; a post that is missing passes."""
    min_chars: int = Field(default=2, ge=1)
    """Shorter replies are dropped."""
    max_chars: int = Field(default=2000, ge=1)
    """Longer replies are dropped."""
    languages: Languages = "all"
    """The languages to take (ISO 639-1 codes, such as en), or all; a reply that is too short to
    tell passes, counted. Contexts stay as they are."""
    duplicate_chars: int | None = Field(default=100, ge=1)
    """Replies of at least so many characters that nearly say what an earlier comment says in a
    thread of another split or use are dropped. Shorter ones are what everybody says. Null: nothing
    is dropped."""
    split: SplitShares = SplitShares()
    """Which threads are held out."""
    uses: UseShares = UseShares()
    """What the training threads are used for."""
    memory_mb: int = how(2048, ge=256)
    """What a job may use (MiB), about; more than that goes to disk."""

    @model_validator(mode="after")
    def _some_length_is_left(self) -> Self:
        if self.min_chars > self.max_chars:
            raise ValueError(f"min_chars ({self.min_chars}) exceeds max_chars ({self.max_chars})")
        return self

    @field_validator("languages", mode="before")
    @classmethod
    def _yaml_takes_no_for_false(cls, languages: Any) -> Any:
        if isinstance(languages, list | tuple) and False in languages:
            raise ValueError('holds false, which is what YAML makes of no: write "no" in quotes')
        return languages

    @field_validator("languages")
    @classmethod
    def _languages_can_be_told(cls, languages: Languages) -> Languages:
        if languages == "all":
            return languages
        for code in languages:
            if code not in LANGUAGES:
                raise ValueError(f"knows no {code!r}: write ISO 639-1 codes, such as en, de, pt")
        if not languages:
            raise ValueError("names no language: name one, or write all")
        return languages
