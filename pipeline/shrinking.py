"""A trained network's smaller ones at work: measured, cut, fine-tuned, exported and saved. What can be resumed is kept
in `.danlu/shrinking` until the stage ends. B examples, T tokens, V entries of a vocabulary.
"""

import hashlib
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from pipeline import (
    artifacts,
    batches,
    config,
    export,
    graphs,
    latency,
    network,
    profiling,
    quality,
    shapes,
    training,
    variants,
)
from pipeline.budget import Device
from pipeline.config import Task
from pipeline.examples import TextInputs
from pipeline.fit import fake_int8, loop
from pipeline.fit.settings import Config as Train
from pipeline.network import Network
from pipeline.pruning import cutting, l1, networks, path, sensitivity, tuning
from pipeline.pruning.cutting import VOCABULARY, Subject
from pipeline.pruning.networks import Smaller
from pipeline.pruning.path import Sensitivity
from pipeline.pruning.settings import Prune
from pipeline.pruning.tuning import Tuner

log = logging.getLogger(__name__)
TIMED, ROUNDS, FEEDS = 50, 20, 8
"""Examples and turns by which a cut's latency is measured, and examples by which its int8 graph is calibrated."""
CPU = Device()


@dataclass(frozen=True)
class Shrunk:
    """A network and its fp32 graph; the trained one and the control are such too."""

    name: str
    numbers: int
    graph: Path
    made: Network
    smaller: Smaller | None = None


