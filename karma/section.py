"""What every section of a recipe has in common: it cannot be changed and knows all its keys."""

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict

Names = TypeVar("Names")


class Section(BaseModel):
    """One frozen section of a recipe; an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


def distinct(names: Names) -> Names:
    """``names`` as they are. Raises ValueError for a tuple that is empty or holds something twice.

    Anything else, such as the word ``all``, passes.
    """
    if isinstance(names, tuple):
        if not names:
            raise ValueError("the list is empty; name at least 1")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is named twice")
    return names


Chosen = Annotated[Literal["all"] | tuple[str, ...], AfterValidator(distinct)]
"""Names, or all that there are."""
