"""Every graph of a candidate: its networks in each scheme that suits and in each engine, asked in a fresh process.

B examples of a batch, O outputs.
"""

import tempfile
from pathlib import Path

import numpy as np

from pipeline import reloading
from pipeline import variants as schemes
from pipeline.weighing import Made, Work, line

DRIFTED = 1e-3
"""Between any answer here and in a fresh process: more says that the graph answers by chance."""
WORTH = 0.1
"""Share of the weights left in fp32 from which on it is told."""


def calibration(work: Work) -> schemes.Calibration:
    """Raises: DataError for too few examples, a number that is not finite, or one class alone."""
    from pipeline.compression import _calibration

    settings, source = work.settings, work.source
    feeds = source.train.spread(settings.examples)
    if not source.linear and any(name in scheme for scheme in settings.schemes for name in ("auto", "static", "nncf")):
        _calibration.check(feeds, source.train.truth[source.train.places(settings.examples)])
    methods = schemes.METHODS if settings.calibration == "best" else (settings.calibration,)
    return schemes.Calibration(feeds, methods, work.asked)


def put_into_graphs(work: Work, made: Made, known: schemes.Calibration) -> None:
    """Every scheme that suits a network's graph, and int8 with nodes in fp32 where int8 alone loses too much."""
    answers = work.asked(made.graph)
    if reason := work.unfit(answers):
        work.leave(made.name, reason, made.graph)
        return
    fp32 = work.add(made, "fp32", made.graph, answers)
    for scheme in suiting(work, made.graph):
        target = made.graph.with_name(f"{fp32.removesuffix('fp32')}{scheme}.onnx")
        try:
            found = schemes.write(made.graph, target, scheme, known)
            reason = work.unfit(answers := work.asked(target)) if found else "nothing in its graph has such a form"
        except Exception as error:  # noqa: BLE001 - what a scheme or the engine raises speaks against this variant alone
            found, reason = None, f"it cannot be made: {type(error).__name__}: {line(error)}"
        if found is None or reason:
            work.leave(target.stem, reason, target)
            continue
        name = work.add(made, scheme, target, answers)
        work.written[name] = found
        work.notes[name] = "; ".join(filter(None, (found.note, _in_fp32(target, scheme))))
        if scheme == schemes.STATIC and work.keeps(fp32) and not work.keeps(name):
            _mix(work, made, found, known)


def _in_fp32(graph: Path, scheme: str) -> str:
    """How much of a graph's weights a scheme has left in fp32, where it is worth a word."""
    from pipeline import graphs

    share = 1 - graphs.share(graph, schemes.stored(scheme))
    return f"{share:.0%} of its weights stay fp32, which have no such form" if share > WORTH else ""


def suiting(work: Work, graph: Path) -> list[str]:
    """The schemes to try on a graph."""
    from pipeline import graphs

    text, operators = work.task.kind == "text", list(graphs.operators(graph))
    return schemes.schemes(work.settings.schemes, operators, linear=work.source.linear, text=text, engines=work.engines)


def _mix(work: Work, made: Made, found: schemes.Graph, known: schemes.Calibration) -> None:
    """Static int8 with some nodes in fp32, where so it keeps the budget."""
    tried = found.path.with_name(f"{found.path.stem}+{schemes.MIXED}.onnx")

    def passes(graph: Path) -> bool:
        return work.keeps(work.add(made, f"{schemes.STATIC}+{schemes.MIXED}", graph, work.asked(graph)))

    mixed = schemes.mixed(made.graph, found, tried, known, passes)
    name = tried.stem
    if mixed is None:
        for held in (work.variants, work.files, work.answers):
            held.pop(name, None)
        work.left.append({"name": made.name, "reason": "int8 loses too much, whichever few nodes stay fp32"})
    else:
        work.notes[name], work.written[name] = mixed.note, mixed


def put_into_engines(work: Work) -> None:
    """Every sound graph in the other engines too, where these can run it."""
    for engine in work.engines[1:]:
        for name, path in [item for item in work.files.items() if "@" not in item[0]]:
            one = work.variants[name]
            if one.rejected:
                continue
            try:
                answers = work.asked(path, engine)
            except RuntimeError as error:
                work.left.append({"name": f"{name}@{engine}", "reason": f"{engine} cannot run it: {line(error)}"})
                continue
            work.add(Made(one.network, one.numbers, path, one.reference), one.scheme, path, answers, engine)


def reload(work: Work) -> None:
    """Asks every graph once more in a fresh process; what differs or fails speaks against it."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, path in work.files.items():
            one = work.variants[name]
            found = reloading.reload(work.task, work.source.name, path, Path(scratch), one.engine)
            one.memory = found.memory
            if found.answers is None:
                one.rejected.append(found.error)
            elif not (away := float(np.abs(found.answers - work.answers[name]).max())) <= DRIFTED * _spread(work):
                one.rejected.append(f"in a fresh process it answers otherwise, by up to {away:.2g}")


def _spread(work: Work) -> float:
    """In which answers are told: 1 for probabilities, a standard deviation for a value."""
    return work.source.target.std
