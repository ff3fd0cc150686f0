"""The recipe's section ``dumps.csv``: which column of a CSV file holds which field of a dump."""

from datetime import datetime
from pathlib import Path

from pydantic import Field

from karma.section import Section

COMPRESSED = (".zst", ".bz2", ".gz", ".xz")
SEPARATORS = {".csv": b",", ".tsv": b"\t"}


class Columns(Section):
    """Fields that comments and submissions share; each names a column of the header."""

    id: str
    """The id in base 36, with or without t1_ or t3_."""
    created_utc: str
    """When it was written: seconds since 1970, or ISO 8601 with date and time (2025-09-30
    16:28:48+00:00); without an offset it is UTC."""
    author: str | None = None
    """The user name; an empty cell is a deleted author."""
    subreddit: str | None = None
    """The subreddit's name, without r/."""
    score: str | None = None
    """The karma, a whole number."""
    retrieved_on: str | None = None
    """When the score was read, written like created_utc."""
    edited: str | None = None
    """False, or anything else."""
    stickied: str | None = None
    """Whether a moderator pinned it: true or false."""
    distinguished: str | None = None
    """In what office its author speaks; empty for none."""
    over_18: str | None = None
    """Whether it is for adults: true or false."""


class CommentColumns(Columns):
    """The columns of comments."""

    link_id: str
    """The id of the post, with or without t3_."""
    parent_id: str
    """The id of what is answered. Without t1_ or t3_ it is the post if it equals link_id, and a
    comment otherwise."""
    body: str
    """The text."""


class SubmissionColumns(Columns):
    """The columns of submissions."""

    title: str
    """The title."""
    selftext: str | None = None
    """The text below the title."""


class Constants(Section):
    """What is the same for all rows and has no column; a mapped column goes before it."""

    subreddit: str | None = None
    """The subreddit's name."""
    retrieved_on: datetime | None = None
    """When the scores were read; without it their age is unknown."""


class TableMap(Section):
    """The map of one kind of CSV file, as it enters the key of what is made of one."""

    columns: dict[str, str]
    """Field to column."""
    constants: dict[str, str]
    """Field to value, for fields without a column."""


class CsvRecipe(Section):
    """Column maps, one for each kind of CSV file."""

    comments: CommentColumns | None = None
    """Field to column, for the CSV files that dumps.comments names."""
    submissions: SubmissionColumns | None = None
    """Field to column, for the CSV files that dumps.submissions names."""
    constants: Constants = Field(default=Constants())
    """Values for fields that no column holds."""

    def table(self, kind: str) -> TableMap | None:
        """What is known of the CSV files of ``kind``; None if the recipe has no map for them."""
        mapped = self.comments if kind == "comments" else self.submissions
        if mapped is None:
            return None
        columns = mapped.model_dump(exclude_none=True)
        constants = self.constants.model_dump(mode="json", exclude_none=True)
        return TableMap(
            columns=columns,
            constants={field: v for field, v in constants.items() if field not in columns},
        )


def separator(name: str) -> bytes | None:
    """What separates the fields of a CSV file with this name; None if the name is no such file's.

    A compression's suffix does not count.
    """
    path = Path(name)
    bare = path.stem if path.suffix in COMPRESSED else path.name
    return SEPARATORS.get(Path(bare).suffix)
