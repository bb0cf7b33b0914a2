"""What compression says of itself on the report: budget and choice, the Pareto chart, all variants, what pruning costs.

It reads compress.json. A drop is how much worse a variant is than its reference, whichever way the headline runs.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline import charts, metrics

DRAWN = 25  # dots of the chart: the chosen one, what it is compared with, the Pareto set, then what passes
LONG = 12  # rows from which on a table shows its telling rows alone and folds the others
GROUPS = 40  # rows of the heat map, those that hold the most weights
NAMED = 6  # names in one sentence
BESIDE = ("eager", "fp32", "control-fp32")  # what the others are compared with
COLOURS = {
    "fp32": charts.BLUE,
    "static_int8": charts.RED,
    "dynamic_int8": charts.COLOURS[2],
    "fp16": charts.COLOURS[3],
    "bf16": charts.COLOURS[6],
}
MARKERS = {"trained": "o", "control": "D"}
BOUNDS = {
    "point": "as measured",
    "upper_90": "at the upper end of its 90 % interval",
    "upper_95": "at the upper end of its 95 % interval",
}


def described(compressed: Mapping[str, Any], served: str) -> list[dict[str, Any]]:
    """What the page says of each candidate of compress.json, the served one first."""
    headline, candidates = compressed["headline"], compressed["candidates"]
    return [
        _candidate(name, candidates[name], headline)
        for name in sorted(candidates, key=lambda name: (name != served, name))
    ]


def _candidate(name: str, entry: Mapping[str, Any], headline: str) -> dict[str, Any]:
    rows, short = variant_rows(entry, headline), _short(entry)
    long = len(rows) > LONG
    return {
        "name": name,
        "chosen": entry["chosen"],
        "headline": headline,
        "budget": budget(entry, headline),
        "words": words(entry, headline),
        "chart": tradeoff(entry, headline),
        "beside": beside(entry, headline),
        "batches": _batches(entry),
        "rows": [row for row in rows if row["telling"] or not long],
        "others": [row for row in rows if long and not row["telling"]],
        "about": about(entry),
        "heat": heat(entry["sensitivity"], short) if entry["sensitivity"] else None,
        "left": left(entry["left"]),
        "levels": level_rows(entry["levels"], short),
    }


def size_text(count: float) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def listed(names: Sequence[str], most: int = NAMED) -> str:
    """The first names and how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def _milliseconds(value: float, digits: int = 3) -> str:
    """So many digits, whether it takes microseconds or seconds."""
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(value)))}f}" if value > 0 else "0"


def _signed(value: float) -> str:
    """A drop with the sign that print has for minus, and none where it rounds to nothing."""
    return f"{value:.3f}".replace("-", "−") if round(value, 3) else "0.000"


def _batches(entry: Mapping[str, Any]) -> list[int]:
    """The batch that decides, and the largest of the others."""
    first, *others = entry["target"]["batch_sizes"]
    return [first, max(others)] if others else [first]


def _median(variant: Mapping[str, Any], batch: int) -> float:
    return float(variant["latency_ms"][str(batch)]["median"])


def _scheme(variant: Mapping[str, Any]) -> str:
    scheme = str(variant["scheme"]).replace("+", " + ")
    return f"{scheme}, PyTorch" if variant["engine"] == "pytorch" else scheme


def latency_tile(entry: Mapping[str, Any]) -> dict[str, str]:
    """The served variant's median latency at the smallest batch, to be read first."""
    batch = _batches(entry)[0]
    served, eager = entry["variants"][entry["chosen"]], entry["variants"]["eager"]
    note = f"{_median(eager, batch) / _median(served, batch):.1f}× as fast as eager PyTorch, batch {batch}"
    return {"name": "latency", "value": f"{_milliseconds(_median(served, batch))} ms", "note": note}


def _threads(entry: Mapping[str, Any]) -> str:
    threads = entry["target"]["threads"]
    return f"{threads} thread{'s' * (threads != 1)}"


