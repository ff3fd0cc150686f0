"""What a run's results must meet, as the recipe says; checked after the run, in no stage's key."""

from karma.plan import Plan
from karma.store import Store, read_json


def unmet(plan: Plan, store: Store) -> list[str]:
    """One sentence for each trained reward that does not beat the reply's length."""
    sentences = []
    for entry in plan.entries.values():
        node = entry.node
        if node.stage != "reward" or node.config["variant"]["kind"] != "model" or not entry.digest:
            continue
        numbers = read_json(store.path(entry.digest) / "metrics.json")
        if numbers is None:
            continue
        low, length = numbers["spearman_low"], abs(numbers["length_spearman"])
        if low <= length:
            sentences.append(
                f"{node.id} does not beat length: Spearman {numbers['spearman']:.3f} "
                f"(interval from {low:.3f}), length alone {length:.3f}"
            )
    return sentences
