"""What a search says of itself on the report: its history, what mattered, each field's values, and its trials."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline import charts

SHOWN = 10  # trials of the table, the best first
MOST_SLICES = 12  # fields that are drawn, those that matter most first


def described(study: Mapping[str, Any]) -> dict[str, Any]:
    """What the page says of study.json."""
    paths = [dimension["path"] for dimension in study["dimensions"]]
    importances = study["importances"]
    return {
        "words": words(study),
        "history": history(study),
        "importances": importance(importances) if importances else "",
        "slices": slices(study, sorted(paths, key=lambda path: -importances.get(path, 0.0))[:MOST_SLICES]),
        "paths": [_short(path) for path in paths],
        "measure": study["measure"],
        "rows": rows(study, paths),
    }


def words(study: Mapping[str, Any]) -> str:
    """How many trials ended how, what was best, and what the choice is worth."""
    counts = dict.fromkeys(("completed", "pruned", "failed", "unfinished"), 0)
    for trial in study["trials"]:
        counts[trial["state"]] += 1
    ended = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
    best = study["trials"][study["best"]]
    epochs = sum(trial["epochs"] for trial in study["trials"])
    many = len(study["trials"])
    return (
        f"{many:,} trial{'s' * (many != 1)} by {study['sampler']}, pruner {study['pruner']}: {ended}; {epochs:,} "
        f"epochs in all. Trial {best['number']} was the best: {study['measure'].replace('_', '-')} {best['value']:.4f} "
        "on validation, which is optimistic: it is the best of many looks at one split. The test split was not seen."
    )


def history(study: Mapping[str, Any]) -> str:
    """Each trial's value by its number, and the best so far, as SVG. A pruned one is drawn where it was ended."""
    figure, axes = charts.axes()
    sign = 1 if study["direction"] == "minimize" else -1
    done = [trial for trial in study["trials"] if trial["state"] == "completed"]
    pruned = [trial for trial in study["trials"] if trial["state"] == "pruned" and trial["last"] is not None]
    axes.plot([t["number"] for t in pruned], [t["last"] for t in pruned], "x", color=charts.GREY, label="pruned")
    axes.plot([t["number"] for t in done], [t["value"] for t in done], "o", color=charts.BLUE, label="completed")
    best: list[float] = []
    for trial in done:
        best.append(sign * min(sign * trial["value"], *(sign * value for value in best[-1:] or [trial["value"]])))
    axes.step([t["number"] for t in done], best, where="post", color=charts.RED, label="best so far")
    _around(axes, [t["value"] for t in done], [t["last"] for t in pruned], sign)
    axes.set(xlabel="trial", ylabel=f"{study['measure']}, validation")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return charts.svg(figure)


def _around(axes: Any, done: Sequence[float], pruned: Sequence[float], sign: int) -> None:
    """Leaves out of sight what is far worse than the completed trials: one that diverged would flatten all others."""
    values = sorted(sign * value for value in (*done, *pruned))
    if len(values) < 4:
        return
    best, usual = values[0], values[int(0.9 * (len(values) - 1))]
    margin = 0.1 * (usual - best) or abs(best) * 0.1 or 1.0
    ends = sorted((sign * (best - margin), sign * (usual + margin)))
    axes.set_ylim(*ends)


def importance(shares: Mapping[str, float]) -> str:
    """How much of what single fields explain of the completed trials' variance each explains, as SVG."""
    names = sorted(shares, key=lambda path: shares[path])
    figure, axes = charts.axes(height=0.9 + 0.3 * len(names))
    axes.barh([_short(name) for name in names], [shares[name] for name in names], color=charts.BLUE)
    axes.set(xlabel="relative importance (fANOVA)", xlim=(0, 1))
    return charts.svg(figure)


def slices(study: Mapping[str, Any], paths: Sequence[str]) -> list[str]:
    """Every field's values against what came of them, an SVG each."""
    return [
        _slice(study, dimension) for path in paths for dimension in study["dimensions"] if dimension["path"] == path
    ]


def _slice(study: Mapping[str, Any], dimension: Mapping[str, Any]) -> str:
    figure, axes = charts.axes(3.4, 2.4)
    path, choices = dimension["path"], dimension["choices"]
    sign = 1 if study["direction"] == "minimize" else -1
    done = [trial for trial in study["trials"] if trial["state"] == "completed"]
    pruned = [trial for trial in study["trials"] if trial["state"] == "pruned" and trial["last"] is not None]

    def places(trials: Sequence[Mapping[str, Any]]) -> list[Any]:
        return [choices.index(t["params"][path]) if choices else t["params"][path] for t in trials]

    axes.plot(places(pruned), [t["last"] for t in pruned], "x", color=charts.GREY)
    axes.plot(places(done), [t["value"] for t in done], "o", color=charts.BLUE, alpha=0.7)
    best = [trial for trial in done if trial["number"] == study["best"]]
    axes.plot(places(best), [t["value"] for t in best], "o", color=charts.RED)
    _around(axes, [t["value"] for t in done], [t["last"] for t in pruned], sign)
    if choices:
        axes.set_xticks(range(len(choices)), [_cut(str(choice)) for choice in choices], rotation=20, ha="right")
        axes.set_xlim(-0.5, len(choices) - 0.5)
    elif dimension["log"]:
        axes.set_xscale("log")
    axes.set(xlabel=_short(path), ylabel=study["measure"])
    return charts.svg(figure)


def rows(study: Mapping[str, Any], paths: Sequence[str]) -> list[dict[str, Any]]:
    """The best trials, then those that failed, for a table."""
    sign = 1 if study["direction"] == "minimize" else -1
    done = [trial for trial in study["trials"] if trial["state"] == "completed"]
    failed = [trial for trial in study["trials"] if trial["state"] == "failed"]
    best = sorted(done, key=lambda trial: (sign * trial["value"], trial["number"]))
    return [
        {
            "number": trial["number"],
            "value": trial["state"] if trial["value"] is None else f"{trial['value']:.4f}",
            "epochs": trial["epochs"],
            "seconds": "" if trial["seconds"] is None else f"{trial['seconds']:.1f} s",
            "params": [_shown(trial["params"].get(path)) for path in paths],
            "reason": trial["reason"],
            "chosen": trial["number"] == study["best"],
        }
        for trial in [*best[:SHOWN], *failed[:SHOWN]]
    ]


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _short(path: str) -> str:
    """`optimizer.learning_rate` of train.optimizer.learning_rate."""
    return path.partition(".")[2]


def _cut(text: str) -> str:
    return text if len(text) <= 18 else f"{text[:17]}…"