def budget(entry: Mapping[str, Any], headline: str) -> str:
    """What was asked of a variant to be published."""
    asked = entry["budget"]
    way = "lower" if metrics.sign(headline) > 0 else "higher"
    said = [f"{headline} at most {asked['max_drop']:.3g} {way}, {BOUNDS[asked['bound']]}"]
    if asked["class_drops"]:
        said.append(f"recall {_class_drops(asked['class_drops'])} lower")
    if folded := next(filter(None, (variant["out_of_fold"] for variant in entry["variants"].values())), None):
        said.append(_out_of_fold(folded, headline, way))
    if asked["speedup"] is not None:
        said.append(f"at least {asked['speedup']:g}× as fast as eager PyTorch")
    if asked["bytes"] is not None:
        said.append(f"at most {size_text(asked['bytes'])}")
    if asked["disagreement"] is not None:
        said.append(f"at most {asked['disagreement']:.1%} of the answers other than the trained network's")
    said.append(f"at least {asked['min_speedup']:g}× as fast as fp32 in ONNX Runtime")
    return "; ".join(said) + "."


def _out_of_fold(folded: Mapping[str, Any], headline: str, way: str) -> str:
    """What was asked where the folds judge."""
    limits = folded["limits"]
    recall = f" and recall {_class_drops(limits['class_drops'])} lower" if limits["class_drops"] else ""
    return f"on {folded['examples']:,} rows out of fold {headline} at most {limits['max_drop']:.3g} {way}{recall}"


def _class_drops(allowed: Mapping[str, float]) -> str:
    """`of a, b at most 0.05`, for each drop that some class may have."""
    drops: dict[float, list[str]] = {}
    for name, drop in allowed.items():
        drops.setdefault(drop, []).append(name)
    return " and ".join(f"of {listed(names)} at most {drop:.3g}" for drop, names in sorted(drops.items()))


def _interval(entry: Mapping[str, Any]) -> str:
    return "90 % paired interval" if entry["budget"]["bound"] == "upper_90" else "95 % paired interval"


def words(entry: Mapping[str, Any], headline: str) -> str:
    """Why this one was chosen, what it loses by the paired interval, and how many examples a tighter bound needs."""
    reason = entry["reason"].removeprefix(f"{entry['chosen']}: ")
    said = [reason[:1].upper() + reason[1:].rstrip(".") + "."]
    drop, allowed, chosen = entry["drop"], entry["max_drop"], entry["variants"][entry["chosen"]]
    if drop is not None and entry["chosen"] != "fp32":  # the trained network itself, which loses nothing
        folded = entry["judged"]["by"] == "folds"
        said.append(
            f"On {entry['judged']['examples']:,} {'rows out of fold' if folded else 'validation examples'} it loses "
            f"{_signed(drop['value'])} {headline} against {chosen['reference']}, {_interval(entry)} "
            f"{_signed(drop['low'])} to {_signed(drop['high'])}."
        )
        if folded:
            said.append(
                f"In each fold it was made anew from the fold's own network; on validation it loses "
                f"{_signed(chosen['drop']['value'])}."
            )
        if drop["high"] <= allowed:
            said.append("The whole interval keeps the budget.")
        elif entry["needed_examples"]:
            said.append(
                f"About {entry['needed_examples']:,} examples are needed until its upper end keeps the budget too, "
                "if the drop is as measured."
            )
    return " ".join(said)


def about(entry: Mapping[str, Any]) -> str:
    """What the figures of the table are, for the line below it."""
    target = entry["target"]
    references = sorted({variant["reference"] for variant in entry["variants"].values() if variant["drop"]})
    against = f"against {' or '.join(references)}, " if references else ""
    return (
        f"Median and 95th percentile in milliseconds on {target['device']}, {_threads(entry)}, {target['processor']}. "
        "Size against fp32 in ONNX Runtime, time against eager PyTorch at the same batch. Quality on validation; "
        f"drop: {against}on the same examples, with its {_interval(entry)}. Agrees: the share of answers that "
        "equal the trained network's. ◆ is in the Pareto set: no other variant is as small, as fast and as good, and "
        "better in one of them."
    )


def variant_rows(entry: Mapping[str, Any], headline: str) -> list[dict[str, Any]]:
    """The variants of a candidate by their size, for a table. telling: one that a folded table shows too."""
    variants = entry["variants"]
    ordered = sorted(variants, key=lambda name: (variants[name]["bytes"], name))
    return [_row(name, entry, headline) for name in ordered]


