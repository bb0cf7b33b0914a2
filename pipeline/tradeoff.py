"""The chart of a candidate's variants in compress.json: latency across, quality up, size as the area of each dot."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline import charts, metrics

DRAWN = 25  # dots of the chart: the chosen one, what it is compared with, the Pareto set, then what passes
BESIDE = ("eager", "fp32", "control-fp32")  # what the others are compared with
COLOURS = {
    "fp32": charts.BLUE,
    "static_int8": charts.RED,
    "dynamic_int8": charts.COLOURS[2],
    "fp16": charts.COLOURS[3],
    "bf16": charts.COLOURS[6],
}
MARKERS = {"trained": "o", "control": "D"}


def batches(entry: Mapping[str, Any]) -> list[int]:
    """The batch that decides, and the largest of the others."""
    first, *others = entry["target"]["batch_sizes"]
    return [first, max(others)] if others else [first]


def median(variant: Mapping[str, Any], batch: int) -> float:
    return float(variant["latency_ms"][str(batch)]["median"])


def scheme(variant: Mapping[str, Any]) -> str:
    named = str(variant["scheme"]).replace("+", " + ")
    return f"{named}, PyTorch" if variant["engine"] == "pytorch" else named


def threads(entry: Mapping[str, Any]) -> str:
    count = entry["target"]["threads"]
    return f"{count} thread{'s' * (count != 1)}"


def _drawn(entry: Mapping[str, Any]) -> list[str]:
    """The names of the variants that the chart has, the largest first, so that no dot hides a smaller one."""
    variants = entry["variants"]

    def rank(name: str) -> tuple[bool, bool, bool, bool, int, str]:
        variant = variants[name]
        first = (name != entry["chosen"], name not in BESIDE, not variant["pareto"], bool(variant["rejected"]))
        return *first, variant["bytes"], name

    timed = [name for name, variant in variants.items() if variant["latency_ms"]]
    return sorted(sorted(timed, key=rank)[:DRAWN], key=lambda name: (-variants[name]["bytes"], name))


def _worst(entry: Mapping[str, Any], headline: str) -> float:
    """The headline below which dots are out of sight: one variant that collapsed would flatten all others."""
    sign = metrics.sign(headline)
    scores = {name: sign * variant["validation"][headline] for name, variant in entry["variants"].items()}
    fair = [scores[n] for n, variant in entry["variants"].items() if n in BESIDE or not variant["rejected"]]
    best = max(scores.values())
    return sign * (best - 3 * max(best - min(fair), entry["budget"]["max_drop"]) - 1e-9)


def _least(entry: Mapping[str, Any], headline: str) -> float:
    """The headline that the budget still allows: so much worse than the best of the references."""
    variants, sign = entry["variants"], metrics.sign(headline)
    names = {"control-fp32" if variant["reference"] == "control" else "fp32" for variant in variants.values()}
    return float(
        sign * (max(sign * variants[name]["validation"][headline] for name in names) - entry["budget"]["max_drop"])
    )


def beside(entry: Mapping[str, Any], headline: str) -> str:
    """How to read the chart and what it leaves out, for the line below it."""
    sign, worst, drawn = metrics.sign(headline), _worst(entry, headline), _drawn(entry)
    below = sum(sign * entry["variants"][name]["validation"][headline] < sign * worst for name in drawn)
    omitted = len(entry["variants"]) - len(drawn)
    untimed = sum(not variant["latency_ms"] for variant in entry["variants"].values())
    counts = {"far worse": below, "at fault and not timed": untimed, "more": omitted - untimed}
    said = [f"{count} {what}" for what, count in counts.items() if count]
    omitted_too = f" In the table alone: {', '.join(said)}." if said else ""
    return f"The area of a dot is its size. The dashed line joins the fastest at each quality.{omitted_too}"


def chart(entry: Mapping[str, Any], headline: str) -> str:
    """Latency across, quality up, size as the area of each dot, as SVG.

    The line joins those of the Pareto set than which none that is drawn is both faster and better.
    """
    variants, batch = entry["variants"], batches(entry)[0]
    sign, worst = metrics.sign(headline), _worst(entry, headline)
    drawn = [n for n in _drawn(entry) if sign * variants[n]["validation"][headline] >= sign * worst]
    places = {name: (median(variants[name], batch), variants[name]["validation"][headline]) for name in drawn}
    largest = max(variants[name]["bytes"] for name in drawn)
    areas = {name: 24 + 360 * variants[name]["bytes"] / largest for name in drawn}
    colours, markers = _colours(variants[name] for name in drawn), _markers(variants.values())
    figure, axes = charts.axes(5.6, 3.5)
    front = _front((places[name] for name in drawn if variants[name]["pareto"]), sign)
    axes.plot(*zip(*front), color=charts.GREY, linewidth=0.9, linestyle="--", zorder=1)
    for name in drawn:
        colour, hollow = colours[scheme(variants[name])], bool(variants[name]["rejected"])
        face, edge = ("none", colour) if hollow else (colour, "white")
        look = {"facecolors": face, "edgecolors": edge, "linewidths": 1.1 if hollow else 0.6, "zorder": 2}
        axes.scatter(*places[name], s=areas[name], marker=markers[variants[name]["network"]], alpha=0.8, **look)
    axes.axhline(_least(entry, headline), color=charts.RED, linewidth=0.9, linestyle=":", zorder=1)
    if entry["chosen"] in places:
        ring = {"facecolors": "none", "edgecolors": "#1c2430", "linewidths": 1.4, "zorder": 3}
        axes.scatter(*places[entry["chosen"]], s=(areas[entry["chosen"]] ** 0.5 + 7) ** 2, **ring)
    _scale(axes, sign)
    axes.set(xlabel=f"median latency, batch {batch}, {threads(entry)} [ms]", ylabel=f"{headline}, validation")
    networks = {variants[name]["network"] for name in drawn}
    _legend(axes, colours, {name: marker for name, marker in markers.items() if name in networks})
    return charts.svg(figure)


def _front(places: Iterable[tuple[float, float]], sign: float) -> list[tuple[float, float]]:
    """The places (latency, quality), the fastest first, that are better than all faster ones."""
    found: list[tuple[float, float]] = []
    for latency, score in sorted(places, key=lambda place: (place[0], -sign * place[1])):
        if not found or sign * score > sign * found[-1][1]:
            found.append((latency, score))
    return found


def _scale(axes: Any, sign: float) -> None:
    """Latency in the logarithm with plain numbers, and the better quality up."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    axes.set_xscale("log")
    axes.margins(0.12, 0.16)
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 6 * low else MaxNLocator(5))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    if sign < 0:
        axes.invert_yaxis()


