"""The report's figures, as PNG bytes that are the same for the same report.

They take the report's document and nothing else.
"""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from karma.figures import png, style, tidy
from karma.report import graph, scatter
from karma.report.colours import colours as colours_of

AGAINST = {"start": ("o", "full"), "random": ("s", "none")}
CURVES = (
    ("reward", "reward (standardised)"),
    ("gold", "gold reward, never optimised"),
    ("kl", "KL from the start (nats a reply)"),
    ("length", "reply length (tokens)"),
)


def draw(report: dict[str, Any]) -> dict[str, bytes]:
    """All figures that the report has data for, by file name."""
    with style():
        figures = {
            "forest.png": forest(report),
            "curves.png": curves(report["policies"], report["algorithm"]),
            "rewards.png": rewards(report["rewards"]),
            "pareto.png": scatter.pareto(report["pareto"]),
            "frontier.png": scatter.frontier(report["policies"]),
            "length.png": scatter.length(report["length"]["replies"]),
            "lineage.png": graph.draw(report["lineage"]),
        }
        return {name: png(figure) for name, figure in figures.items() if figure is not None}


def forest(report: dict[str, Any]) -> Figure | None:
    """Differences with their 95 % intervals, a panel a benchmark, a row a policy.

    Over seeds where there are enough of them, otherwise policy by policy.
    """
    rows = report["over_seeds"] or report["differences"]
    if not rows:
        return None
    benchmarks = list(dict.fromkeys(row["benchmark"] for row in rows))
    labels = list(dict.fromkeys(row["model"] for row in rows))
    colours = colours_of([row["variant"] for row in rows])
    across = min(3, len(benchmarks))
    down = math.ceil(len(benchmarks) / across)
    figure = Figure(figsize=(10.5, down * (0.95 + 0.3 * len(labels)) + 0.5), layout="constrained")
    axes = figure.subplots(down, across, sharey=True, squeeze=False).flatten()
    for axis, benchmark in zip(axes, benchmarks, strict=False):
        own = [row for row in rows if row["benchmark"] == benchmark]
        aim = _aim(report["headline"]["about"][benchmark])
        _forest_panel(axis, own, labels, colours, aim)
    for axis in axes[len(benchmarks) :]:
        axis.set_axis_off()
    axes[0].set_yticks(range(len(labels)), labels)
    axes[0].set_ylim(len(labels) - 0.5, -0.5)
    handles = [
        axes[0].plot([], [], marker, fillstyle=fill, color="black", label=f"against {name}")[0]
        for name, (marker, fill) in AGAINST.items()
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False)
    return figure


def _aim(about: dict[str, Any]) -> str:
    if about["ideal"] is not None:
        return f"best at {about['ideal']:g}"
    return f"{'higher' if about['higher_is_better'] else 'lower'} is better"


def _forest_panel(
    axis: Axes,
    rows: list[dict[str, Any]],
    labels: list[str],
    colours: dict[str, str],
    aim: str,
) -> None:
    """One benchmark: its differences as points on their intervals."""
    axis.axvline(0, color="black", linewidth=0.8)
    for row in rows:
        marker, fill = AGAINST[row["relation"]]
        height = labels.index(row["model"]) + (0.16 if row["relation"] == "random" else -0.16)
        colour = colours[row["variant"]]
        if row["low"] is not None:
            axis.plot([row["low"], row["high"]], [height, height], color=colour, linewidth=1.4)
        axis.plot(row["value"], height, marker, fillstyle=fill, color=colour, markersize=5)
    axis.set_title(f"{rows[0]['benchmark']}\n{rows[0]['metric']}, {aim}", loc="left")
    axis.xaxis.set_major_locator(MaxNLocator(5))
    tidy(axis, "x")
    axis.tick_params(axis="y", length=0)


def curves(policies: list[dict[str, Any]], algorithm: str) -> Figure | None:
    """Reward, gold reward, KL and length over the steps of every policy."""
    shown = [(key, title) for key, title in CURVES if any(p["curves"].get(key) for p in policies)]
    if not shown:
        return None
    colours = colours_of([policy["variant"] for policy in policies])
    exposures = sorted({policy["exposure"] for policy in policies})
    figure = Figure(figsize=(10.5, 2.9 * math.ceil(len(shown) / 2) + 0.4), layout="constrained")
    axes = figure.subplots(math.ceil(len(shown) / 2), 2, squeeze=False).flatten()
    seen: dict[str, Any] = {}
    for axis, (key, title) in zip(axes, shown, strict=False):
        for policy in policies:
            if not policy["curves"].get(key):
                continue
            style = ("-", "--", ":", "-.")[exposures.index(policy["exposure"]) % 4]
            (line,) = axis.plot(
                policy["curves"]["step"],
                policy["curves"][key],
                linestyle=style,
                color=colours[policy["variant"]],
                linewidth=1.4,
                alpha=0.9,
            )
            seen.setdefault(f"{policy['exposure']} / {policy['variant']}", line)
        axis.set_title(title, loc="left")
        axis.set_xlabel(f"{algorithm} step")
        tidy(axis, "y")
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    figure.legend(
        list(seen.values()), list(seen), loc="outside lower center", ncols=4, frameon=False
    )
    return figure


def rewards(rows: list[dict[str, Any]]) -> Figure | None:
    """How well each reward model predicts held-out karma, beside what length alone predicts."""
    rows = [row for row in rows if row["spearman"] is not None]
    if not rows:
        return None
    colours = colours_of([row["variant"] for row in rows])
    figure = Figure(figsize=(7.2, 0.9 + 0.36 * len(rows)), layout="constrained")
    axis = figure.subplots()
    axis.axvline(0, color="black", linewidth=0.8)
    for height, row in enumerate(rows):
        cell, colour = row["spearman"], colours[row["variant"]]
        if cell["low"] is not None:
            axis.plot([cell["low"], cell["high"]], [height, height], color=colour, linewidth=1.6)
        axis.plot(cell["value"], height, "o", color=colour, markersize=6)
        if row["length_spearman"] is not None:
            axis.plot(row["length_spearman"]["value"], height, "|", color="black", markersize=13)
    axis.plot([], [], "|", color="black", markersize=13, linestyle="none", label="length alone")
    axis.set_yticks(range(len(rows)), [row["id"] for row in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlabel("Spearman correlation with the valuation of held-out replies, 95 % interval")
    figure.legend(loc="outside upper right", frameon=False)
    tidy(axis, "x")
    axis.tick_params(axis="y", length=0)
    return figure