@dataclass
class Shrinking:
    task: Task
    settings: Prune
    subject: Subject
    data: loop.Data
    wanted: quality.Config
    about: Mapping[str, Any]  # model.json of the trained network
    tuner: Tuner
    folder: Path
    device: Device
    left: dict[str, str] = field(default_factory=dict)  # by name: why it was not cut
    found: Sensitivity | None = None
    control_score: float | None = None
    distilled: bool = field(init=False)  # how networks are fine-tuned

    def __post_init__(self) -> None:
        self.distilled = self.settings.distil == "on"

    def export(self, name: str, made: Network, out: Path, smaller: Smaller | None = None) -> Shrunk:
        graph = out / ("fp32.onnx" if name == "trained" else f"{name}-fp32.onnx")
        export.export(made.net, self.data.inputs, graph)
        return Shrunk(name, cutting.numbers(made.net), graph, made, smaller)

    def headline(self, found: np.ndarray) -> float:
        truth = self.data.validation.truth(self.data.target.kind)
        return quality.figures(self.wanted, truth, found, self.data.target)[self.wanted.headline]

    def judge(self, made: Network) -> tuple[float, float]:
        """The headline and the loss on validation."""
        return tuning.judge(made.net, self.data, self.headline)

    def networks(self, out: Path, within: Callable[[Shrunk], bool]) -> Iterator[Shrunk]:
        """The control, then the smaller networks until one of a family is not `within` the budget; none without levels.

        Raises: TrainingError, StoppedError.
        """
        if not self.settings.on:
            return
        last: list[Shrunk] = []
        if self.settings.levels:
            self.found = self.sensitivity()
            for one in self._smaller(self.found, lambda: within(last[-1])):
                if not last:
                    self.distilled = one.distilled
                    yield self.control(out)
                last.append(self.export(one.name, one.made, out, one))
                yield last[-1]
        if self.settings.sparse is not None:
            if not last:
                yield self.control(out)
            yield self.sparse(out, self.settings.sparse)

    def _smaller(self, found: Sensitivity, goes_on: Callable[[], bool]) -> Iterator[Smaller]:
        with tempfile.TemporaryDirectory() as scratch:
            cost = Cost(self, Path(scratch), found.whole.latency_ms)
            yield from networks.smaller(self.subject, found, self.tuner, self.judge, cost, lambda _: goes_on())

    def control(self, out: Path) -> Shrunk:
        made = networks.control(self.subject, self.tuner, distilled=self.distilled)
        self.control_score = self.judge(made)[0]
        return self.export("control", made, out)

    def sparse(self, out: Path, share: float) -> Shrunk:
        """The network with a share of its weights at zero, tuned as the others; nothing of it is removed."""
        made = cutting.cut(self.subject, {})
        reached = l1.prune(made.net, share)
        before, held = self.judge(made)[0], l1.hold(made.net)
        self.tuner.tune("sparse", made, distilled=self.distilled)
        for handle in held:
            handle.remove()
        log.info("sparse: %.0f %% of the weights are zero", 100 * reached)
        smaller = Smaller("sparse", 0.0, {}, made, self.distilled, before, self.judge(made)[0])
        return self.export("sparse", made, out, smaller)

    def for_int8(self, one: Shrunk, feeds: Sequence[graphs.Feed], out: Path) -> Shrunk:
        """The same network, tuned from the cut on with int8 imitated, as long as the others were.

        Raises: TrainingError, StoppedError.
        """
        name, smaller = f"{one.name}_for_int8", None
        made = self.held_in_int8(name, one.smaller.kept if one.smaller else {}, feeds)
        if one.smaller:
            smaller = replace(one.smaller, name=name, made=made, distilled=self.distilled, after=self.judge(made)[0])
        return self.export(name, made, out, smaller)

    def held_in_int8(self, name: str, kept: Mapping[str, int], feeds: Sequence[graphs.Feed]) -> Network:
        """kept: how many are left of each part that is cut."""
        subject = self.subject
        made = cutting.cut(subject, kept)
        folded = fake_int8.pairs(made.net)
        fake_int8.prepare(made.net, feeds)
        made = Network(made.net, list(subject.module.stages(made.body)), made.body)
        self.tuner.tune(name, made, distilled=self.distilled)
        fake_int8.finish(made.net)
        fake_int8.unfold(made.net, folded)
        return made

    def sensitivity(self) -> Sensitivity:
        """Measured once; a killed run goes on with what was measured."""
        kept = self.folder / "sensitivity.json"
        if kept.is_file():
            found = artifacts.read_json(kept)
            self.left |= found["left"]
            return path.read(found["sensitivity"])
        with tempfile.TemporaryDirectory() as scratch:
            cost = Cost(self, Path(scratch))
            measured, left = sensitivity.measure(self.subject, self.wanted.headline, self.judge, cost)
        artifacts.write_json(kept, {"sensitivity": asdict(measured), "left": left})
        self.left |= left
        return measured

    def told(self, made: Mapping[str, Shrunk]) -> dict[str, Any]:
        """What compress.json says of the pruning."""
        rows = [self._row(one) for one in made.values() if one.smaller is not None]
        return {"sensitivity": _of(self.found) if self.found else None, "levels": rows}

    def _row(self, one: Shrunk) -> dict[str, Any]:
        assert one.smaller is not None
        counts = {group.name: group.count for group in self.found.groups} if self.found else {}
        return {
            "name": one.name,
            "saving": one.smaller.saving,
            "cut": {name: [kept, counts[name]] for name, kept in sorted(one.smaller.kept.items())},
            "parameters": sum(weights.numel() for weights in one.made.net.parameters()),
            "epochs": self.tuner.epochs,
            "distilled": one.smaller.distilled,
            "before": one.smaller.before,
            "after": one.smaller.after,
            "control": self.control_score,
        }

    def save(self, out: Path, name: str, made: Mapping[str, Shrunk]) -> None:
        """Leaves the control and the network that is served as safetensors and JSON, unless that is the trained one."""
        for one in {"control", name} & made.keys():
            self._write(out / one, made[one])

    def _write(self, folder: Path, one: Shrunk) -> None:
        subject, kept = self.subject, one.smaller.kept if one.smaller else {}
        rows = kept.get(VOCABULARY)
        fresh = network.network(subject.module, subject.settings, subject.inputs, subject.target, rows)
        cut = shapes.differences(fresh.net, one.made.net)
        name = self.about["name"]
        about = network.describe(name, subject.settings, subject.inputs, subject.target, rows=rows, cut=cut or None)
        folder.mkdir()
        weights = {key: value.contiguous() for key, value in one.made.net.state_dict().items()}
        save_file(weights, folder / "weights.safetensors")
        artifacts.write_json(folder / "model.json", about)


