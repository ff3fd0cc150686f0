"""What a recipe means by the place of instruction data: a path, or a data set of the hub.

Only ``name@<40 hex digits>`` is a data set of the hub; everything else is a path, whatever signs it
holds. What would be read as a path and looks like a hub's name is found, so that it can be refused.
"""

import os
import re

NAME = r"(?P<name>\w[\w.-]*(/\w[\w.-]*)?)"
PINNED = re.compile(NAME + r"@(?P<revision>[0-9a-f]{40})", re.ASCII)
LOOSE = re.compile(NAME + r"(@(?P<at>[\w./-]+))?", re.ASCII)
ENDING = re.compile(r"\.[A-Za-z]\w*$", re.ASCII)


def pinned(where: str) -> tuple[str, str] | None:
    """Name and full revision of a data set of the hub; None for anything else."""
    found = PINNED.fullmatch(where)
    return None if found is None else (found["name"], found["revision"])


def unpinned(where: str) -> tuple[str, str | None] | None:
    """Name, and branch, tag or short revision if there is one, of what looks like the hub's.

    None for a pinned name, and for a path: what exists here, has an ending such as ``.json``, or
    does not begin with a name (``/data/x``, ``./a/b``).
    """
    found = LOOSE.fullmatch(where)
    if found is None or pinned(where) or not ("/" in where or "@" in where):
        return None
    # os.path.exists and not Path.exists, which raises for a name that is too long.
    if ENDING.search(where) or os.path.exists(where):  # noqa: PTH110
        return None
    return found["name"], found["at"]
