"""What compression says of itself on the report: budget and choice, all variants, what pruning costs.

It reads compress.json. A drop is how much worse a variant is than its reference, whichever way the headline runs.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline import metrics, tradeoff

LONG = 12  # rows from which on a table shows its telling rows alone and folds the others
GROUPS = 40  # rows of the heat map, those that hold the most weights
NAMED = 6  # names in one sentence
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
        "chart": tradeoff.chart(entry, headline),
        "beside": tradeoff.beside(entry, headline),
        "batches": tradeoff.batches(entry),
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


def latency_tile(entry: Mapping[str, Any]) -> dict[str, str]:
    """The served variant's median latency at the smallest batch, to be read first."""
    batch = tradeoff.batches(entry)[0]
    served, eager = (tradeoff.median(entry["variants"][name], batch) for name in (entry["chosen"], "eager"))
    note = f"{eager / served:.1f}× as fast as eager PyTorch, batch {batch}"
    return {"name": "latency", "value": f"{_milliseconds(served)} ms", "note": note}


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
        f"Median and 95th percentile in milliseconds on {target['device']}, {tradeoff.threads(entry)}, "
        f"{target['processor']}. Size against fp32 in ONNX Runtime, time against eager PyTorch at the same batch. "
        f"Quality on validation; drop: {against}on the same examples, with its {_interval(entry)}. Agrees: the share "
        "of answers that equal the trained network's. ◆ is in the Pareto set: no other variant is as small, as fast "
        "and as good, and better in one of them."
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
        "scheme": tradeoff.scheme(variant),
        "note": entry["notes"].get(name, ""),
        "size": size_text(variant["bytes"]),
        "smaller": _smaller(variants["fp32"]["bytes"] / variant["bytes"]),
        "times": [_time(variant, variants["eager"], batch) for batch in tradeoff.batches(entry)],
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
        "faster": f"{tradeoff.median(eager, batch) / taken['median']:.1f}×",
    }


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
