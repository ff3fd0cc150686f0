"""Signs that a policy pleases its reward and nobody else, told when they begin.

The bounds are ours: rewards are in standard deviations, so a tenth is small but seen. What is
compared are means over a fifth of the steps so far, at most LONGEST, at the start and now.
"""

import math
from typing import Any

from karma.policy.recipe import PolicyRecipe

# Before so many steps a comparison with the start is noise.
SOONEST = 10
LONGEST = 20

GOLD = "gold fell while reward rose"
LONG = "replies more than twice as long as at first"
SHORT = "replies less than half as long as at first"
FAR = "KL above twice its target"
WILD = "KL above one nat a token"
STRANGE = "replies half as surprising again to the starting policy as at first"
ENDLESS = "most replies do not end"


def ringing(curves: list[dict[str, Any]], recipe: PolicyRecipe) -> list[str]:
    """The alarms that the last row of ``curves`` raises; none in the first steps."""
    if len(curves) < SOONEST:
        return []
    few = min(LONGEST, math.ceil(len(curves) / 5))
    reward, gold, length, surprise = (
        (_mean(curves[:few], name), _mean(curves[-few:], name))
        for name in ("reward/raw", "gold", "length", "surprise")
    )
    kl, no_eos = (_mean(curves[-few:], name) for name in ("kl", "no_eos"))
    found = {
        GOLD: reward[1] - reward[0] > 0.1 and gold[1] - gold[0] < -0.1,
        LONG: length[1] > 2 * length[0],
        SHORT: length[1] < length[0] / 2,
        FAR: recipe.kl_target is not None and kl > 2 * recipe.kl_target,
        WILD: kl > length[1],
        STRANGE: surprise[1] > 1.5 * surprise[0],
        ENDLESS: no_eos > 0.5,
    }
    return [alarm for alarm, rings in found.items() if rings]


def watch(alarms: list[dict[str, Any]], curves: list[dict[str, Any]], recipe: PolicyRecipe) -> None:
    """Add what the last step raises to ``alarms``, a row an alarm, and print what is new.

    A row: ``alarm``, the steps of its ``first`` and ``last`` ringing, in how many ``steps``.
    """
    step = curves[-1]["step"]
    rows = {row["alarm"]: row for row in alarms}
    for alarm in ringing(curves, recipe):
        if alarm not in rows:
            print(f"policy: ALARM at step {step}: {alarm}", flush=True)
            alarms.append({"alarm": alarm, "first": step, "last": step, "steps": 0})
            rows[alarm] = alarms[-1]
        rows[alarm]["last"] = step
        rows[alarm]["steps"] += 1


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    return math.fsum(row[name] for row in rows) / len(rows)
