"""What every section of a recipe has in common: it cannot be changed and knows all its keys."""

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

Names = TypeVar("Names")

HOW: dict[str, JsonValue] = {"how": True}


def how(default: int, **bounds: Any) -> Any:
    """A field that says how a job runs, not what it makes (memory, checkpoints): part of no key."""
    return Field(default=default, json_schema_extra=HOW, **bounds)


class Section(BaseModel):
    """One frozen section of a recipe; an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    def result(self, *without: str) -> dict[str, Any]:
        """The settings that can change a result, as JSON, less the fields of these names."""
        document: dict[str, Any] = {}
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if name in without or info.json_schema_extra == HOW:
                continue
            if isinstance(value, Section):
                document[name] = value.result()
            else:
                document[name] = self.model_dump(mode="json", include={name})[name]
        return document

    def manner(self) -> dict[str, Any]:
        """The settings of how a job runs, as JSON."""
        names = {n for n, i in type(self).model_fields.items() if i.json_schema_extra == HOW}
        return self.model_dump(mode="json", include=names)


def one_model(model: str | None, revision: str | None, folder: str | None) -> None:
    """Raise ValueError unless exactly one of a hub model, at its full revision, and a folder is
    given: a name alone would mean other weights tomorrow."""
    if (model is None) == (folder is None):
        raise ValueError("give exactly one of model and folder")
    if model is None and revision is not None:
        raise ValueError("revision belongs to model, which is not given")
    if model is not None and not re.fullmatch(r"[0-9a-f]{40}", revision or ""):
        raise ValueError(
            "model needs revision, the 40 hex digits of a commit; karma pin RECIPE writes them"
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
