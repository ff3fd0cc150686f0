"""The CUDA cards of a machine: which there are, and that no two jobs of a person's runs use one.

A card is a lock on a file.
"""

import os
import tempfile
from pathlib import Path
from typing import TextIO

from karma.device import enough
from karma.locks import try_lock


class Card:
    """One card, held by at most one process of this user on this machine."""

    def __init__(self, name: str) -> None:
        """``name`` as CUDA_VISIBLE_DEVICES has it: a number, or a UUID."""
        self.name = name
        self._file: TextIO | None = None

    def take(self) -> bool:
        """Hold the card, if nobody does."""
        folder = Path(tempfile.gettempdir()) / f"karma-cards-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        file = (folder / self.name.replace("/", "-")).open("w")
        if not try_lock(file):
            file.close()
            return False
        self._file = file
        return True

    def free(self) -> None:
        """Let go of it."""
        assert self._file is not None
        self._file.close()
        self._file = None


def cards(least: int = 1) -> tuple[str, ...]:
    """The names of the cards that jobs may use; torch is not asked.

    Raises InputError if there are fewer than ``least``, which a job wants at once.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        found = tuple(card for card in visible.split(",") if card not in ("", "-1"))
    else:
        folder = Path("/proc/driver/nvidia/gpus")
        count = len(list(folder.iterdir())) if folder.is_dir() else 0
        found = tuple(str(number) for number in range(count))
    enough(len(found), least)
    return found
