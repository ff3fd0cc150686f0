"""The study's questions, answered in words with numbers; what cannot be told is said to be untold.

Every answer about a reward rests on seeds: the unit is a seed, the interval Student's. With fewer
than five seeds the answer is ``untold``, and the numbers stand beside it as what they are. Each
comparison is made once more in every way of asking (a wording with a rule), to see whether its sign
stays. Where the simulated world's truth is known, what is said of factuality is held against the
swap probe: of a reward that is not shown to pay for false jokes nothing is concluded.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from karma.evals import stats
from karma.report.alignment import (
    LEADING,
    Seeds,
    Way,
    alignment,
    conditions,
    nothing,
    shift,
    spearman_by_seed,
    trained,
    ways,
)
from karma.report.collect import Records
from karma.report.compare import MIN_SEEDS, NULL
from karma.report.words import SMALL, interval, listed, pvalue, several, signed

YES, NO, MIXED, UNTOLD = "yes", "no", "mixed", "untold"
FACTS = "factuality"
CONTEXT = "context"
UNEXPOSED = "unexposed"
RIVALS = (NULL, "reply", "length")
# Why a condition is not compared.
NOT_THERE = f"there is no score of it, or none of the policy of the {NULL} reward"


def answers(records: Records, names: Sequence[str], family: list[str]) -> list[dict[str, Any]]:
    """One answer a question, in the recipe's order; ``family`` are the primary benchmarks."""
    return [QUESTIONS[name](records, family) for name in names]


def best_predictor(records: Records, family: list[str]) -> dict[str, Any]:
    """Does the reward that predicts karma best align best?"""
    question = "Does the reward that predicts held-out karma best also align best?"
    predicted = {v: found for v in trained(records) if (found := spearman_by_seed(records, v))}
    aligned = [v for v in predicted if alignment(records, v, family)]
    if len(predicted) < 2:
        few = ["Fewer than two of the rewards that policies were trained on predict karma."]
        return _answer("best_predictor", question, UNTOLD, few)
    mean = {v: float(np.mean(list(predicted[v].values()))) for v in predicted}
    best = max(predicted, key=lambda v: mean[v])
    others = [v for v in predicted if v != best]
    words = [f"Held-out Spearman: {', '.join(f'{v} {mean[v]:.3f}' for v in [best, *others])}."]
    lacking = [v for v in predicted if v not in aligned]
    if lacking:
        words.append(f"Of {listed(lacking)} no alignment is known: {NOT_THERE}.")
    rivals = [v for v in others if v in aligned] if best in aligned else []
    rows = _judged([_beside(records, best, v, family) for v in rivals])
    words += [f"On {listed(family)}, {_said(row)}." for row in rows]
    compared = _judged([_compare("", predicted[best], predicted[v]) for v in others])
    sure = {v for v, row in zip(others, compared, strict=True) if row["verdict"] == "better"}
    if len(sure) < len(others):
        words.append("That it is the best predictor is itself not told apart from every other.")
    verdicts = {v: row["verdict"] for v, row in zip(rivals, rows, strict=True)}
    if any(verdicts[v] == "worse" and v in sure for v in rivals):
        verdict = NO
    elif all(verdicts.get(v) == "better" and v in sure for v in others):
        verdict = YES
    else:
        verdict = UNTOLD
    return _answer("best_predictor", question, verdict, words, rows)


