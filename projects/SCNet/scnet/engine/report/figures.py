"""Curves as drawings that are part of the page, in its colours, light or dark."""

import io
import re
from typing import Any, NamedTuple, Optional, Sequence, Tuple

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

# Colours that can be told apart on white and on black.
COLORS = (
    *("#3d85c6", "#d9822b", "#2f9e6e", "#c9506e", "#8a63c9", "#8d7b52"),
    *("#2a9db0", "#b5892b", "#6f9a37", "#b05fb0", "#5f74c9", "#a8653f"),
)
# Matplotlib knows no colours of the page: it draws in these, and the page's take their place.
INK, RULE = "#010203", "#040506"
OF_THE_PAGE = {INK: "currentColor", RULE: "var(--rule)"}
WIDTH, HEIGHT = 5.6, 3.4  # inches
OPTIONS: Any = {  # Matplotlib's type for it lists all options that there are
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "scnet",  # the same drawing has the same names of its parts
    "text.parse_math": False,  # a name of a class may have dollars
    "font.size": 9,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "grid.color": RULE,
}


class Line(NamedTuple):
    """One curve.

    Attributes:
        name: in the legend; "" for none.
        x, y: (N,).
        kind: "strong" for the most important ones, "plain", or "faint" for one of many.
        mark: the place of a point to mark.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    kind: str = "plain"
    mark: Optional[int] = None


def draw_lines(
    lines: Sequence[Line],
    *,
    x: str,
    y: str,
    title: str,
    x_range: Optional[Tuple[float, float]] = None,
    y_range: Optional[Tuple[float, float]] = None,
    log: bool = False,
) -> Markup:
    """Draw curves.

    Args:
        lines: from the back to the front.
        x, y: what the axes are.
        title: is read to who cannot see the drawing.
        x_range, y_range: of the axes; by default those of the curves.
        log: the axis y has steps of powers of ten.

    Returns:
        an svg element.
    """
    file = io.StringIO()
    with matplotlib.rc_context(OPTIONS):
        figure = Figure((WIDTH, HEIGHT), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.grid(linewidth=0.5)
        axes.set(xlabel=x, ylabel=y, yscale="log" if log else "linear")
        if log:  # the usual labels are formulas, which OPTIONS leaves as text
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        colors = iter(COLORS * (1 + len(lines) // len(COLORS)))
        for line in lines:
            strong, faint = line.kind == "strong", line.kind == "faint"
            axes.plot(
                *(line.x, line.y),
                color=INK if strong or faint else next(colors),
                linewidth=2 if strong else 0.8 if faint else 1.3,
                alpha=0.25 if faint else 1,
                label=line.name or "_",  # Matplotlib leaves out what begins with it
                marker="o" if line.mark is not None or len(line.x) == 1 else None,
                markevery=None if line.mark is None else [line.mark],
                markersize=5,
            )
        if x_range:  # a limit of None would stop the axis from following the curves
            axes.set_xlim(x_range)
        if y_range:
            axes.set_ylim(y_range)
        if any(line.name for line in lines):
            columns = min(3, len(lines))
            figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=columns)
        figure.savefig(file, format="svg", transparent=True)
    return Markup(_for_the_page(file.getvalue(), title))


def _for_the_page(svg: str, title: str) -> str:
    """Leave out what is for a file of its own, and take the colours of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    size = re.search(r'viewBox="[^"]*"', svg)
    assert size
    head = f'<svg {size[0]} role="img" aria-label="{Markup.escape(title)}">'
    svg = head + svg[svg.index(">") + 1 :]
    for color, of_the_page in OF_THE_PAGE.items():
        svg = svg.replace(color, of_the_page)
    return svg
