"""A recipe's name is its file's, without the ending: under it a workspace keeps what the recipe
last made. Two files of one name would take that from each other."""

from pathlib import Path

from karma.errors import RecipeError
from karma.store import Store, write_atomically


def take(store: Store, recipe: Path) -> None:
    """Note whose name it is. Raises RecipeError if it is that of another file that differs."""
    note = store.root / "names" / recipe.stem / "path"
    known = Path(note.read_text(encoding="utf-8")) if note.is_file() else None
    here = recipe.absolute()
    if known == here:
        return
    if known is not None and known.is_file() and known.read_bytes() != here.read_bytes():
        raise RecipeError(
            f"recipe {recipe}",
            f"{recipe.stem} is the name of {known} in this workspace",
            "Rename one of the two files, or give this one a workspace of its own (--workspace).",
        )
    write_atomically(note, str(here).encode())
