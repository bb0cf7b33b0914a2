"""Size and speed of compressed networks against eager PyTorch and ONNX Runtime fp32: batch 1, interleaved.

First networks with random weights: one thread by its own CPU time, then two by wall time. On one thread also the share
of this machine's int8 peak: the operations of the network that is answered with, by its latency, against the fastest
matrix product found, of oneDNN (`torch._int_mm`, s8s8) and ONNX Runtime (MatMulInteger, u8s8) on several shapes.

Then the served nets of params.yaml, for which `danlu run --until compress` has run: the chosen graph, and by how much
the latency in compress.json differs from that of a plain loop in a process of its own (peers/perf_test.py).
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline import artifacts, config, export, graphs, latency, network
from pipeline.compression import dynamic_int8, static_int8
from pipeline.examples import ImageInputs, TextInputs
from pipeline.models import lstm, textcnn, torchvision, transformer
from pipeline.targets import Target

PLAIN_LOOP = Path(__file__).parent / "peers" / "perf_test.py"
PIXELS = ImageInputs(224, 224, 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TOKENS, LENGTH = 30_000, 128  # of the vocabulary, and of a text at most
KEPT = 10_000  # tokens of the cut vocabulary
TEXT = 100  # tokens of the texts that are timed
EXAMPLES = 8  # that are timed and calibrated on: latency does not depend on them
PRODUCTS = ((512, 512, 512), (1024, 1024, 1024), (2048, 1024, 1024), (256, 2048, 512))
APART = 10.0  # per cent, at most, between the report's latency and a plain loop's
Made = tuple[nn.Module, ImageInputs | TextInputs]


@dataclass(frozen=True)
class Goals:
    """How many times: faster than eager PyTorch and ONNX Runtime fp32, smaller; and the share of the int8 peak."""

    eager: float | None = None
    fp32: float | None = None
    smaller: float | None = None
    peak: float | None = None


@dataclass(frozen=True)
class Subject:
    """A network, whole (named "") and with something taken away, each as fp32 and as int8."""

    name: str
    scheme: Any  # of pipeline/compression
    nets: Mapping[str, Callable[[], Made]]
    goals: Mapping[str, Goals]  # by variant


def resnet18() -> Made:
    return _resnet18().net.eval(), PIXELS


def half_resnet18() -> Made:
    """Half the channels of every layer but the head's outputs, in multiples of 16."""
    import torch_pruning

    body = _resnet18().body.eval()
    pruner = torch_pruning.pruner.BasePruner(
        body,
        torch.zeros(1, PIXELS.channels, PIXELS.height, PIXELS.width),
        importance=torch_pruning.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        round_to=16,
        ignored_layers=[torchvision.stages(body)[-1]],
    )
    pruner.step()
    return network.Normalised(body, PIXELS).eval(), PIXELS


def _resnet18() -> network.Network:
    torch.manual_seed(0)
    classes = Target("classes", tuple(map(str, range(1000))))
    return network.network(torchvision, torchvision.Config("resnet18"), PIXELS, classes)


def text(module: Any, settings: Any, vocabulary: int = TOKENS) -> Callable[[], Made]:
    def make() -> Made:
        torch.manual_seed(0)
        inputs = TextInputs(vocabulary, LENGTH)
        return network.network(module, settings, inputs, Target("classes", ("a", "b"))).net.eval(), inputs

    return make


RECURRENT, CONVOLVED = lstm.Config(width=128, layers=2), textcnn.Config(channels=128)
SUBJECTS = (
    Subject(
        "ResNet-18, 224 px",
        static_int8,
        {"": resnet18, "half the channels": half_resnet18},
        {"int8": Goals(5.5, 3, 3.9, 0.7), "half the channels, int8": Goals(15, 9, 14)},
    ),
    Subject("BiLSTM", dynamic_int8, {"": text(lstm, RECURRENT)}, {"int8": Goals(3.6, None, 3.95)}),
    Subject(
        "TextCNN",
        static_int8,
        {"": text(textcnn, CONVOLVED), "a third of the words": text(textcnn, CONVOLVED, KEPT)},
        {"int8": Goals(5.9, None, 3.95), "a third of the words, int8": Goals(None, None, 10)},
    ),
    Subject("Transformer", dynamic_int8, {"": text(transformer, transformer.Config())}, {"int8": Goals(2.6)}),
)


