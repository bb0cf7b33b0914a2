"""Charts as SVG inside a page: the browser draws the words, and equal figures give equal bytes."""

import io
import unicodedata
import warnings
from typing import Any

BLUE, RED, GREY = "#1f5f99", "#b03a2e", "#8a94a0"
COLOURS = (BLUE, RED, "#3c8d5a", "#c78a1e", "#6d4c9f", "#2a9aa8", "#8a5a44", GREY)


def axes(width: float = 5.2, height: float = 3.1) -> tuple[Any, Any]:
    """A figure of this size in inches, and its axes."""
    import matplotlib
    from matplotlib.figure import Figure

    # The ids inside do not change from run to run.
    matplotlib.rcParams.update(
        {"svg.fonttype": "none", "svg.hashsalt": "danlu", "font.size": 9, "font.family": "sans-serif"}
    )
    figure = Figure(figsize=(width, height))
    found = figure.add_subplot()
    found.spines[["top", "right"]].set_visible(False)
    found.grid(alpha=0.25)
    return figure, found


def room(name: str) -> str:
    """Blanks that, beside the name, let the layout have the width that the browser will need.

    The layout knows no wide letters: it counts each as 0.6 of the font's size, a blank as 0.32; a browser draws 1.
    """
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in name)
    return "\u00a0" * round(wide * 0.4 / 0.32)


def svg(figure: Any) -> str:
    buffer = io.StringIO()
    with warnings.catch_warnings():  # the layout's font lacks Chinese; the browser's has it
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
