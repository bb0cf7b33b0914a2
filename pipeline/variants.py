"""The graphs of one network: a file for each scheme, and which nodes of an int8 graph stay fp32 where that is needed.

A scheme is a file of pipeline/compression/, or several joined by `+`, applied one after the other.
"""

import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import config, inference

if TYPE_CHECKING:
    from pipeline.graphs import Feed

log = logging.getLogger(__name__)
RANGING = ("LSTM", "GRU", "RNN", "Softmax")
"""Operators of recurrent networks and of attention, whose ranges differ so from text to text that int8 measures them
at every call: of a BERT of 4 layers this was 2.5 times as fast as fp32, by ranges of calibration 2.1 times, with four
times the error.
"""
METHODS = ("minmax", "percentile", "entropy")
STATIC, NNCF = "static_int8", "nncf_int8"
MIXED = "mixed"
"""What a scheme is called of which single nodes stay fp32."""


@dataclass(frozen=True)
class Calibration:
    """What the schemes may look at: examples of the train split, and how graphs answer to validation."""

    feeds: "Sequence[Feed]"
    methods: Sequence[str]
    answers: Callable[[Path], np.ndarray]  # of a graph's file to the validation split


@dataclass(frozen=True)
class Graph:
    path: Path
    scheme: str
    method: str = ""  # by which an int8 graph was calibrated
    fp32: tuple[str, ...] = ()  # its nodes that stay so

    @property
    def note(self) -> str:
        return f"{self.method}; fp32: {', '.join(self.fp32)}" if self.fp32 else self.method


def schemes(
    asked: Sequence[str], operators: Sequence[str], *, linear: bool, text: bool, engines: Sequence[str] = ()
) -> list[str]:
    """The schemes that are asked for, auto standing for those that suit a graph of these operators and engines."""
    suiting = _suiting(operators, linear=linear, text=text, engines=engines)
    return list(dict.fromkeys(name for scheme in asked for name in (suiting if scheme == "auto" else [scheme])))


def _suiting(operators: Sequence[str], *, linear: bool, text: bool, engines: Sequence[str]) -> list[str]:
    if linear:
        return ["fp16", "dynamic_int8"]  # a sum over terms has no activation whose range would need fixing
    int8 = "dynamic_int8" if not set(operators).isdisjoint(RANGING) else STATIC
    own = []
    if "openvino" in engines:
        own = ["bf16", *([NNCF] if int8 == STATIC and module(NNCF).installed() else [])]
    if not text:
        return ["fp16", int8, *own]
    return ["fp16", int8, *own, "embedding_int8", "embedding_int4", f"embedding_int4+{int8}"]


def check(asked: Sequence[str], where: str) -> None:
    """Raises: ConfigError for a scheme that is no file of pipeline/compression/, or lacks a package."""
    for part in [part for scheme in asked if scheme != "auto" for part in scheme.split("+")]:
        found = config.plugin("compression", part, where)
        if hasattr(found, "installed"):
            inference.require_installed(found, part, where)


def module(part: str) -> ModuleType:
    return config.plugin("compression", part, "compress.schemes")


def stored(scheme: str) -> set[str]:
    """The types in which a scheme stores weights; none where it promises a table alone."""
    parts = [part for part in scheme.split("+") if part not in ("fp32", MIXED)]
    if all(part.startswith("embedding_") for part in parts):
        return set()
    return {name for part in parts for name in module(part).STORED}


def write(
    source: Path, target: Path, scheme: str, calibration: Calibration, fp32: tuple[str, ...] = ()
) -> Graph | None:
    """The graph `source` in a scheme; None where nothing in it has such a form. fp32: nodes that static int8 leaves.

    Raises: ConfigError for a node that the graph does not have.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, method = source, ""
        for number, part in enumerate(scheme.split("+")):
            made = Path(folder) / f"{number}.onnx"
            if part == STATIC:
                method = _calibrated(given, made, calibration, fp32)
            else:
                module(part).compress(given, made, module(part).Config(), calibration.feeds)
            if not module(part).present(made):
                return None
            given = made
        target.write_bytes(given.read_bytes())
    return Graph(target, scheme, method, fp32)


def _calibrated(source: Path, target: Path, calibration: Calibration, fp32: tuple[str, ...]) -> str:
    """Tries the calibration methods and keeps the graph whose validation answers are nearest to the source's."""
    static = module(STATIC)
    expected = calibration.answers(source)
    found: dict[str, tuple[float, bytes]] = {}
    for method in calibration.methods:
        static.compress(source, target, static.Config(method, fp32), calibration.feeds)
        found[method] = (distance(calibration.answers(target), expected), target.read_bytes())
        log.debug("int8 calibrated by %s: answers %.5f away from fp32", method, found[method][0])
    best = min(found, key=lambda method: (not found[method][0] < np.inf, found[method][0]))  # a NaN is last
    target.write_bytes(found[best][1])
    return best


def mixed(
    source: Path, graph: Graph, target: Path, calibration: Calibration, passes: Callable[[Path], bool]
) -> Graph | None:
    """A static int8 graph with the nodes in fp32 that it takes to pass; None where no few of them do."""
    static = module(STATIC)
    ranges = static.measure(source, graph.method, calibration.feeds)
    expected = calibration.answers(source)

    def error(tried: Path) -> float:
        return distance(calibration.answers(tried), expected)

    left = static.fallback(source, target, static.Config(graph.method), ranges, error=error, passes=passes)
    if left is None:
        target.unlink(missing_ok=True)
        return None
    return Graph(target, f"{STATIC}+{MIXED}", graph.method, left)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    found: Any = np.abs(a - b).mean()
    return float(found)
