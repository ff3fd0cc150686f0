"""The colour of each reward variant: the same for the named ones in every figure."""

# Okabe and Ito's colours, which people with any colour vision can tell apart.
COLOURS = {
    "context": "#0072B2",
    "metadata": "#D55E00",
    "reply": "#009E73",
    "random": "#7F7F7F",
    "length": "#CC79A7",
}
OTHERS = ("#E69F00", "#56B4E9", "#8C564B", "#000000")


def colours(variants: list[str]) -> dict[str, str]:
    """A colour for each variant."""
    others = sorted(set(variants) - set(COLOURS))
    return COLOURS | {name: OTHERS[index % len(OTHERS)] for index, name in enumerate(others)}
