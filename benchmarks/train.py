"""Training steps, by CPU time of one thread, each peer by turns with the project's loop: the same network from the same
weights, the same data, batch size, optimiser and precision; the median of the rounds' ratios.

The peers: a plain PyTorch loop over a DataLoader, torchvision's reference recipe, Hugging Face's Trainer and timm's
loop, as far as they are installed. Also texts of mixed length against random padded batches, and a step of the loop
against the same step on a batch in memory. On a GPU (`--device cuda`) by wall time, with the share of the device's
measured matrix rate. Images lie as JPEG files for the peers and as prepared arrays for the project; texts are the real
reviews of a finished `make run`.
"""

import argparse
import contextlib
import importlib.util
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.loader import MEAN, STD, pictures
from pipeline import artifacts, network
from pipeline.errors import StoppedError
from pipeline.examples import ImageInputs, Split, TextInputs
from pipeline.features import text
from pipeline.fit import finding, hardware, loop
from pipeline.fit.settings import Config, Images
from pipeline.loader.draws import Crop
from pipeline.models import lstm, resnet, textcnn
from pipeline.models import torchvision as architectures
from pipeline.optimizers import sgd
from pipeline.schedules import constant
from pipeline.targets import Target

BEST, PLAIN, MEMORY, MIXED = 1.0, 3.0, 0.95, 3.5  # goals
WARM = 2  # steps before the first that is measured
RATE, MOMENTUM, DECAY = 0.01, 0.9, 1e-4
CLASSES = 10
Steps = Callable[[], float]
"""Trains for some steps; returns microseconds an example of those after the first ones."""


@dataclass(frozen=True)
class Case:
    """What every peer trains."""

    name: str
    module: ModuleType
    settings: Any
    inputs: network.Inputs
    target: Target
    train: Split
    batch: int
    steps: int
    device: torch.device
    files: Path | None = None  # of the images, as torchvision's ImageFolder reads them

    def network(self) -> network.Network:
        torch.manual_seed(0)
        return network.network(self.module, self.settings, self.inputs, self.target)

    def body(self) -> nn.Module:
        """What a peer trains: an image network reads floats, which its own transforms made."""
        net = self.network().net
        return net.body if isinstance(net, network.Normalised) else net

    def config(self, **changes: Any) -> Config:
        crop = Images("horizontal", 0.0, Crop())
        optimizer = sgd.Config(learning_rate=RATE, weight_decay=DECAY, momentum=MOMENTUM, nesterov=False)
        plain = Config(epochs=1, batch_size=self.batch, optimizer=optimizer, schedule=constant.Config(warmup=0.0))
        plain = replace(plain, gradient_norm=None, images=crop, device=self.device.type, precision="fp32", filling=1)
        return replace(plain, **changes)


class Clock:
    """Microseconds an example, from the end of the step WARM to that of the last."""

    def __init__(self, case: Case):
        self.case, self.steps, self.seen = case, 0, 0
        self.started = self.ended = 0.0

    def step(self, examples: int | None = None) -> bool:
        """After a step; False after the last one."""
        self.steps += 1
        if self.steps == WARM:
            self.started = self._now()
        elif self.steps > WARM:
            self.seen += self.case.batch if examples is None else examples
        if self.steps == self.case.steps + WARM:
            self.ended = self._now()
        return self.steps < self.case.steps + WARM

    def _now(self) -> float:
        if self.case.device.type == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    @property
    def micros(self) -> float:
        return 1e6 * (self.ended - self.started) / self.seen


