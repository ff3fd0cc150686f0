"""The data card's figures: one histogram each, as PNG bytes that depend on the numbers alone."""

from typing import Any

from matplotlib.figure import Figure

from karma.figures import png, style, tidy

COLOUR = "#0072B2"
LONGEST = 24  # characters of a name that fit beside a bar

Bars = list[list[Any]]


def draw(profile: dict[str, Any]) -> dict[str, bytes]:
    """The figures that the profile has numbers for, by file name."""
    filtered = sorted(profile["threads"]["filtered"].items(), key=lambda item: -item[1])
    kept = ["kept", profile["threads"]["conversations"]]
    replies = "replies (log scale)"
    figures = {
        "scores.png": upright(profile["scores"], "score", replies),
        "depths.png": upright(profile["depths"], "depth (1 answers the post)", replies),
        "ages.png": upright(profile["ages"], "age when the score was read", replies),
        "subreddits.png": lying(profile["subreddits"], "replies"),
        "filtered.png": lying([kept, *map(list, filtered)], "comments"),
        "margins.png": upright(profile["margins"], "margin between valuations", "pairs", log=False),
    }
    return {name: figure for name, figure in figures.items() if figure}


def upright(bars: Bars, what: str, counted: str, log: bool = True) -> bytes:
    """Bars that stand side by side, in the order of their labels; nothing if all are empty."""
    if not any(count for _, count in bars):
        return b""
    with style():
        figure = Figure(figsize=(7.2, 3.0), layout="constrained")
        axis = figure.subplots()
        labels = [str(label) for label, _ in bars]
        axis.bar(range(len(bars)), [count for _, count in bars], color=COLOUR, width=0.8)
        axis.set_xticks(range(len(bars)), labels, rotation=45, ha="right")
        if log:
            axis.set_yscale("symlog", linthresh=1)
        axis.yaxis.set_major_formatter("{x:,.0f}")
        axis.set_ylim(bottom=0)
        axis.set_xlabel(what)
        axis.set_ylabel(counted)
        tidy(axis, "y")
        return png(figure)


def lying(bars: Bars, counted: str) -> bytes:
    """Bars that lie below each other, each with its number; nothing if all are empty."""
    if not any(count for _, count in bars):
        return b""
    with style():
        figure = Figure(figsize=(7.2, 0.7 + 0.24 * len(bars)), layout="constrained")
        axis = figure.subplots()
        drawn = axis.barh(range(len(bars)), [count for _, count in bars], color=COLOUR)
        axis.bar_label(drawn, labels=[f"{count:,}" for _, count in bars], padding=3)
        axis.set_yticks(range(len(bars)), [_drawable(label) for label, _ in bars])
        axis.set_ylim(len(bars) - 0.5, -0.5)
        axis.margins(x=0.12)
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.set_xlabel(counted)
        tidy(axis, "x")
        axis.tick_params(axis="y", length=0)
        return png(figure)


def _drawable(name: str) -> str:
    """A name as the font can draw it: what is not printable ASCII becomes a question mark."""
    known = "".join(sign if " " <= sign <= "~" else "?" for sign in name)
    return known if len(known) <= LONGEST else known[: LONGEST - 3] + "..."
