"""How the report writes numbers: the same in the page and in the Markdown."""

from typing import Any

SMALL = 0.05


def algorithm(recipe: dict[str, Any]) -> str:
    """What policies were tuned by: PPO, RLOO."""
    return str(recipe["policy"].get("algorithm", "ppo")).upper()


def number(value: float | None) -> str:
    """A score: three decimals, fewer where the number is large."""
    if value is None:
        return "–"
    digits = 3 if abs(value) < 10 else 1
    # Adding zero turns what rounds to −0 into 0.
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def signed(value: float | None) -> str:
    """A difference, always with its sign."""
    if value is None:
        return "–"
    return ("+" if value >= 0 else "") + number(value)


def mean_length(value: float | None) -> str:
    """A mean number of words or tokens."""
    return "–" if value is None else f"{value:.1f}"


def interval(cell: dict[str, Any]) -> str:
    """``[low, high]`` of anything that has both; where all items gave the same there is nothing to
    estimate it from."""
    if cell["low"] is None or cell["high"] is None:
        return "[no interval]"
    if cell["low"] == cell["high"]:
        return "[no spread]"
    return f"[{number(cell['low'])}, {number(cell['high'])}]"


def count(value: float | None) -> str:
    """A whole number with thousands separated."""
    return "–" if value is None else f"{value:,.0f}"


def pvalue(value: float | None) -> str:
    """A p-value to three decimals; never zero."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def percent(value: float | None) -> str:
    """A share of a whole, without decimals."""
    return "–" if value is None else f"{100 * value:.0f} %".replace("-", "−")


def direction(about: dict[str, Any]) -> str:
    """An arrow towards the better end of a benchmark's score, or to its best value."""
    if about["ideal"] is not None:
        return f"→ {about['ideal']:g}"
    return "↑" if about["higher_is_better"] else "↓"


def excludes_zero(row: dict[str, Any]) -> bool:
    """Whether the interval of a difference lies on one side of zero."""
    if row["low"] is None or row["high"] is None:
        return False
    return bool(row["low"] > 0 or row["high"] < 0)


def tone(row: dict[str, Any]) -> str:
    """``up`` (better), ``down`` (worse) or nothing: only where the interval excludes zero, for a
    difference of scores that of the gain, which is not its own where a score has a best value."""
    gain = row.get("gain", row)
    if not excludes_zero(gain):
        return ""
    return "up" if gain["low"] > 0 else "down"


def mark(row: dict[str, Any]) -> str:
    """A star where the corrected p-value is small."""
    return " ✱" if row["p_holm"] is not None and row["p_holm"] < SMALL else ""


def listed(names: list[str]) -> str:
    """``a, b and c``."""
    if len(names) < 2:
        return "".join(names)
    return ", ".join(names[:-1]) + " and " + names[-1]


def several(n: int, noun: str) -> str:
    """``1 model``, ``3 models``, ``2 replies``."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count(n)} {noun if n == 1 else plural}"


def evaluated(policy: dict[str, Any]) -> str:
    """Which of a policy's steps is evaluated, and its KL."""
    if policy["evaluated"] is None:
        return "last step"
    return f"step {count(policy['evaluated'])}, KL {number(policy['kl'])}"


def spoken(name: str) -> str:
    """A key of a document as words."""
    return name.replace("_", " ")
