"""A benchmark's rows from the hub: the data set's files at one full revision, read by ``datasets``.

The files are fetched once into the hub's cache (``HF_HOME``), so that the next cell, and a machine
without a network (``HF_HUB_OFFLINE=1``), find them there. No code of a data set runs.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from karma.errors import InputError, words
from karma.prompts.hub import pinned

ALL = "*"


def fetch(where: str, layout: dict[str, Any], scratch: Path) -> Path:
    """A folder with the rows of ``name@revision`` in the files that the benchmark reads.

    ``layout`` is the catalogue's: ``file``, ``split``, ``config``. Raises InputError if the data
    set cannot be had, or has no such split or configuration.
    """
    found = pinned(where)
    assert found is not None, "the recipe is checked"
    out = scratch / "data"
    try:
        for config, table in _tables(*found, layout, scratch / "cache"):
            path = out / layout["file"].format(config=config)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(_lines(table)), encoding="utf-8")
    except Exception as error:
        # The hub's client, its HTTP library and datasets have errors with nothing in common.
        raise InputError(
            f"evals.hub {where}",
            f"it cannot be loaded ({words(error)})",
            "Check the name, the revision and the network; or put its files in evals.data.",
        ) from error
    return out


def _tables(
    name: str, revision: str, layout: dict[str, Any], cache: Path
) -> Iterator[tuple[str | None, Any]]:
    """Each configuration that the layout asks for, and its split."""
    from datasets import get_dataset_config_names, load_dataset
    from huggingface_hub import snapshot_download

    # Not load_dataset by name: offline it takes whichever revision it finds.
    folder = snapshot_download(name, repo_type="dataset", revision=revision)
    wanted = layout["config"]
    for config in get_dataset_config_names(folder) if wanted == ALL else [wanted]:
        yield config, load_dataset(folder, config, split=layout["split"], cache_dir=str(cache))


def _lines(table: Any) -> Iterator[str]:
    """The rows as JSON lines, numbered classes by their names; a class that is not told is -1."""
    from datasets import ClassLabel

    classes = {n: f.names for n, f in table.features.items() if isinstance(f, ClassLabel)}
    for row in table:
        given = [name for name in classes if row[name] is not None and row[name] >= 0]
        told = {name: classes[name][row[name]] for name in given}
        yield json.dumps({**row, **told}, ensure_ascii=False) + "\n"
