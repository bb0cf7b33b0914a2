"""What the stage compress chose against what others make of the same networks, at the same drop of the headline.

NNCF's accuracy control and neural-compressor's tuning of the exported network, calibrated on train and judged on
validation, timed by turns with ours in one process, one thread, batch 1; in brackets each one's headline on validation
less fp32's. And official fastText on the texts that the reviews' network was trained on, by its error on test and its
size. Each peer runs in an interpreter of its own, named by an option, and is left out where there is none. Needs the
compressed models of the tasks (`danlu run --until compress`).
"""

import argparse
import json
import random
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import artifacts, config, graphs, network, prepared, texts
from pipeline.config import Task
from pipeline.examples import Split

PEERS = Path(__file__).parent / "peers"
CALIBRATED = 300  # training examples that peers may calibrate on
MANY, FEW, LARGE = 0.01, 0.02, 1500
"""The drop allowed from `LARGE` validation examples, and below: the stage's default budget."""


def split_of(task: Task, name: str) -> Split:
    reader = config.plugin("features", task.kind, f"{task.where}.kind")
    split: Split = reader.load(artifacts.folder("prepared", task.name), artifacts.folder("features", task.name), name)
    return split


def hand_over(task: Task, folder: Path) -> int:
    """Writes what peers/exchange.py reads, with ours as ours.onnx; returns how many validation examples there are."""
    loaded = network.load(artifacts.folder("models", task.name))
    for name, most in (("train", CALIBRATED), ("validation", None)):
        examples = graphs.of_net(split_of(task, name), loaded.inputs)
        count = min(most or len(examples), len(examples))
        rows = np.linspace(0, len(examples) - 1, count).round().astype(np.int64)
        arrays = next(iter(examples.read(rows).values()))
        np.savez(folder / f"{name}.npz", examples=arrays, labels=examples.truth[rows])
    nets = artifacts.folder("compressed", task.name) / "net"
    shutil.copy(nets / chosen(task, "net", "graph"), folder / "ours.onnx")
    plain_pixels(nets / "fp32.onnx", folder / "fp32.onnx")
    return count


def chosen(task: Task, candidate: str, key: str = "chosen") -> str:
    found = artifacts.read_json(artifacts.folder("compressed", task.name) / "compress.json")
    return str(found["candidates"][candidate][key])