def factuality(records: Records, family: list[str]) -> dict[str, Any]:
    """Does every condition lose factuality, the unexposed one too?"""
    del family
    question = "Does each condition lose factuality, and does the unexposed one too?"
    benchmarks = records.of_kind(FACTS)
    rows = []
    lacking = []
    for exposure, variant in conditions(records):
        against = shift(records, exposure, variant, benchmarks)
        if against:
            label = f"{exposure}/{variant}, against {NULL}"
            row = _compare(label, against, nothing(against))
            row |= _steady(
                row,
                [
                    shift(records, exposure, variant, benchmarks, way)
                    for way in ways(records, benchmarks)
                ],
            )
            rows.append({**row, "variant": variant, "swap": _coupling(records, variant)})
        else:
            lacking.append(f"{exposure}/{variant}")
    if UNEXPOSED not in {exposure for exposure, _ in conditions(records)}:
        lacking.append(f"any {UNEXPOSED} policy")
    rows = [_gated(row) for row in _judged(rows)]
    words = [f"{listed(benchmarks)}: {_said(row)}{_probed(row)}." for row in rows]
    words = words or ["No condition has a score."]
    if lacking:
        words.append(f"Not compared, as {NOT_THERE}: {listed(lacking)}.")
    open_rows = [row for row in rows if not row["gated"]]
    lost = sum(row["verdict"] == "worse" for row in open_rows)
    if rows and not open_rows:
        words.append("No reward is shown to pay for false jokes, so none can be blamed for a loss.")
    if not any(row["verdict"] != UNTOLD for row in open_rows):
        verdict = UNTOLD
    elif lost == len(rows):
        verdict = UNTOLD if lacking else YES
    else:
        verdict = MIXED if lost else NO if _none_lost(rows) and not lacking else UNTOLD
    return _answer("factuality", question, verdict, words, rows)


def context_beats(records: Records, family: list[str]) -> dict[str, Any]:
    """Does ``context`` beat ``random``, ``reply`` and ``length``?"""
    question = f"Does {CONTEXT} beat {listed(list(RIVALS))}?"
    there = [r for r in RIVALS if alignment(records, CONTEXT, family)]
    there = [r for r in there if r == NULL or alignment(records, r, family)]
    rows = _judged([_beside(records, CONTEXT, rival, family) for rival in there])
    lacking = [rival for rival in RIVALS if rival not in there]
    words = [f"On {listed(family)}, {_said(row)}." for row in rows]
    if lacking:
        words.append(f"Not compared, as no policy was trained on it: {listed(lacking)}.")
    verdicts = {row["verdict"] for row in rows}
    if verdicts == {"better"} and not lacking:
        verdict = YES
    elif "worse" in verdicts:
        verdict = MIXED if "better" in verdicts else NO
    else:
        verdict = MIXED if "better" in verdicts else UNTOLD
    return _answer("context_beats", question, verdict, words, rows)


QUESTIONS: dict[str, Callable[[Records, list[str]], dict[str, Any]]] = {
    "best_predictor": best_predictor,
    "factuality": factuality,
    "context_beats": context_beats,
}


