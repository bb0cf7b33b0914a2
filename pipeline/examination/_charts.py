"""What the accepted rows look like: class balance and one histogram a measure, by class, with the outliers' fences."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline import charts
from pipeline.validation._outliers import Measure

if TYPE_CHECKING:
    import pandas as pd

MOST = 8  # classes with a colour of their own
BINS = 40
WORDS = {
    "width": "width [pixels]",
    "height": "height [pixels]",
    "aspect": "width / height",
    "brightness": "mean level, 0 to 255",
    "contrast": "standard deviation of the levels",
    "sharpness": "variance of the Laplacian",
    "bytes_per_pixel": "bytes of the file a pixel",
    "length": "characters of the cleaned text",
    "chinese": "share of Han characters",
}


def balance(counts: Mapping[str, int]) -> str:
    """Examples of each class, the 30 largest."""
    largest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:30]
    figure, axes = charts.axes(height=max(1.2, 0.5 + 0.22 * len(largest)))
    names = [charts.room(name) + _plain(name) for name, _ in largest][::-1]
    bars = axes.barh(range(len(names)), [count for _, count in largest][::-1], color=charts.BLUE, height=0.7)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.margins(x=0.15)
    axes.set_xlabel("examples")
    return charts.svg(figure)


def histogram(table: "pd.DataFrame", measure: Measure, fences: Mapping[str, float] | None) -> str:
    """Shares of the rows of each of the largest classes; the fences where they lie within the picture."""
    values = table[measure.column].astype("Float64").to_numpy(np.float64, na_value=np.nan)
    labels = table["label"].to_numpy(object)
    figure, axes = charts.axes(height=2.4)
    known = values[np.isfinite(values)]
    edges = _edges(known, measure)
    order = table["label"].value_counts().index.tolist()
    groups = order if len(order) <= MOST else ["all classes"]
    for number, name in enumerate(groups):
        mine = values[(labels == name) & np.isfinite(values)] if len(order) <= MOST else known
        counts = np.histogram(mine, edges)[0] / max(len(mine), 1)
        axes.stairs(
            100 * counts, edges, color=charts.COLOURS[number], label=_plain(name) + charts.room(name), linewidth=1.4
        )
    for side in fences or {}:
        if edges[0] < (fences or {})[side] < edges[-1]:
            axes.axvline((fences or {})[side], color=charts.GREY, linestyle=":", linewidth=1.2)
    if measure.log and edges[0] > 0 and edges[-1] > 20 * edges[0]:
        axes.set_xscale("log")
    axes.set(xlabel=WORDS.get(measure.column, measure.column), ylabel="% of the class")
    axes.legend(frameon=False, fontsize=7)
    return charts.svg(figure)


def _edges(values: np.ndarray, measure: Measure) -> np.ndarray:
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    if measure.log and low > 0 and high > 20 * low:
        return np.geomspace(low, high, BINS + 1)
    return np.linspace(low, high, BINS + 1)


def growth(texts: Sequence[str]) -> str:
    """Distinct characters after so many texts: a curve that is still steep asks for more data."""
    seen: set[str] = set()
    places, counts = [0], [0]
    for number, text in enumerate(texts, 1):
        seen.update(text)
        if number % max(1, len(texts) // 100) == 0:
            places.append(number)
            counts.append(len(seen))
    figure, axes = charts.axes(height=2.4)
    axes.plot(places, counts, color=charts.BLUE)
    axes.set(xlabel="texts", ylabel="distinct characters")
    return charts.svg(figure)


def _plain(name: str) -> str:
    """A dollar sign would begin a formula."""
    return (name if len(name) <= 24 else name[:23] + "…").replace("$", r"\$")