class Cost:
    """The latency of a network's graph on the CPU, int8 where it has convolutions, else fp32, and its bytes.

    Each is measured by turns with the whole network's, so that what slows the host down slows both.
    """

    def __init__(self, shrinking: Shrinking, folder: Path, known: float | None = None):
        """known: the latency of the whole network, where it was measured before."""
        self.shrinking, self.folder = shrinking, folder
        kind, data = shrinking.data.target.kind, shrinking.data
        self.train, self.validation = (
            graphs.of_net(split, data.inputs, kind) for split in (data.train, data.validation)
        )
        device = shrinking.device
        self.examples = profiling.batches_of(self.validation, device.batch_sizes[0])[:TIMED]
        self.threads, self.clock = device.threads, time.thread_time if device.threads == 1 else time.perf_counter
        self.whole, self.bytes = self._call(shrinking.subject.trained)
        self.latency = (
            known or latency.measure({"": self.whole}, self.examples, ROUNDS, self.clock, self.threads)[""].median
        )

    def __call__(self, made: Network) -> tuple[float, int]:
        if made is self.shrinking.subject.trained:
            return self.latency, self.bytes
        call, size = self._call(made)
        calls = {"whole": self.whole, "cut": call}
        found = latency.measure(calls, self.examples, ROUNDS, self.clock, self.threads)
        return self.latency * found["cut"].median / found["whole"].median, size

    def _call(self, made: Network) -> tuple[Callable[[graphs.Feed], np.ndarray], int]:
        graph = self._graph(made)
        return graphs.answer(graphs.session(graph, self.threads)), graph.stat().st_size

    def _graph(self, made: Network) -> Path:
        source, target = self.folder / "fp32.onnx", self.folder / "int8.onnx"
        export.export(made.net, self.shrinking.data.inputs, source)
        operators = list(graphs.operators(source))
        if isinstance(self.shrinking.data.inputs, TextInputs):
            return source
        if variants.STATIC not in variants.schemes(("auto",), operators, linear=False, text=False):
            return source
        known = variants.Calibration(self.train.spread(FEEDS), ("minmax",), lambda _: np.zeros(1))
        return target if variants.write(source, target, variants.STATIC, known) else source


def begin(
    task: Task,
    settings: Prune,
    wanted: quality.Config,
    device: Device = CPU,
    stop: Callable[[], bool] = lambda: False,
) -> Shrinking:
    """The trained network of data/models, what it learnt from, and how it is trained on."""
    models = artifacts.folder("models", task.name)
    values = artifacts.read_json(artifacts.folder("tuned", task.name) / "values.json")
    about, loaded = artifacts.read_json(models / "model.json"), network.load(models)
    module, own = config.named("models", {"name": about["name"], **about["config"]}, f"{models}/model.json")
    train = _found(config.parse(Train, values["train"], "data/tuned: train"), about)
    data = training.data(task, train)
    trained = Network(loaded.net, loaded.stages, loaded.body)
    subject = Subject(module, own, loaded.inputs, loaded.target, trained, _counts(data))
    digest = hashlib.sha256((models / "weights.safetensors").read_bytes())
    digest.update(repr((training.fingerprint(task, values), replace(settings, levels=()), wanted, device)).encode())
    for code in (*sorted(Path(cutting.__file__).parent.glob("*.py")), Path(shapes.__file__), Path(export.__file__)):
        digest.update(code.read_bytes())
    folder = artifacts.STATE / "shrinking" / f"{task.name}-{digest.hexdigest()[:16]}"
    taught = tuning.answers(loaded.net, data, train=True) if settings.on else np.zeros((0, 0), np.float32)
    tuner = Tuner(data, train, settings, folder, taught, stop)
    return Shrinking(task, settings, subject, data, wanted, about, tuner, folder, device)


def _found(train: Train, about: Mapping[str, Any]) -> Train:
    """With the batch size and the rate that training found, where it was to find them: the same for every network."""
    if train.batch_size == "auto":
        train = replace(train, batch_size=int(about["choices"]["batch_size"].split()[0]))
    if train.optimizer.learning_rate == "auto":
        train = replace(train, optimizer=replace(train.optimizer, learning_rate=about["learning_rate"]))
    return train


def forget(task: Task) -> None:
    """Drops what was kept to go on with."""
    for old in (artifacts.STATE / "shrinking").glob(f"{task.name}-{'[0-9a-f]' * 16}"):
        shutil.rmtree(old, ignore_errors=True)


def _counts(data: loop.Data) -> np.ndarray | None:
    """How often each token stands in the train split, int64 [V]; padding does not count."""
    if not isinstance(data.inputs, TextInputs):
        return None
    counts = np.zeros(data.inputs.vocabulary, np.int64)
    for rows in batches.by_length(data.train, data.inputs, 1024):
        counts += np.bincount(batches.read(data.train, rows, data.inputs).ravel(), minlength=len(counts))
    counts[0] = 0
    return counts


def _of(found: Sensitivity) -> dict[str, Any]:
    """As compress.json has it."""
    about = asdict(found)
    whole = about.pop("whole")
    return about | {"score": whole["score"], "latency_ms": whole["latency_ms"]}
