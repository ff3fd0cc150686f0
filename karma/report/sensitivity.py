"""Metric sensitivity: does a difference's sign hold under every wording and scoring rule?"""

from typing import Any

from karma.report.words import excludes_zero, signed


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a difference that was asked in more than one way, those that are told first.

    ``same`` of ``ways`` have the sign of the headline's; a zero has none. ``least`` and ``most``
    are the ways whose difference is smallest and largest.
    """
    found = [_row(row) for row in rows if len(row["sensitivity"]) > 1]
    return sorted(found, key=lambda row: not row["told"])


def _row(row: dict[str, Any]) -> dict[str, Any]:
    ways = row["sensitivity"]
    same = sum(value * row["value"] > 0 for value in ways.values())
    least, most = min(ways, key=lambda n: ways[n]), max(ways, key=lambda n: ways[n])
    return {
        "model": row["model"],
        "relation": row["relation"],
        "benchmark": row["benchmark"],
        "metric": row["metric"],
        "primary": row["primary"],
        "value": row["value"],
        "low": row["low"],
        "high": row["high"],
        "told": excludes_zero(row),
        "ways": len(ways),
        "same": same,
        "holds": same == len(ways),
        "least": {"way": least, "value": ways[least]},
        "most": {"way": most, "value": ways[most]},
    }


def sentence(rows: list[dict[str, Any]]) -> str:
    """How many of the differences that are told keep their sign in every way."""
    told = [row for row in rows if row["told"]]
    if not told:
        return "No difference is told from nothing, so none has a sign to keep."
    held = [row for row in told if row["holds"]]
    text = f"{len(held)} of {len(told)} differences whose interval excludes zero keep their sign "
    text += "under every wording and rule"
    broken = min(told, key=lambda row: row["same"] / row["ways"])
    if broken["holds"]:
        return f"{text}."
    against = {"start": "its start", "random": "the random reward"}[broken["relation"]]
    return (
        f"{text}; the least steady is {broken['model']} on {broken['benchmark']} against "
        f"{against} ({broken['same']} of {broken['ways']}, from "
        f"{signed(broken['least']['value'])} by {broken['least']['way']} to "
        f"{signed(broken['most']['value'])} by {broken['most']['way']})."
    )
