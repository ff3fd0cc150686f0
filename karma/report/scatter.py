"""Figures of one thing against another: gain and factuality, reward and KL, reward and length."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from karma.figures import tidy
from karma.report.colours import colours

MARKERS = ("o", "s", "^", "D")
STYLES = ("-", "--", ":", "-.")


def pareto(points: list[dict[str, Any]]) -> Figure | None:
    """Gain on the primary benchmarks against the change in factuality, with both intervals."""
    if not points:
        return None
    colour = colours([point["variant"] for point in points])
    exposures = sorted({point["exposure"] for point in points})
    figure = Figure(figsize=(6.6, 4.4), layout="constrained")
    axis = figure.subplots()
    axis.axvline(0, color="black", linewidth=0.8)
    axis.axhline(0, color="black", linewidth=0.8)
    for point in points:
        marker = MARKERS[exposures.index(point["exposure"]) % len(MARKERS)]
        gain, facts = point["primary"], point["factuality"]
        axis.plot(
            gain["value"], facts["value"], marker, color=colour[point["variant"]], markersize=7
        )
        line: dict[str, Any] = {"color": colour[point["variant"]], "linewidth": 1.0}
        if gain["low"] is not None:
            axis.plot([gain["low"], gain["high"]], [facts["value"]] * 2, **line)
        if facts["low"] is not None:
            axis.plot([gain["value"]] * 2, [facts["low"], facts["high"]], **line)
    axis.set_xlabel("mean gain on the primary benchmarks, against the start")
    axis.set_ylabel("mean change in factuality, against the start")
    _legend(figure, points, colour, exposures)
    tidy(axis, "x")
    axis.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    return figure


def frontier(policies: list[dict[str, Any]]) -> Figure | None:
    """Reward and gold reward over the KL that they were had for, a line a policy."""
    shown = [policy for policy in policies if policy["curves"].get("kl")]
    if not shown:
        return None
    colour = colours([policy["variant"] for policy in shown])
    exposures = sorted({policy["exposure"] for policy in shown})
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, key, title in zip(
        axes, ("reward", "gold"), ("own reward", "gold reward, never optimised"), strict=True
    ):
        for policy in shown:
            kl, values = smooth(policy["curves"]["kl"]), smooth(policy["curves"][key])
            style = STYLES[exposures.index(policy["exposure"]) % len(STYLES)]
            axis.plot(kl, values, style, color=colour[policy["variant"]], linewidth=1.2)
            axis.plot(kl[-1], values[-1], "o", color=colour[policy["variant"]], markersize=4)
        axis.set_title(title, loc="left")
        axis.set_xlabel("KL from the start (nats a reply), mean of ten steps")
        tidy(axis, "y")
    handles = [
        Line2D(
            [],
            [],
            color=colour[variant],
            linestyle=STYLES[exposures.index(exposure) % len(STYLES)],
            label=f"{exposure} / {variant}",
        )
        for exposure, variant in dict.fromkeys((p["exposure"], p["variant"]) for p in shown)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def smooth(values: list[float], width: int = 10) -> list[float]:
    """The mean of each value and up to ``width`` − 1 before it."""
    windows = [values[max(0, end - width) : end] for end in range(1, len(values) + 1)]
    return [sum(window) / len(window) for window in windows]


def length(rows: list[dict[str, Any]]) -> Figure | None:
    """Each policy's gain in gold reward, and the part of it that longer replies explain."""
    if not rows:
        return None
    figure = Figure(figsize=(7.6, 0.9 + 0.34 * len(rows)), layout="constrained")
    axis = figure.subplots()
    axis.axvline(0, color="black", linewidth=0.8)
    for height, row in enumerate(rows):
        gain = row["gold"]["gain"]
        axis.barh(height, gain["value"], height=0.62, color="#9DC3E6")
        axis.barh(height, row["gold"]["by_length"]["value"], height=0.26, color="#1F4E79")
        if gain["low"] is not None:
            axis.plot([gain["low"], gain["high"]], [height, height], color="black", linewidth=1.0)
    axis.set_yticks(range(len(rows)), [row["model"] for row in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlabel("gold reward of held-out replies, gain over the start")
    handles = [
        Line2D([], [], linewidth=6, color=colour, label=label)
        for colour, label in (("#9DC3E6", "gain"), ("#1F4E79", "explained by length"))
    ]
    handles.append(Line2D([], [], linewidth=1.0, color="black", label="95 % interval of the gain"))
    figure.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False)
    tidy(axis, "x")
    axis.tick_params(axis="y", length=0)
    return figure


def _legend(
    figure: Figure,
    points: list[dict[str, Any]],
    colour: dict[str, str],
    exposures: list[str],
) -> None:
    variants = dict.fromkeys(point["variant"] for point in points)
    handles = [Line2D([], [], marker="o", linestyle="", color=colour[v], label=v) for v in variants]
    handles += [
        Line2D([], [], marker=MARKERS[i % len(MARKERS)], linestyle="", color="#555555", label=name)
        for i, name in enumerate(exposures)
    ]
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