def feeds(inputs: ImageInputs | TextInputs) -> list[graphs.Feed]:
    """Batches of one; ids that a cut vocabulary has too."""
    random = np.random.default_rng(0)
    if isinstance(inputs, TextInputs):
        return [{"ids": random.integers(1, KEPT, (1, TEXT))} for _ in range(EXAMPLES)]
    shape = (1, inputs.height, inputs.width, inputs.channels)
    return [{"images": random.integers(0, 256, shape, np.uint8)} for _ in range(EXAMPLES)]


def operations(net: nn.Module, feed: graphs.Feed) -> int:
    """Two for each multiply-add of its products of matrices, convolutions included."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        copy.deepcopy(net).to("meta")(torch.from_numpy(next(iter(feed.values()))).to("meta"))
    return counter.get_total_flops()


def int8_peak() -> float:
    """The most int8 operations a second of one thread that the products of `PRODUCTS` reach."""
    random = np.random.default_rng(0)
    return max(
        _rate(*(random.integers(0, 127, size, np.int8) for size in (shape[:2], shape[1:]))) for shape in PRODUCTS
    )


def _rate(a: np.ndarray, b: np.ndarray) -> float:
    """Operations a second of the product, by the faster of both."""
    run, left, right = _matmul(b), torch.from_numpy(a), torch.from_numpy(b)
    feed = {"a": a.astype(np.uint8)}
    taken = []
    for call in (lambda: torch._int_mm(left, right), lambda: run.run(None, feed)):
        for _ in range(12):
            started = time.thread_time()
            call()
            taken.append(time.thread_time() - started)
    return 2 * a.size * b.shape[1] / min(taken)


def _matmul(weights: np.ndarray) -> Any:
    """u8 [B, K] times these s8 weights [K, C] in ONNX Runtime."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, ["rows", len(weights)])],
        [helper.make_tensor_value_info("c", TensorProto.INT32, ["rows", weights.shape[1]])],
        [numpy_helper.from_array(weights, "b")],
    )
    opsets = [helper.make_opsetid("", export.OPSET)]
    with tempfile.TemporaryDirectory() as folder:
        export.save(helper.make_model(graph, opset_imports=opsets, ir_version=export.IR_VERSION), Path(folder) / "p")
        return graphs.session(Path(folder) / "p")


def eagerly(net: nn.Module) -> Callable[[graphs.Feed], object]:
    def answer(feed: graphs.Feed) -> object:
        with torch.inference_mode():
            return net(*(torch.from_numpy(array) for array in feed.values()))

    return answer


def timed(
    net: nn.Module, files: Mapping[str, Path], examples: Sequence[graphs.Feed], rounds: int, threads: int
) -> dict[str, float]:
    """Median milliseconds of the eager network and of each graph; by the thread's own time where there is one."""
    calls = {name: graphs.answer(graphs.session(path, threads)) for name, path in files.items()}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        clock = time.thread_time if threads == 1 else time.perf_counter
        taken = latency.measure({"eager": eagerly(net), **calls}, examples, rounds, clock, threads)
    finally:
        torch.set_num_threads(before)
    return {name: found.median for name, found in taken.items()}


def row(name: str, ours: float, peer: float, goal: float | None, unit: str) -> dict[str, Any]:
    return {"name": name, "ours": ours, "peer": peer, "ratio": peer / ours, "goal": goal, "unit": unit}


def one_subject(subject: Subject, rounds: int, peak: float) -> list[dict[str, Any]]:
    files, counted = {}, {}
    with tempfile.TemporaryDirectory() as name:
        for number, (taken_away, make) in enumerate(subject.nets.items()):
            net, inputs = make()
            fp32, int8 = (f"{taken_away}, {kind}".removeprefix(", ") for kind in ("fp32", "int8"))
            files |= {kind: Path(name) / f"{number}-{kind}.onnx" for kind in (fp32, int8)}
            export.export(net, inputs, files[fp32])
            subject.scheme.compress(files[fp32], files[int8], subject.scheme.Config(), feeds(inputs))
            counted |= dict.fromkeys((fp32, int8), operations(net, feeds(inputs)[0]))
        net, inputs = subject.nets[""]()
        taken = {threads: timed(net, files, feeds(inputs), rounds, threads) for threads in (1, 2)}
        sizes = {kind: path.stat().st_size for kind, path in files.items()}
    return _rows(subject, taken, sizes, {kind: 1e3 * count / peak for kind, count in counted.items()})


