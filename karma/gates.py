"""What a run's results must meet, as the recipe says; checked after the run, in no stage's key."""

from typing import Any


def unmet(report: dict[str, Any]) -> list[str]:
    """One sentence for each trained reward that the report flags: it beats no baseline."""
    return [
        f"{reward['id']}: {reward['flag']}"
        for reward in report["rewards"]
        if reward["kind"] == "model" and reward["flag"]
    ]
