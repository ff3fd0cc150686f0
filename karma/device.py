"""Whether the CUDA cards that were found are those that a job wants."""

from karma.errors import InputError


def enough(found: int, least: int = 1) -> None:
    """Raise InputError if the cards that were found are none, or fewer than ``least``."""
    if not found:
        raise InputError(
            "compute: cuda",
            "this machine has no CUDA card",
            "Run on one that has, or set compute=cpu.",
        )
    if found < least:
        raise InputError(
            f"policy.processes: {least}",
            f"this machine has {found} CUDA card(s)",
            "Set it to no more than that.",
        )


def one(found: int, who: str) -> None:
    """Raise InputError unless one card was found: a trainer would share a step among several."""
    enough(found)
    if found > 1:
        raise InputError(
            "compute: cuda",
            f"{who} trains on one card, and torch sees {found}",
            "Set CUDA_VISIBLE_DEVICES=0.",
        )
