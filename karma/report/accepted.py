"""What the report is made from although its fingerprint changed: a person said why it may be."""

from typing import Any


def rows(accepted: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row a reason: who gave it, on which day, what had changed, and of which instances.

    ``accepted`` holds by instance its acceptances, oldest first.
    """
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for instance, steps in accepted.items():
        for step in steps:
            mark = (step["because"], step["by"], step["at"][:10])
            row = found.setdefault(
                mark, {**dict(zip(("because", "by", "day"), mark, strict=True)), "changed": []}
            )
            changed = [f"{cause['kind']} {cause['what']}" for cause in step["causes"]]
            row["changed"] = sorted({*row["changed"], *changed})
            row.setdefault("instances", []).append(instance)
    return list(found.values())