def _row(name: str, entry: Mapping[str, Any], headline: str) -> dict[str, Any]:
    variants, variant = entry["variants"], entry["variants"][name]
    drop, chosen = variant["drop"], name == entry["chosen"]
    verdict = "chosen" if chosen else "the reference" if variant["engine"] == "pytorch" else "passes"
    return {
        "name": name,
        "network": variant["network"],
        "scheme": _scheme(variant),
        "note": entry["notes"].get(name, ""),
        "size": size_text(variant["bytes"]),
        "smaller": _smaller(variants["fp32"]["bytes"] / variant["bytes"]),
        "times": [_time(variant, variants["eager"], batch) for batch in _batches(entry)],
        "memory": "–" if variant["memory"] is None else size_text(variant["memory"]),
        "score": f"{variant['validation'][headline]:.3f}",
        "drop": _signed(drop["value"]) if drop else "–",
        "interval": f"{_signed(drop['low'])} to {_signed(drop['high'])}" if drop else "",
        "agreement": f"{variant['agreement']:.1%}",
        "reasons": [] if chosen else variant["rejected"],
        "verdict": verdict,
        "chosen": chosen,
        "pareto": variant["pareto"],
        "telling": chosen or variant["pareto"] or name in ("eager", "fp32"),
    }


def _smaller(ratio: float) -> str:
    return f"{ratio:.1f}× smaller" if ratio >= 1.05 else f"{1 / ratio:.1f}× larger" if ratio <= 1 / 1.05 else ""


def _time(variant: Mapping[str, Any], eager: Mapping[str, Any], batch: int) -> dict[str, str] | None:
    """None of a graph that is at fault, which is not timed."""
    taken = variant["latency_ms"].get(str(batch))
    return taken and {
        "median": _milliseconds(taken["median"]),
        "p95": _milliseconds(taken["p95"], 2),
        "faster": f"{_median(eager, batch) / taken['median']:.1f}×",
    }


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


def tradeoff(entry: Mapping[str, Any], headline: str) -> str:
    """Latency across, quality up, size as the area of each dot, as SVG.

    The line joins those of the Pareto set than which none that is drawn is both faster and better.
    """
    variants, batch = entry["variants"], _batches(entry)[0]
    sign, worst = metrics.sign(headline), _worst(entry, headline)
    drawn = [n for n in _drawn(entry) if sign * variants[n]["validation"][headline] >= sign * worst]
    places = {name: (_median(variants[name], batch), variants[name]["validation"][headline]) for name in drawn}
    largest = max(variants[name]["bytes"] for name in drawn)
    areas = {name: 24 + 360 * variants[name]["bytes"] / largest for name in drawn}
    colours, markers = _colours(variants[name] for name in drawn), _markers(variants.values())
    figure, axes = charts.axes(5.6, 3.5)
    front = _front((places[name] for name in drawn if variants[name]["pareto"]), sign)
    axes.plot(*zip(*front), color=charts.GREY, linewidth=0.9, linestyle="--", zorder=1)
    for name in drawn:
        colour, hollow = colours[_scheme(variants[name])], bool(variants[name]["rejected"])
        face, edge = ("none", colour) if hollow else (colour, "white")
        look = {"facecolors": face, "edgecolors": edge, "linewidths": 1.1 if hollow else 0.6, "zorder": 2}
        axes.scatter(*places[name], s=areas[name], marker=markers[variants[name]["network"]], alpha=0.8, **look)
    axes.axhline(_least(entry, headline), color=charts.RED, linewidth=0.9, linestyle=":", zorder=1)
    if entry["chosen"] in places:
        ring = {"facecolors": "none", "edgecolors": "#1c2430", "linewidths": 1.4, "zorder": 3}
        axes.scatter(*places[entry["chosen"]], s=(areas[entry["chosen"]] ** 0.5 + 7) ** 2, **ring)
    _scale(axes, sign)
    axes.set(xlabel=f"median latency, batch {batch}, {_threads(entry)} [ms]", ylabel=f"{headline}, validation")
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
    schemes = sorted({(variant["engine"] == "pytorch", _scheme(variant)) for variant in variants})
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