def _colours(variants: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """A colour a scheme: the usual ones have theirs on every page, eager PyTorch is grey."""
    schemes = sorted({(variant["engine"] == "pytorch", scheme(variant)) for variant in variants})
    free = itertools.cycle(colour for colour in charts.COLOURS[:-1] if colour not in COLOURS.values())
    return {name: charts.GREY if eager else COLOURS.get(name) or next(free) for eager, name in schemes}


def _markers(variants: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """A shape a network."""
    pruned = sorted({variant["network"] for variant in variants} - MARKERS.keys())
    return MARKERS | dict(zip(pruned, itertools.cycle("s^vPX<>")))


def _legend(axes: Any, colours: Mapping[str, str], markers: Mapping[str, str]) -> None:
    """Below the chart: what colours, shapes, rings and hollow dots say."""
    from matplotlib.lines import Line2D

    def key(label: str, colour: str, **look: Any) -> Any:
        usual: dict[str, Any] = {"marker": "o", "markersize": 5, "linestyle": ""}
        return Line2D([], [], color=colour, label=label, **(usual | look))

    ink = "#5d6b7c"
    keys = [key(scheme, colour) for scheme, colour in colours.items()]
    if len(markers) > 1:
        keys += [key(network, ink, marker=marker) for network, marker in markers.items()]
    keys += [
        key("chosen", "#1c2430", markersize=8, fillstyle="none"),
        key("rejected", ink, fillstyle="none"),
        key("Pareto set", charts.GREY, marker="", linestyle="--", linewidth=0.9),
        key("least allowed", charts.RED, marker="", linestyle=":", linewidth=0.9),
    ]
    axes.legend(handles=keys, frameon=False, fontsize=7.5, ncols=3, loc="upper center", bbox_to_anchor=(0.45, -0.17))
