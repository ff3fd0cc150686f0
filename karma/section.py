"""What every section of a recipe has in common: it cannot be changed and knows all its keys."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """One frozen section of a recipe; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
