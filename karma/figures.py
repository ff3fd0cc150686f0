"""What all figures have in common: the same look, and the same bytes for the same data.

Figures are built on matplotlib's object interface: no global figure, no user's style file, no date
or version in the file.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's defaults, and not what a user's style file says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        # A name from a recipe or a dump is no mathematics, whatever signs it holds.
        mpl.rcParams.update({"text.parse_math": False, "font.size": 9, "axes.titlesize": 9.5})
        yield


def tidy(axis: Axes, grid: Literal["x", "y"]) -> None:
    """A light grid along one axis and no box around the data."""
    axis.grid(axis=grid, color="#DDDDDD", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left" if grid == "x" else "bottom"]].set_visible(False)


def png(figure: Figure) -> bytes:
    """The figure as PNG on white, without matplotlib's version in its metadata."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