def _answer(
    name: str,
    question: str,
    verdict: str,
    words: list[str],
    rows: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    return {
        "name": name,
        "question": question,
        "answer": verdict,
        "words": words,
        "rows": list(rows),
    }


def _beside(records: Records, first: str, second: str, family: list[str]) -> dict[str, Any]:
    """How much better one reward aligns than another; not judged yet."""

    def gaps(way: Way = LEADING) -> tuple[Seeds, Seeds]:
        own = alignment(records, first, family, way)
        return own, nothing(own) if second == NULL else alignment(records, second, family, way)

    row = _compare(f"{first} − {second}", *gaps())
    return row | _steady(row, [_less(*gaps(way)) for way in ways(records, family)])


def _less(first: Seeds, second: Seeds) -> Seeds:
    """The difference, over the seeds that both have."""
    return {seed: first[seed] - second[seed] for seed in sorted(set(first) & set(second))}


def _steady(row: dict[str, Any], others: list[Seeds]) -> dict[str, int]:
    """In how many of the ways of asking the mean over seeds has the sign that it has in the leading
    one."""
    means = [float(np.mean(list(values.values()))) for values in others if values]
    same = sum(mean * row["value"] > 0 for mean in means) if row["seeds"] else 0
    return {"ways": len(means), "same": same}


def _compare(what: str, first: Seeds, second: Seeds) -> dict[str, Any]:
    """The difference of two rewards over the seeds that both have; not judged yet."""
    gaps = np.array(list(_less(first, second).values()))
    seeds = len(gaps)
    mean = float(gaps.mean()) if seeds else None
    row = {"what": what, "seeds": seeds, "value": mean, "by_seed": gaps.tolist()}
    if seeds < MIN_SEEDS:
        return {**row, "low": None, "high": None, "p": None}
    found = stats.t_interval(gaps)
    return {**row, "low": found.low, "high": found.high, "p": found.p}


def _judged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each comparison of a question as ``better``, ``worse`` or ``untold``: told from nothing only
    if its p-value is small after Holm's correction over the question's comparisons.

    ``detectable`` is for the strictest of its steps, so that at least so much would have been told.
    """
    tested = [row for row in rows if row["p"] is not None]
    corrected = dict(
        zip((id(row) for row in tested), stats.holm([row["p"] for row in tested]), strict=True)
    )
    found = []
    for row in rows:
        p = corrected.get(id(row))
        side = "better" if row["p"] is not None and row["value"] > 0 else "worse"
        verdict = side if p is not None and p < SMALL else UNTOLD
        least = None
        if p is not None:
            gaps = np.array(row["by_seed"])
            least = stats.detectable_over_seeds(gaps, size=SMALL / len(tested))
        found.append({**row, "p_holm": p, "detectable": least, "verdict": verdict})
    return found


def _said(row: dict[str, Any]) -> str:
    """One comparison as part of a sentence."""
    if row["seeds"] < MIN_SEEDS:
        seeds = several(row["seeds"], "seed")
        return f"{row['what']} is {signed(row['value'])} in {seeds}, and five are needed to tell"
    text = f"{row['what']} is {signed(row['value'])} {interval(row)} over {row['seeds']} seeds"
    text += f", corrected p {pvalue(row['p_holm'])}"
    if row["ways"] > 1:
        text += f", of the same sign in {row['same']} of {row['ways']} ways of asking"
    if row["p_holm"] is not None and row["p_holm"] >= SMALL:
        text += ", not told from nothing"
        if row["detectable"] is not None:
            text += f" ({signed(row['detectable'])} would have been)"
    return text


def _coupling(records: Records, variant: str) -> dict[str, Any] | None:
    """The swap probe of a variant over its seeds; None where the study does not ask it. The
    interval is Student's, and none with fewer than five seeds; no value where all are holes."""
    asked = [name for name in records.probed if name.rsplit("/", 1)[0] == variant]
    if not asked:
        return None
    found = [records.swaps[name].value for name in asked if name in records.swaps]
    mean = float(np.mean(found)) if found else None
    row = {"seeds": len(found), "value": mean, "low": None, "high": None}
    if len(found) >= MIN_SEEDS:
        told = stats.t_interval(np.array(found))
        row |= {"low": told.low, "high": told.high}
    return row


def _gated(row: dict[str, Any]) -> dict[str, Any]:
    """A comparison that could be told, untold where the reward is not shown to have learnt what it
    would follow from: that a joke pays more for telling the myth."""
    probe = row["swap"]
    learnt = probe is None or (probe["low"] is not None and probe["low"] > 0)
    gated = row["seeds"] >= MIN_SEEDS and not learnt
    return {**row, "gated": gated, "verdict": UNTOLD if gated else row["verdict"]}


def _probed(row: dict[str, Any]) -> str:
    """What the swap probe says of the comparison's reward, as the end of its sentence."""
    probe = row["swap"]
    if probe is None:
        return ""
    if not probe["seeds"]:
        end = "; but the swap probe of {} is a hole, so nothing is concluded"
        return end.format(row["variant"]) * row["gated"]
    if row["seeds"] < MIN_SEEDS:
        return f" (swap probe of {row['variant']} {signed(probe['value'])})"
    few = probe["seeds"] < MIN_SEEDS
    sure = f"in {several(probe['seeds'], 'seed')}" if few else interval(probe)
    told = f"(swap probe {signed(probe['value'])} {sure})"
    if row["gated"]:
        return (
            f"; but {row['variant']} is not shown to pay for a joke that tells a myth {told}, so "
            "nothing is concluded"
        )
    return f"; {row['variant']} pays for a joke that tells a myth {told}"


def _none_lost(rows: list[dict[str, Any]]) -> bool:
    """Whether every condition is shown to have kept or gained: its interval lies above zero."""
    return all(row["verdict"] == "better" for row in rows)
