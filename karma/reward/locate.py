"""Which reward model a name means: a folder, or an instance of a workspace."""

from pathlib import Path

from karma.errors import InputError
from karma.store import Store


def locate(name: str, store: Store) -> Path:
    """The folder of the reward model ``name``.

    ``name`` is a folder that holds ``reward.json`` (an artefact, or what ``karma export`` wrote),
    an instance (``reward/context/0``) that one recipe of the workspace made, or, where several did,
    ``RECIPE:reward/context/0``. Raises InputError if it is none of these, or if files are missing.
    """
    folder = Path(name)
    if (folder / "reward.json").is_file():
        return folder
    if folder.is_dir():
        raise InputError(
            name,
            "the folder holds no reward.json, so it is no reward model",
            "Give an artefact of the stage reward, or what karma export wrote.",
        )
    recipe, _, instance = name.rpartition(":")
    made = _made(store, recipe, instance)
    if not made:
        raise InputError(
            name,
            f"it is no folder, and no recipe has made an instance of that name in {store.root}",
            "Name one as karma plan does, such as reward/context/0; --workspace says where.",
        )
    if len(set(made.values())) > 1:
        names = ", ".join(f"{found}:{instance}" for found in made)
        raise InputError(name, "several recipes have made one", f"Choose: {names}.")
    return _whole(store, instance, next(iter(made.values())))


def _made(store: Store, recipe: str, instance: str) -> dict[str, str]:
    """Recipe to digest of the last artefact of a reward's instance."""
    if not instance.startswith("reward/") or ".." in instance.split("/"):
        return {}
    recipes = [recipe] if recipe else store.recipes()
    refs = {name: store.ref(name, instance) for name in recipes}
    return {name: str(ref["digest"]) for name, ref in refs.items() if ref is not None}


def _whole(store: Store, instance: str, digest: str) -> Path:
    if not store.fetch(digest):
        raise InputError(
            instance, "files of its artefact are missing", "karma run with its recipe makes it."
        )
    return store.path(digest)