def plain_pixels(source: Path, target: Path) -> None:
    """The graph with its pixels normalised by Cast, Sub and Mul, as others export them.

    Ours has one DequantizeLinear there, which neural-compressor takes for a sign of a quantised graph.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(source)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for place, node in enumerate(model.graph.node):
        if node.op_type == "DequantizeLinear":
            scale, zero = (constants[name].astype(np.float32).reshape(-1, 1, 1) for name in node.input[1:])
            nodes = [
                helper.make_node("Cast", [node.input[0]], ["as_float"], "cast_pixels", to=TensorProto.FLOAT),
                helper.make_node("Sub", ["as_float", "mean"], ["centred"], "centre_pixels"),
                helper.make_node("Mul", ["centred", "one_by_std"], [node.output[0]], "scale_pixels"),
            ]
            model.graph.node.remove(node)
            for k, made in enumerate(nodes):
                model.graph.node.insert(place + k, made)
            added = {"mean": zero, "one_by_std": scale}
            model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in added.items())
            break
    onnx.save(model, target)


def ask(python: str, script: str, *arguments: str | Path | float) -> dict[str, Any]:
    """What a peer's script prints as its last line; it works in the folder that is its first argument."""
    command = [python, str(PEERS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=arguments[0], check=False)
    if done.returncode:
        raise SystemExit(f"benchmarks/peers/{script}: ended with {done.returncode}: {done.stderr[-1000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(name: str, ours: float, peer: float, goal: float | None, unit: str) -> dict[str, Any]:
    return {"name": name, "ours": ours, "peer": peer, "ratio": peer / ours, "goal": goal, "unit": unit}


def quantisers(task: Task, nncf: str, neural_compressor: str | None, rounds: int) -> list[dict[str, Any]]:
    """Rows of one task's net against each quantiser that made a graph; a line for each that did not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        allowed = MANY if hand_over(task, folder) >= LARGE else FEW
        told = ask(nncf, "nncf_accuracy.py", folder, allowed)
        if neural_compressor:
            told |= ask(neural_compressor, "nc_tuning.py", folder, allowed)
        for peer, outcome in told.items():
            if "failed" in outcome:
                print(f"{task.name}: {peer}: no graph: {outcome['failed']}")
        found = ask(nncf, "engines.py", folder, rounds)
    mine, before = found.pop("ours"), found["fp32"]["macro_f1"]
    ours = f"{task.name} net, {chosen(task, 'net')} ({mine['macro_f1'] - before:+.4f})"
    rows = []
    for peer, figures in found.items():
        against = f"{ours} against {peer} ({figures['macro_f1'] - before:+.4f})"
        goal = None if peer == "fp32" or before - figures["macro_f1"] > allowed else 1.0
        rows.append(row(against, mine["median"], figures["median"], goal, "ms"))
        rows.append(row(f"{against}, file", mine["bytes"], figures["bytes"], None, "bytes"))
    return rows


def fast_text(task: Task, python: str) -> list[dict[str, Any]]:
    """Rows of a text task's net against fastText, by the share of test examples answered wrongly and by size."""
    folder = artifacts.folder("prepared", task.name)
    with tempfile.TemporaryDirectory() as name:
        for split in ("train", "validation", "test"):
            labels = prepared.table(folder, split, ["label"])["label"]
            cuts = [texts.Cut.read(shard) for shard in prepared.shards(folder, split)]
            words = [cut.words(k) for cut in cuts for k in range(len(cut.offsets) - 1)]
            lines = [f"__label__{label} {' '.join(found)}\n" for label, found in zip(labels, words, strict=True)]
            random.Random(0).shuffle(
                lines
            )  # fastText reads them as they lie; of one class after the other it learns little
            (Path(name) / f"{split}.txt").write_text("".join(lines), "utf-8")
        told = ask(python, "fasttext_grid.py", name)
    wrong, size = own_error(task)
    rows = []
    for kind, figures in told.items():
        about = ", ".join(f"{key} {value}" for key, value in figures["settings"].items())
        print(f"fastText {kind}: {about}; macro-F1 {figures['macro_f1']:.4f} on test")
        against = f"{task.name} net, {chosen(task, 'net')}, against fastText {kind}"
        rows.append(row(f"{against}, wrong on test", 100 * wrong, 100 * (1 - figures["accuracy"]), 1.0, "%"))
        rows.append(row(f"{against}, size", size, figures["bytes"], None if kind == "smallest" else 1.0, "bytes"))
    return rows


def own_error(task: Task) -> tuple[float, int]:
    """The share of test examples that the chosen graph answers wrongly; and its bytes with its vocabulary's."""
    loaded = network.load(artifacts.folder("models", task.name))
    examples = graphs.of_net(split_of(task, "test"), loaded.inputs)
    graph = artifacts.folder("compressed", task.name) / "net" / chosen(task, "net", "graph")
    answers = graphs.answers(graphs.answer(graphs.session(graph)), examples)
    words = artifacts.folder("features", task.name) / "vocabulary.json"
    wrong = float(np.mean(answers.argmax(axis=1) != examples.truth))
    return wrong, graph.stat().st_size + words.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--tasks", nargs="*", help="tasks of params.yaml; all unless given")
    parser.add_argument("--nncf", metavar="PYTHON", help="an interpreter with nncf, openvino and onnxruntime")
    parser.add_argument("--neural-compressor", metavar="PYTHON", help="one with neural-compressor 2.6, beside --nncf")
    parser.add_argument("--fasttext", metavar="PYTHON", help="one with fasttext")
    options = parser.parse_args()
    rows = []
    for name, block in config.load().items():
        if options.tasks is not None and name not in options.tasks:
            continue
        task = Task(name, block["kind"], block)
        if options.nncf:
            rows += quantisers(task, options.nncf, options.neural_compressor, 10 if options.quick else 100)
        if options.fasttext and task.kind == "text":
            rows += fast_text(task, options.fasttext)
    for found in rows:
        figures = f"{found['ours']:14.3f} {found['peer']:14.3f} {found['unit']:6} {found['ratio']:6.2f}×"
        print(f"{found['name']:80} {figures}  goal {found['goal'] or '-'}")
    for option in ("nncf", "neural_compressor", "fasttext"):
        if not getattr(options, option):
            print(f"{option}: not measured; name an interpreter that has it with --{option.replace('_', '-')}")
    if options.json:
        artifacts.write_json(options.json, rows)


if __name__ == "__main__":
    main()
