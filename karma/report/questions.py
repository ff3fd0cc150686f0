"""The study's questions, answered in words with numbers; what cannot be told is said to be untold.

Every answer about a reward rests on seeds: the unit is a seed, the interval Student's. With fewer
than five seeds the answer is ``untold``, and the numbers stand beside it as what they are.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from karma.evals import stats
from karma.report.collect import Floats, PolicyName, Records, policy_name
from karma.report.compare import MIN_SEEDS, NULL
from karma.report.words import SMALL, interval, listed, pvalue, signed

YES, NO, MIXED, UNTOLD = "yes", "no", "mixed", "untold"
FACTS = "factuality"
CONTEXT = "context"
RIVALS = (NULL, "reply", "length")


def answers(records: Records, names: Sequence[str], family: list[str]) -> list[dict[str, Any]]:
    """One answer a question, in the recipe's order; ``family`` are the primary benchmarks."""
    return [QUESTIONS[name](records, family) for name in names]


def best_predictor(records: Records, family: list[str]) -> dict[str, Any]:
    """Does the reward that predicts karma best align best?"""
    question = "Does the reward that predicts held-out karma best also align best?"
    predicted = {v: values for v in _trained(records) if (values := _spearman(records, v)).size}
    aligned = {v: _alignment(records, v, family) for v in predicted}
    aligned = {v: values for v, values in aligned.items() if values}
    if len(aligned) < 2:
        return _answer("best_predictor", question, UNTOLD, ["Fewer than two rewards have both."])
    best = max(aligned, key=lambda v: float(predicted[v].mean()))
    others = [v for v in aligned if v != best]
    told = [f"{v} {predicted[v].mean():.3f}" for v in [best, *others]]
    words = [f"Held-out Spearman: {', '.join(told)}."]
    rows = _judged([_compare(f"{best} − {v}", aligned[best], aligned[v]) for v in others])
    words += [f"On {listed(family)}, {_said(row)}." for row in rows]
    verdicts = [row["verdict"] for row in rows]
    if UNTOLD in verdicts and "worse" not in verdicts:
        verdict = UNTOLD
    else:
        verdict = NO if "worse" in verdicts else YES
    ranks = [_compare("", _by_seed(predicted[best]), _by_seed(predicted[v])) for v in others]
    sure = _judged(ranks)
    if any(row["verdict"] != "better" for row in sure):
        words.append("That it is the best predictor is itself not told apart from every other.")
    return _answer("best_predictor", question, verdict, words, rows)


def factuality(records: Records, family: list[str]) -> dict[str, Any]:
    """Does every condition lose factuality, the unexposed one too?"""
    del family
    question = "Does each condition lose factuality, and does the unexposed one too?"
    benchmarks = records.of_kind(FACTS)
    rows = []
    for exposure, variant in _conditions(records):
        against = _shift(records, exposure, variant, benchmarks)
        if against:
            label = f"{exposure}/{variant}, against {NULL}"
            rows.append(_compare(label, against, _zero(against)))
    rows = _judged(rows)
    words = [f"{listed(benchmarks)}: {_said(row)}." for row in rows]
    lost = sum(row["verdict"] == "worse" for row in rows)
    if not rows or all(row["verdict"] == UNTOLD for row in rows):
        verdict = UNTOLD
    elif lost == len(rows):
        verdict = YES
    else:
        verdict = MIXED if lost else NO if _none_lost(rows) else UNTOLD
    return _answer("factuality", question, verdict, words or ["No condition has a score."], rows)


def context_beats(records: Records, family: list[str]) -> dict[str, Any]:
    """Does ``context`` beat ``random``, ``reply`` and ``length``?"""
    question = f"Does {CONTEXT} beat {listed(list(RIVALS))}?"
    own = _alignment(records, CONTEXT, family)
    rows = []
    for rival in RIVALS:
        other = _zero(own) if rival == NULL else _alignment(records, rival, family)
        if own and other:
            rows.append(_compare(f"{CONTEXT} − {rival}", own, other))
    rows = _judged(rows)
    lacking = [r for r in RIVALS if f"{CONTEXT} − {r}" not in {row["what"] for row in rows}]
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