def ours(case: Case) -> float:
    """The project's loop, from the prepared arrays to the weights."""
    clock, net = Clock(case), case.network()
    few = _part(case.train, np.arange(case.batch))
    data = loop.Data(case.train, few, case.inputs, case.target)
    ended = False

    def on_step(done: int, total: int) -> None:
        nonlocal ended
        ended = not clock.step()

    config = case.config(epochs=1 + (case.steps + WARM) * case.batch // len(case.train))
    with contextlib.suppress(StoppedError):
        loop.fit(net.net, net.stages, data, config, hooks=loop.Hooks(on_step=on_step, stop=lambda: ended))
    return clock.micros


def in_memory(case: Case) -> float:
    """The same step of the same loop on one batch, read before."""
    clock, net = Clock(case), case.network()
    data = loop.Data(case.train, case.train, case.inputs, case.target)
    config = case.config()
    images = isinstance(case.inputs, ImageInputs)
    choices = hardware.choose(config, images=images, examples=len(case.train))
    net.net.to(case.device)
    if choices.channels_last:
        net.net.to(memory_format=torch.channels_last)
    found = finding.Found(case.batch, RATE, 1)
    one = finding.stepper(net.net, net.stages, data, config, choices, found)
    read = finding.feed(data, config, choices, case.batch).epoch(0)
    batch = next(read)
    held = replace(batch, arrays=batch.arrays.copy())
    read.close()
    one.begin(0)
    one.step(held, 1.0, finding._blame)
    while clock.step():
        one.step(held, 1.0, finding._blame)
    return clock.micros


def plain(case: Case, workers: int = 0) -> float:
    """The loop of PyTorch's tutorials."""
    clock, net = Clock(case), case.body().to(case.device).train()
    optimizer = torch.optim.SGD(net.parameters(), RATE, momentum=MOMENTUM, weight_decay=DECAY)
    criterion = nn.CrossEntropyLoss()
    for arrays, labels in _for_ever(_loader(case, workers)):
        arrays, labels = arrays.to(case.device), labels.to(case.device)
        optimizer.zero_grad()
        criterion(net(arrays), labels).backward()
        optimizer.step()
        if not clock.step():
            return clock.micros
    raise AssertionError


def recipe(case: Case) -> float:
    """torchvision's references/classification: its transforms, its loop, its meters of loss and accuracy."""
    clock, net = Clock(case), case.body().to(case.device).train()
    optimizer = torch.optim.SGD(net.parameters(), RATE, momentum=MOMENTUM, weight_decay=DECAY)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.0)
    meters: dict[str, list[float]] = {"loss": [], "acc1": [], "acc5": []}
    for arrays, labels in _for_ever(_loader(case, 0, "recipe")):
        arrays, labels = arrays.to(case.device, non_blocking=True), labels.to(case.device, non_blocking=True)
        outputs = net(arrays)
        loss = criterion(outputs, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        best = outputs.topk(min(5, outputs.shape[1]), 1).indices == labels[:, None]
        meters["acc1"].append(best[:, :1].float().sum().item() / len(labels))
        meters["acc5"].append(best.float().sum().item() / len(labels))
        meters["loss"].append(loss.item())
        if not clock.step():
            return clock.micros
    raise AssertionError


def timm(case: Case) -> float:
    """timm's data pipeline, optimiser and training loop."""
    from timm.data import create_dataset, create_loader
    from timm.optim import create_optimizer_v2
    from timm.utils import AverageMeter

    clock, net = Clock(case), case.body().to(case.device).train()
    assert case.files is not None and isinstance(case.inputs, ImageInputs)
    side = case.inputs.height
    reading = create_loader(
        create_dataset("", str(case.files), is_training=True, batch_size=case.batch),
        (3, side, side), case.batch, is_training=True, use_prefetcher=False, num_workers=0,
        color_jitter=0.0, interpolation="bilinear", mean=MEAN, std=STD, device=case.device,
    )  # fmt: skip
    optimizer = create_optimizer_v2(net, opt="momentum", lr=RATE, weight_decay=DECAY, momentum=MOMENTUM)
    criterion, losses = nn.CrossEntropyLoss(), AverageMeter()
    for arrays, labels in _for_ever(reading):
        arrays, labels = arrays.to(case.device), labels.to(case.device)
        loss = criterion(net(arrays), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.update(loss.item(), len(labels))
        if not clock.step():
            return clock.micros
    raise AssertionError


def hugging_face(case: Case, grouped: bool = False) -> float:
    """transformers' Trainer with its own data loader; `grouped`: texts of a batch are of similar length."""
    import transformers

    transformers.logging.set_verbosity_error()
    clock = Clock(case)

    class Answering(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = case.body()

        def forward(self, arrays: Tensor, labels: Tensor) -> dict[str, Tensor]:
            outputs = self.net(arrays)
            return {"loss": nn.functional.cross_entropy(outputs, labels), "logits": outputs}

    class Timing(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **other: Any) -> None:
            clock.step()

    def gathered(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        arrays = [row["input_ids"] for row in rows]
        stacked = torch.stack(arrays) if arrays[0].ndim > 1 else nn.utils.rnn.pad_sequence(arrays, batch_first=True)
        return {"arrays": stacked, "labels": torch.tensor([row["labels"] for row in rows])}

    with tempfile.TemporaryDirectory() as out:
        settings = transformers.TrainingArguments(
            out, per_device_train_batch_size=case.batch, max_steps=case.steps + WARM, learning_rate=RATE,
            weight_decay=DECAY, optim="sgd", optim_args=f"momentum={MOMENTUM}", lr_scheduler_type="constant",
            max_grad_norm=0.0, report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
            use_cpu=case.device.type == "cpu", dataloader_num_workers=0, remove_unused_columns=False,
            **({"train_sampling_strategy": "group_by_length"} if grouped else {}),
        )  # fmt: skip
        data = _Named(_examples(case), len(case.train))
        trainer = transformers.Trainer(
            Answering(), settings, train_dataset=data, data_collator=gathered, callbacks=[Timing()]
        )
        trainer.train()
    return clock.micros


class _Named(Dataset[Any]):
    """Examples as the Trainer wants them, by name; it groups by the length of what is called input_ids."""

    def __init__(self, examples: Dataset[Any], count: int):
        self.examples, self.count = examples, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> dict[str, Any]:
        array, label = self.examples[row]
        return {"input_ids": array, "labels": int(label)}


def _length(case: Case) -> int:
    assert isinstance(case.inputs, TextInputs)
    return case.inputs.length


class _Texts(Dataset[Any]):
    """One text's ids int64 [T], and its label."""

    def __init__(self, case: Case):
        self.split, self.length = case.train, _length(case)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, row: int) -> Any:
        assert self.split.texts is not None
        return torch.from_numpy(self.split.texts.padded(np.array([row]), self.length)[0]), int(self.split.labels[row])


def _examples(case: Case, transforms: str = "plain") -> Dataset[Any]:
    if case.files is None:
        return _Texts(case)
    from torchvision import datasets
    from torchvision.transforms import v2

    assert isinstance(case.inputs, ImageInputs)
    crop = [v2.RandomResizedCrop(case.inputs.height, antialias=True), v2.RandomHorizontalFlip()]
    if transforms == "plain":
        end: list[Any] = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
        return datasets.ImageFolder(str(case.files), v2.Compose([*crop, *end]))
    end = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD), v2.ToPureTensor()]
    return datasets.ImageFolder(str(case.files), v2.Compose([*crop, *end]))


def _loader(case: Case, workers: int, transforms: str = "plain") -> DataLoader[Any]:
    """Shuffled batches; texts padded to the longest of each."""

    def padded(rows: list[Any]) -> Any:
        ids = nn.utils.rnn.pad_sequence([row for row, _ in rows], batch_first=True)
        return ids, torch.tensor([label for _, label in rows])

    collate = padded if case.files is None else None
    return DataLoader(_examples(case, transforms), case.batch, shuffle=True, num_workers=workers, collate_fn=collate)


def _for_ever(reading: DataLoader[Any]) -> Iterator[Any]:
    return itertools.chain.from_iterable(itertools.repeat(reading))


def _part(split: Split, rows: np.ndarray) -> Split:
    images = split.images[rows] if isinstance(split.images, np.ndarray) else split.images
    return Split(split.labels[rows], split.targets[rows], images=images, texts=split.texts)


def images_case(name: str, module: ModuleType, settings: Any, side: int, count: int, given: Any, out: Path) -> Case:
    from PIL import Image

    batch, steps, device = given
    found = pictures(count, side)
    labels = np.arange(count) % CLASSES
    for k, image in enumerate(found):
        folder = out / f"{side}" / str(labels[k])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{k}.jpg")
    targets = np.eye(CLASSES, dtype=np.float32)[labels]
    split = Split(labels, targets, images=found)
    target = Target("classes", tuple(map(str, range(CLASSES))))
    inputs = ImageInputs(side, side, 3, MEAN, STD)
    return Case(name, module, settings, inputs, target, split, batch, steps, device, out / str(side))


def texts_case(name: str, module: ModuleType, settings: Any, length: int, given: Any) -> Case:
    batch, steps, device = given
    folder, features = artifacts.folder("prepared", "reviews"), artifacts.folder("features", "reviews")
    if not features.is_dir():
        raise SystemExit(f"{features}: found nothing; expected the prepared reviews; run: make run")
    split = text.load(folder, features, "train")
    inputs = TextInputs(text.inputs(folder, features).vocabulary, length)
    return Case(name, module, settings, inputs, Target("classes", ("neg", "pos")), split, batch, steps, device)


def measured(case: Case, peers: dict[str, Steps], turns: int) -> dict[str, list[float]]:
    """Microseconds an example of each, by turns."""
    taken: dict[str, list[float]] = {name: [] for name in peers}
    for turn in range(turns + 1):  # the first warms up
        for name, call in peers.items():
            value = call()
            if turn or not turns:
                taken[name].append(value)
    return taken


def rows_of(case: Case, taken: dict[str, list[float]], goals: dict[str, float], best: str) -> list[dict[str, Any]]:
    found = []
    unit = "µs/example" if case.device.type == "cuda" else "CPU µs/example"
    for peer in taken:
        if peer == "ours":
            continue
        ratio = statistics.median(b / a for a, b in zip(taken["ours"], taken[peer], strict=True))
        mine, theirs = statistics.median(taken["ours"]), statistics.median(taken[peer])
        goal = goals.get(peer, goals.get("any") if peer == best else None)
        name = f"{case.name}, against {peer}"
        found.append({"name": name, "ours": mine, "peer": theirs, "ratio": ratio, "goal": goal, "unit": unit})
    return found


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def one_case(case: Case, turns: int, goals: dict[str, float]) -> list[dict[str, Any]]:
    peers: dict[str, Steps] = {
        "ours": lambda: ours(case),
        "a step in memory": lambda: in_memory(case),
        "DataLoader": lambda: plain(case),
    }
    if case.files is not None:
        peers["torchvision's recipe"] = lambda: recipe(case)
        if installed("timm"):
            peers["timm"] = lambda: timm(case)
    if installed("transformers") and installed("accelerate"):
        peers["Hugging Face's Trainer"] = lambda: hugging_face(case)
        if case.files is None:
            peers["Hugging Face's Trainer, grouped by length"] = lambda: hugging_face(case, True)
    if case.files is None:
        del peers["a step in memory"]  # one batch is not like another
    taken = measured(case, peers, turns)
    others = [name for name in taken if name not in ("ours", "a step in memory")]
    best = min(others, key=lambda name: statistics.median(taken[name]))
    return rows_of(case, taken, goals, best)


def matrix_rate(device: torch.device) -> float:
    """Multiply-adds a second of large products in the precision that training uses, measured as the steps are."""
    size = 4096 if device.type == "cuda" else 1024
    left, right = (torch.randn(size, size, device=device) for _ in range(2))
    taken = []
    for _ in range(7):
        started = time.perf_counter() if device.type == "cuda" else time.process_time()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append((time.perf_counter() if device.type == "cuda" else time.process_time()) - started)
    return size**3 / statistics.median(taken)


def share_of_rate(case: Case, micros: float) -> dict[str, Any]:
    """The share of the measured matrix rate that a step reaches; a backward pass counts as two forward ones."""
    from pipeline import architecture

    made = architecture.sums(architecture.layers(case.network().net, case.inputs))
    reached = 3 * made["multiply_adds"] / (micros * 1e-6)
    limit = matrix_rate(case.device)
    name = f"{case.name}, multiply-adds against the device's matrix rate"
    ours, peer, ratio = limit / 1e9, reached / 1e9, reached / limit
    return {"name": name, "ours": ours, "peer": peer, "ratio": ratio, "goal": None, "unit": "G/s"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="few steps, one round, small networks")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    device, quick = torch.device(options.device), options.quick
    torch.set_num_threads(1)
    turns = 0 if quick else 3
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        if not quick:
            big = architectures.Config(architecture="resnet18")
            case = images_case("ResNet-18 at 112 px", architectures, big, 112, 512, (32, 4, device), out)
            rows += show(one_case(case, turns, {"any": BEST, "a step in memory": MEMORY}))
            rows += show([share_of_rate(case, rows[0]["ours"])])
        few = (8, 1, device) if quick else (64, 12, device)
        small = images_case("a small ResNet at 32 px", resnet, resnet.Config(), 32, 32 if quick else 2048, few, out)
        rows += show(one_case(small, turns, {"any": BEST, "a step in memory": MEMORY, "DataLoader": PLAIN}))
    if not quick:
        both = lstm.Config(directions="both")
        texts = texts_case("a BiLSTM, texts of mixed length", lstm, both, 256, (64, 40, device))
        rows += show(one_case(texts, turns, {"any": BEST, "DataLoader": MIXED}))
        texts = texts_case("textcnn, texts of mixed length", textcnn, textcnn.Config(), 256, (64, 40, device))
        rows += show(one_case(texts, turns, {"any": BEST}))
    for peer in ("timm", "transformers", "accelerate"):
        if not installed(peer):
            print(f"{peer}: not installed: not measured")
    if options.json:
        options.json.write_text(json.dumps(rows, ensure_ascii=False, indent=1), "utf-8")


def show(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for found in rows:
        figures = f"{found['ours']:10.1f} {found['peer']:10.1f} {found['unit']:15} {found['ratio']:7.2f}×"
        print(f"{found['name']:76} {figures}  goal {found['goal'] or '-'}", flush=True)
    return rows


if __name__ == "__main__":
    main()
