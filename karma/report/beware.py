"""What a reader must know before believing a number, and what nobody measured."""

from typing import Any

from karma.evals import stats
from karma.report.collect import Cell, Records, policy_name
from karma.report.compare import MIN_SEEDS, comparisons, enough
from karma.report.questions import CONTEXT, RIVALS
from karma.report.words import algorithm, count, listed, number, several

# Policies of one exposure whose KLs differ by more than this are not at matched KL.
RATIO, LEAST = 1.5, 0.5
# Below this a classifier's scores say little of single texts.
TELLS = 0.8
KINDS = ("pragmatics", "factuality", "knowledge", "toxicity", "bias", "disposition", "reply")


def flags(records: Records, rewards: list[dict[str, Any]]) -> list[str]:
    """One sentence each, the most important first."""
    found = _unmatched(records)
    for name in records.benchmarks:
        cells = [c for m in records.models if (c := records.cells.get((m, name))) is not None]
        found += _few(name, cells) + _cut(name, cells) + _classifier(name, cells)
    found += _constant(records) + _lacking(records)
    found += [f"Reward {row['id']}: {row['flag']}" for row in rewards if row["flag"]]
    found += _alarms(records)
    return found


def _unmatched(records: Records) -> list[str]:
    """Exposures whose policies went different ways from their start."""
    found = []
    exposures = dict.fromkeys(policy.name.exposure for policy in records.policies.values())
    for exposure in exposures:
        kls = {
            f"{p.name.variant}/{p.name.seed}": p.kl
            for p in records.policies.values()
            if p.name.exposure == exposure
        }
        near, far = min(kls, key=lambda n: kls[n]), max(kls, key=lambda n: kls[n])
        if kls[far] > RATIO * max(kls[near], 0.0) and kls[far] - kls[near] > LEAST:
            found.append(
                f"The {exposure} policies are not at matched KL: from {number(kls[near])} ({near}) "
                f"to {number(kls[far])} ({far}) nats a reply. A larger change may be a longer way."
            )
    return found


def _constant(records: Records) -> list[str]:
    """Benchmarks on which models give one answer to every question, whatever is asked."""
    told = []
    for name in records.benchmarks:
        cells = [c for m in records.models if (c := records.cells.get((m, name))) is not None]
        same = sum(map(_one_answer, cells))
        if same:
            told.append(f"{name} ({same} of {several(len(cells), 'model')})")
    if not told:
        return []
    return [
        f"One and the same answer to every item is given on {listed(told)}; such a score is that "
        "answer's share of the items, and no skill."
    ]


def _one_answer(cell: Cell) -> bool:
    if not {"prediction", "gold"} <= set(cell.items.column_names):
        return False
    golds, said = (set(cell.items[column].to_pylist()) for column in ("gold", "prediction"))
    return None not in golds and len(golds) > 1 and len(said) == 1


def _few(name: str, cells: list[Cell]) -> list[str]:
    if not cells or enough(cells[0]):
        return []
    groups = several(len(set(cells[0].groups)), "group")
    return [
        f"{name}: items of {groups} are too few for an interval ({stats.MIN_GROUPS} at least), so "
        "no difference on it is shown."
    ]


def _cut(name: str, cells: list[Cell]) -> list[str]:
    """Prompts that no model's window holds whole; all models of a study have one window."""
    asked = [cell.items["cut"].to_pylist() for cell in cells if "cut" in cell.items.column_names]
    cut = max(map(sum, asked), default=0)
    if not cut:
        return []
    return [f"{name}: {several(cut, 'prompt')} of {count(len(cells[0].ids))} lost the beginning."]


def _classifier(name: str, cells: list[Cell]) -> list[str]:
    areas = [cell.scores["classifier_auc"] for cell in cells if "classifier_auc" in cell.scores]
    if not areas or min(areas) >= TELLS:
        return []
    return [
        f"{name}: its classifier tells a toxic text from a harmless one with an AUC of "
        f"{number(min(areas))} only."
    ]


def _lacking(records: Records) -> list[str]:
    """Conditions of which some seeds are missing, so that nothing is said of them over seeds."""
    seeds = len(records.recipe["seeds"])
    if seeds < MIN_SEEDS:
        return []
    found: dict[tuple[str, str], list[int]] = {}
    for pair in comparisons(records):
        name = policy_name(pair["model"])
        assert name is not None
        for benchmark in records.benchmarks:
            both = [(pair[side], benchmark) in records.cells for side in ("model", "against")]
            if not all(both):
                key = (f"{name.exposure}/{name.variant}", benchmark)
                found.setdefault(key, []).append(name.seed)
    return [
        f"{condition} on {benchmark}: {several(len(set(lost)), 'seed')} of {seeds} "
        f"{'is' if len(set(lost)) == 1 else 'are'} a hole"
        + (", so too few are left to tell." if seeds - len(set(lost)) < MIN_SEEDS else ".")
        for (condition, benchmark), lost in found.items()
    ]


def _alarms(records: Records) -> list[str]:
    raised = [p.name.id for p in records.policies.values() if p.alarms]
    if not raised:
        return []
    others = " and others" * (len(raised) > 3)
    ran = algorithm(records.recipe)
    return [f"{listed(raised[:3])}{others} raised alarms while {ran} ran."]


def unmeasured(records: Records) -> list[str]:
    """What is not in this report, and why."""
    found = []
    if records.holes:
        found.append(f"{several(len(records.holes), 'cell')} that failed or did not run (Holes).")
    if records.unasked:
        found.append(
            f"Benchmarks whose files the data lack, or that the recipe leaves out: "
            f"{listed(records.unasked)}."
        )
    kinds = [kind for kind in KINDS if not records.of_kind(kind)]
    if kinds:
        found.append(f"Whole kinds, therefore: {listed(kinds)}.")
    tuned = {policy.variant for policy in map(policy_name, records.models) if policy is not None}
    lacking = [v for v in (CONTEXT, "metadata", *RIVALS) if v not in tuned]
    if lacking:
        found.append(f"Policies tuned on {listed(lacking)}: there are none.")
    if not records.probed:
        found.append(
            "Whether a reward pays for false jokes (the swap probe): only the simulated world's "
            "truth is known."
        )
    return found