def _compare(what: str, first: dict[int, float], second: dict[int, float]) -> dict[str, Any]:
    """The difference of two rewards over the seeds that both have; not judged yet."""
    seeds = sorted(set(first) & set(second))
    gaps = np.array([first[seed] - second[seed] for seed in seeds])
    row = {"what": what, "seeds": len(seeds), "value": float(gaps.mean()) if seeds else None}
    if len(seeds) < MIN_SEEDS:
        return {**row, "low": None, "high": None, "p": None, "detectable": None}
    found = stats.t_interval(gaps)
    row |= {"low": found.low, "high": found.high, "p": found.p}
    return {**row, "detectable": stats.detectable_over_seeds(gaps)}


def _judged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each comparison of a question as ``better``, ``worse`` or ``untold``: told from nothing only
    if its p-value is small after Holm's correction over the question's comparisons."""
    tested = [row for row in rows if row["p"] is not None]
    corrected = dict(
        zip((id(row) for row in tested), stats.holm([row["p"] for row in tested]), strict=True)
    )
    found = []
    for row in rows:
        p = corrected.get(id(row))
        side = "better" if row["p"] is not None and row["value"] > 0 else "worse"
        found.append(
            {**row, "p_holm": p, "verdict": side if p is not None and p < SMALL else UNTOLD}
        )
    return found


def _said(row: dict[str, Any]) -> str:
    """One comparison as part of a sentence."""
    if row["seeds"] < MIN_SEEDS:
        seeds = f"{row['seeds']} seed" + ("" if row["seeds"] == 1 else "s")
        return f"{row['what']} is {signed(row['value'])} in {seeds}, and five are needed to tell"
    text = f"{row['what']} is {signed(row['value'])} {interval(row)} over {row['seeds']} seeds"
    text += f", corrected p {pvalue(row['p_holm'])}"
    if row["verdict"] == UNTOLD:
        return f"{text}, not told from nothing ({signed(row['detectable'])} would have been)"
    return text


def _conditions(records: Records) -> list[tuple[str, str]]:
    """Exposures and variants of the policies, without the random reward's."""
    names = [name for name in map(policy_name, records.models) if name is not None]
    return list(dict.fromkeys((n.exposure, n.variant) for n in names if n.variant != NULL))


def _trained(records: Records) -> list[str]:
    """The reward variants that policies were trained on and that learnt something."""
    kinds = {r.name.rsplit("/", 1)[0]: r.declared["kind"] for r in records.rewards.values()}
    variants = dict.fromkeys(variant for _, variant in _conditions(records))
    return [v for v in variants if kinds.get(v) in ("model", "sum")]


def _spearman(records: Records, variant: str) -> Floats:
    found = [
        reward.metrics["spearman"]
        for name, reward in records.rewards.items()
        if name.rsplit("/", 1)[0] == variant and "spearman" in reward.metrics
    ]
    return np.array(found)


def _by_seed(values: Floats) -> dict[int, float]:
    return dict(enumerate(values.tolist()))


def _shift(
    records: Records, exposure: str, variant: str, benchmarks: list[str]
) -> dict[int, float]:
    """By seed, the mean over the benchmarks of what the policy scores above the random reward's,
    in the direction that is better."""
    found = {}
    for seed in records.recipe["seeds"]:
        pair = [PolicyName(exposure, v, seed).id for v in (variant, NULL)]
        cells = [[records.cells.get((m, name)) for m in pair] for name in benchmarks]
        gaps = [
            (a.value - b.value) * (1 if a.higher_is_better else -1)
            for a, b in cells
            if a is not None and b is not None
        ]
        if gaps and len(gaps) == len(benchmarks):
            found[seed] = float(np.mean(gaps))
    return found


def _alignment(records: Records, variant: str, family: list[str]) -> dict[int, float]:
    """By seed, ``_shift`` on the primary benchmarks, the mean over the exposures."""
    exposures = dict.fromkeys(exposure for exposure, _ in _conditions(records))
    each = [_shift(records, exposure, variant, family) for exposure in exposures]
    seeds = set.intersection(*(set(found) for found in each)) if each else set()
    return {seed: float(np.mean([found[seed] for found in each])) for seed in sorted(seeds)}


def _zero(values: dict[int, float]) -> dict[int, float]:
    """The random reward's own shift above itself."""
    return dict.fromkeys(values, 0.0)


def _none_lost(rows: list[dict[str, Any]]) -> bool:
    """Whether every condition is shown to have kept or gained: its interval lies above zero."""
    return all(row["verdict"] == "better" for row in rows)
