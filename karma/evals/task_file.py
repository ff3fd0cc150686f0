"""A task of lm-evaluation-harness as a YAML file of the user's, its data files beside it."""

from pathlib import Path
from typing import Any

import yaml

from karma.errors import InputError


def read(path: Path) -> dict[str, Any]:
    """A task's YAML file, its data files as absolute paths. Raises InputError.

    A file that names functions is refused: it would run code.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise InputError(f"task {path}", reason, "Check evals.lm_eval.") from error
    except yaml.YAMLError as error:
        reason = f"it is no plain YAML: {' '.join(str(error).split())}"
        raise InputError(f"task {path}", reason, "Functions are not run from files.") from error
    if not isinstance(document, dict) or "task" not in document or "include" in document:
        raise InputError(f"task {path}", "it is not one whole task", "Write out what it includes.")
    given = document.get("dataset_kwargs", {}).get("data_files", {})
    named = given.items() if isinstance(given, dict) else [("test", given)]
    for _, name in named:
        if Path(name).is_absolute():
            raise InputError(
                f"task {path}",
                f"its data file {name} has an absolute path",
                "Put the file beside the task and name it by its path from there.",
            )
    paths = {split: str(path.parent / name) for split, name in named}
    kwargs = {**document.get("dataset_kwargs", {}), "data_files": paths}
    return {**document, "dataset_kwargs": kwargs}


def data_files(path: Path) -> list[Path]:
    """The task's own file and its data files."""
    return [path, *map(Path, read(path)["dataset_kwargs"]["data_files"].values())]
