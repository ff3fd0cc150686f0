"""How good a score is: the one place that knows which way a benchmark's better end lies."""


def goodness(value: float, higher_is_better: bool, ideal: float | None) -> float:
    """The score turned so that more is better; the nearer to the ideal, where there is one."""
    if ideal is not None:
        return -abs(value - ideal)
    return value if higher_is_better else -value
