"""Policies kept where they reach a KL of the recipe's grid, and reward and gold against KL.

A kept policy is the one that a step measured, before it learned: the first whose KL in nats a reply
is that of the point or more. Each is a plain model in a folder of its own.
"""

import shutil
from pathlib import Path
from typing import Any

from karma.policy.models import plain
from karma.policy.study import Study

FOLDER = "kl"
# The width in nats a reply of the curve's bins: all cells of a study share it.
BIN = 0.5


def keep(scratch: Path, study: Study, points: list[dict[str, Any]], row: dict[str, Any]) -> None:
    """Keep the policy in ``scratch`` for every point that ``row``'s KL has reached first."""
    known = {point["point"] for point in points}
    for point in study.recipe.kl_grid:
        if point in known or row["kl"] < point:
            continue
        if study.team.rank == 0:
            _replace(study, scratch / FOLDER / f"{point:g}")
        points.append(
            {
                "point": point,
                "folder": f"{FOLDER}/{point:g}",
                **{name: row[name] for name in ("step", "kl", "gold")},
                "reward": row["reward/raw"],
            }
        )


def _replace(study: Study, folder: Path) -> None:
    """The policy in ``folder``; what that held before is lost once the new one is whole."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    save(study, part)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def save(study: Study, folder: Path) -> None:
    """The policy as a plain Hugging Face folder: the same bytes for the same weights."""
    policy = plain(study.model.policy)
    policy.config.name_or_path = ""
    study.tokenizer.name_or_path = ""
    policy.save_pretrained(folder)
    study.tokenizer.save_pretrained(folder)


def against_kl(curves: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Mean reward and gold of the steps within each bin of KL, from low to high.

    An estimate below zero counts as zero.
    """
    bins: dict[int, list[dict[str, Any]]] = {}
    for row in curves:
        bins.setdefault(int(max(row["kl"], 0.0) / BIN), []).append(row)
    return [
        {
            "low": number * BIN,
            "high": (number + 1) * BIN,
            "steps": len(rows),
            "kl": _mean(rows, "kl"),
            "reward": _mean(rows, "reward/raw"),
            "gold": _mean(rows, "gold"),
        }
        for number, rows in sorted(bins.items())
    ]


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)