def heat(sensitivity: Mapping[str, Any], short: Mapping[str, str]) -> dict[str, Any]:
    """What each group loses when a share of it is pruned and nothing else: a row a group, a cell a share.

    A cell's shade in 0..1 is the square root of its loss over the largest, so that the budget's own size is seen.
    """
    sign, groups = metrics.sign(sensitivity["measure"]), _largest(sensitivity["groups"])
    ratios = sorted({level["ratio"] for group in groups for level in group["levels"]})
    lost = [sign * (sensitivity["score"] - level["score"]) for group in groups for level in group["levels"]]
    most = max([*lost, 0.0])
    rows = []
    for group in groups:
        name, levels = group["name"], {level["ratio"]: level for level in group["levels"]}
        cells = [_cell(levels.get(ratio), sensitivity["score"], sign, most) for ratio in ratios]
        width = f"{group['count']:,} {group['kind']}"
        rows.append({"name": short[name], "full": name, "width": width, "cells": cells})
    return {
        "measure": sensitivity["measure"],
        "ratios": [f"{ratio:.0%}".replace("%", " %") for ratio in ratios],
        "rows": rows,
        "score": f"{sensitivity['score']:.3f}",
        "most": f"{most:.3f}",
        "hidden": len(sensitivity["groups"]) - len(groups),
    }


def _largest(groups: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The groups without which the network is smallest, in the network's order."""

    def left_over(place: int) -> float:
        return min((level["bytes"] for level in groups[place]["levels"]), default=math.inf)

    return [groups[place] for place in sorted(sorted(range(len(groups)), key=left_over)[:GROUPS])]


def _cell(level: Mapping[str, Any] | None, score: float, sign: float, most: float) -> dict[str, Any]:
    if level is None:
        return {"score": "", "shade": 0.0, "note": "not possible: in such steps it is another share, or all"}
    lost = max(0.0, sign * (score - level["score"]))
    note = f"{level['kept']} kept: {_milliseconds(level['latency_ms'])} ms, {size_text(level['bytes'])}"
    return {"score": f"{level['score']:.3f}", "shade": round(math.sqrt(lost / most), 3) if most else 0.0, "note": note}


def _short(entry: Mapping[str, Any]) -> dict[str, str]:
    """What the page calls each part that can be cut."""
    groups = [group["name"] for group in (entry["sensitivity"] or {"groups": []})["groups"]]
    cut = [name for level in entry["levels"] for name in level["cut"]]
    names = [*groups, *cut]
    return dict(zip(names, shortened(names)))


def shortened(names: Sequence[str], longest: int = 28) -> list[str]:
    """Names of modules without the modules around them that all share; of one that is long still, those around it
    by their first letters.
    """
    folders = [name.split(".")[:-1] for name in names]
    shared = sum(1 for _ in itertools.takewhile(lambda level: len(set(level)) == 1, zip(*folders)))
    return [_fitted(name.split(".")[shared:], longest) for name in names]


def _fitted(parts: Sequence[str], longest: int) -> str:
    """As many parts by their first three letters as it takes, from the left; of what is long even then, the end."""
    found = list(parts)
    for place in range(len(found) - 1):
        if len(".".join(found)) <= longest:
            break
        found[place] = found[place][:3]
    name = ".".join(found)
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


def left(parts: Iterable[Mapping[str, str]]) -> str:
    """What could not be pruned or quantised, and why."""
    reasons: dict[str, list[str]] = {}
    for part in parts:
        reasons.setdefault(part["reason"].rstrip("."), []).append(part["name"] or "the network")
    return "; ".join(f"{listed(names)} ({reason})" for reason, names in reasons.items())


def level_rows(levels: Iterable[Mapping[str, Any]], short: Mapping[str, str]) -> list[dict[str, Any]]:
    """The pruned networks, for a table."""
    return [
        {
            "name": level["name"],
            "saving": f"{level['saving']:.0%}".replace("%", " %"),
            "parameters": f"{level['parameters']:,}",
            "cut": [f"{short[name]} {kept} of {count}" for name, (kept, count) in level["cut"].items()],
            "epochs": level["epochs"],
            "distilled": "yes" if level["distilled"] else "no",
            "before": f"{level['before']:.3f}",
            "after": f"{level['after']:.3f}",
            "control": f"{level['control']:.3f}",
        }
        for level in levels
    ]