def _rows(
    subject: Subject,
    taken: Mapping[int, Mapping[str, float]],
    sizes: Mapping[str, int],
    at_peak: Mapping[str, float],  # milliseconds
) -> list[dict[str, Any]]:
    result = []
    for kind in [kind for kind in sizes if kind != "fp32"]:
        goals, name = subject.goals.get(kind, Goals()), f"{subject.name}, {kind}"
        for threads, median in taken.items():
            on = "1 thread" if threads == 1 else f"{threads} threads"
            result.append(row(f"{name}, {on}, against eager", median[kind], median["eager"], goals.eager, "ms"))
            result.append(row(f"{name}, {on}, against ORT fp32", median[kind], median["fp32"], goals.fp32, "ms"))
        result.append(row(f"{name}, file against fp32", sizes[kind], sizes["fp32"], goals.smaller, "bytes"))
        if kind.endswith("int8"):
            result.append(row(f"{name}, share of the int8 peak", taken[1][kind], at_peak[kind], goals.peak, "ms"))
    return result


def served(task: config.Task, rounds: int) -> list[dict[str, Any]]:
    """Rows of one task's net as the stage compress chose it, on one thread."""
    reader = config.plugin("features", task.kind, f"{task.where}.kind")
    loaded = network.load(artifacts.folder("models", task.name))
    split = reader.load(artifacts.folder("prepared", task.name), artifacts.folder("features", task.name), "validation")
    examples = graphs.of_net(split, loaded.inputs, loaded.target.kind).spread(200)
    folder = artifacts.folder("compressed", task.name)
    entry = artifacts.read_json(folder / "compress.json")["candidates"]["net"]
    chosen = entry["chosen"]
    files = {"fp32": folder / "net" / "fp32.onnx", chosen: folder / "net" / entry["graph"]}
    median = timed(loaded.net, files, examples, rounds, 1)
    sizes = {kind: path.stat().st_size for kind, path in files.items()}
    name, goals = f"{task.name} net, {chosen}", Goals(12, None, 12) if task.kind == "image" else Goals(5, None, 8)
    reported = entry["variants"][chosen]["latency_ms"]["1"]["median"]
    return [
        row(f"{name}, against eager", median[chosen], median["eager"], goals.eager, "ms"),
        row(f"{name}, against ORT fp32", median[chosen], median["fp32"], goals.fp32, "ms"),
        row(f"{name}, file against fp32", sizes[chosen], sizes["fp32"], goals.smaller, "bytes"),
        checked(name, files[chosen], examples, reported),
    ]


def checked(name: str, graph: Path, examples: Sequence[graphs.Feed], reported: float) -> dict[str, Any]:
    """How far the latency in the report is from a plain loop's over the same examples, in per cent."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{k}.npz" for k in range(len(examples))]
        for path, feed in zip(paths, examples, strict=True):
            np.savez(path, **feed)  # type: ignore[arg-type]
        command = [sys.executable, str(PLAIN_LOOP), str(graph), *map(str, paths)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)["cpu_ms"]["median"]
    away = 100 * (reported / found - 1)
    about = f"{name}, report {reported:.3f} ms, a plain loop {found:.3f}: {away:+.1f} % against at most {APART:g}"
    return row(about, max(abs(away), 0.01), APART, 1, "%")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="few rounds")
    names = [subject.name.split(",")[0] for subject in SUBJECTS]
    parser.add_argument(
        "--nets",
        nargs="*",
        default=names,
        choices=names,
        help="networks with random weights; none where no name follows",
    )
    parser.add_argument("--tasks", nargs="*", help="tasks of params.yaml; all unless given")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rounds, rows = (2 if options.quick else 60), []
    peak = int8_peak() if options.nets else 0.0
    if options.nets:
        print(f"int8 peak of one thread: {peak / 1e9:.0f} GOP/s")
    print(f"{latency.processor()}, {os.getloadavg()[0]:.1f} at work")
    for subject in SUBJECTS:
        if subject.name.split(",")[0] in options.nets:
            rows += one_subject(subject, rounds, peak)
    for name, block in config.load().items():
        if options.tasks is None or name in options.tasks:
            rows += served(config.Task(name, block["kind"], block), 10 if options.quick else 200)
    for found in rows:
        figures = f"{found['ours']:14.3f} {found['peer']:14.3f} {found['unit']:6} {found['ratio']:6.2f}×"
        print(f"{found['name']:72} {figures}  goal {found['goal'] or '-'}")
    if options.json:
        artifacts.write_json(options.json, rows)


if __name__ == "__main__":
    main()
