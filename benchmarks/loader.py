"""Reading images for training, by CPU time of one thread, each peer by turns with ours: random resized crop, random
flip, normalised float32 (ours also as uint8, which a device normalises).

The peers: ImageFolder with DataLoader as tutorials have it, on JPEG files of the very size; torchvision's transforms on
each image of a memory map; FFCV's raw format with `--peers PYTHON`, an interpreter that has ffcv; the limit is a plain
copy of the rows. Also the first batch of a fresh process, memory from 10,000 to 100,000 images, and a training step.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import artifacts
from pipeline.loader.draws import Augmentation, Crop
from pipeline.loader.reading import Loader, Scaling

BATCH = 64
COUNTS = {224: 512, 64: 1024, 32: 2048}  # images of each size, pixels a side
LEAST_SECONDS = 0.2  # of one measurement
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AUGMENTATION = Augmentation("horizontal", 0.0, Crop())
GOALS = {"float32": {224: 9.0, 32: 40.0}, "uint8": {224: 10.5}}
FFCV_GOAL = {224: 1.8}
Epoch = Callable[[], None]


def pictures(count: int, side: int) -> np.ndarray:
    """Photo-like uint8 [N, side, side, 3]: noise of every scale, the coarse stronger than the fine."""
    import torch
    from torch.nn import functional

    torch.manual_seed(0)
    total = torch.zeros(count, 3, side, side)
    for level in range(2, side.bit_length()):
        noise = torch.randn(count, 3, 2**level, 2**level) / 1.7**level
        total += functional.interpolate(noise, (side, side), mode="bicubic")
    total = 128 + 90 * total / total.std()
    return total.clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


def image_folder(files: Path, side: int) -> Epoch:
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    turned = [transforms.RandomResizedCrop(side), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    data = datasets.ImageFolder(str(files), transforms.Compose([*turned, transforms.Normalize(MEAN, STD)]))
    reading = DataLoader(data, BATCH, shuffle=True, num_workers=0)
    return lambda: [None for _ in reading] and None


def per_sample(images: np.ndarray, side: int) -> Epoch:
    import torch
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import v2

    steps = [v2.RandomResizedCrop(side, antialias=True), v2.RandomHorizontalFlip()]
    transform = v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])

    class Mapped(Dataset[Any]):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, row: int) -> Any:
            return transform(torch.from_numpy(images[row].copy()).permute(2, 0, 1))

    reading = DataLoader(Mapped(), BATCH, shuffle=True, num_workers=0)
    return lambda: [None for _ in reading] and None


def gather(images: np.ndarray) -> Epoch:
    batch = np.empty((BATCH, *images.shape[1:]), np.uint8)
    order = np.random.default_rng(0).permutation(len(images)).reshape(-1, BATCH)

    def epoch() -> None:
        for rows in order:
            np.take(images, np.sort(rows), axis=0, out=batch, mode="clip")

    return epoch


def ours(images: np.ndarray, scaling: Scaling | None) -> Epoch:
    import torch

    loader = Loader(images, batch_size=BATCH, augmentation=AUGMENTATION, scaling=scaling, filling=1)

    def epoch() -> None:
        for batch in loader:
            torch.from_numpy(batch.images).permute(0, 3, 1, 2)

    return epoch


class Ffcv:
    """FFCV in its own interpreter, which runs epochs when it is told to."""

    def __init__(self, python: str, array: Path, out: Path):
        script = Path(__file__).parent / "peers" / "ffcv_raw.py"
        command = [python, str(script), str(array), str(out), str(BATCH), json.dumps([MEAN, STD])]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        while (line := self._answer()) != "ready":
            print(line, file=sys.stderr)

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("benchmarks/loader.py: FFCV ended; run it without --peers, or mend that interpreter")
        return line.strip()

    def seconds(self, epochs: int) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{epochs}\n")
        self.process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


def seconds(epoch: Epoch) -> Callable[[int], float]:
    """CPU seconds of this process for a number of epochs."""

    def measure(epochs: int) -> float:
        started = time.process_time()
        for _ in range(epochs):
            epoch()
        return time.process_time() - started

    return measure


def rounds(calls: dict[str, Callable[[int], float]], images: int, count: int) -> dict[str, list[float]]:
    """CPU microseconds an image of each peer, by turns; fast ones run as many epochs as fill a measurement."""
    epochs = {name: max(1, round(LEAST_SECONDS / max(call(1), 1e-4))) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(count):
        for name, call in calls.items():
            taken[name].append(1e6 * call(epochs[name]) / epochs[name] / images)
    return taken


def one_size(side: int, count: int, turns: int, python: str | None) -> list[dict[str, Any]]:
    """Rows of one size: ours against each peer."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = pictures(count, side)
        np.save(folder / "images.npy", found)
        (folder / "files" / "one").mkdir(parents=True)
        for k, image in enumerate(found):
            Image.fromarray(image).save(folder / "files" / "one" / f"{k}.jpg")
        images = np.load(folder / "images.npy", mmap_mode="r")
        calls = {
            "ImageFolder": seconds(image_folder(folder / "files", side)),
            "torchvision on a memory map": seconds(per_sample(images, side)),
            "a copy of the rows": seconds(gather(images)),
            "float32": seconds(ours(images, Scaling(MEAN, STD))),
            "uint8": seconds(ours(images, None)),
        }
        peer = Ffcv(python, folder / "images.npy", folder / "images.beton") if python else None
        if peer:
            calls["FFCV raw"] = peer.seconds
        taken = rounds(calls, count, turns)
        if peer:
            peer.close()
    return _rows(side, taken)


def row(name: str, mine: float, peer: float, goal: float | None, unit: str, ratio: float) -> dict[str, Any]:
    return {"name": name, "ours": mine, "peer": peer, "ratio": ratio, "goal": goal, "unit": unit}


def _rows(side: int, taken: dict[str, list[float]]) -> list[dict[str, Any]]:
    result = []
    for kind, others in (("float32", [name for name in taken if name not in ("float32", "uint8")]), ("uint8", None)):
        for peer in others or ["ImageFolder"]:
            goals = FFCV_GOAL if peer == "FFCV raw" else GOALS[kind] if peer == "ImageFolder" else {}
            mine, theirs = statistics.median(taken[kind]), statistics.median(taken[peer])
            ratio = statistics.median(b / a for a, b in zip(taken[kind], taken[peer], strict=True))
            name = f"{side} px, {kind} against {peer}"
            result.append(row(name, mine, theirs, goals.get(side), "CPU µs/image", ratio))
    return result


FIRST = """
import time
import numpy as np
from benchmarks.loader import AUGMENTATION, BATCH
from pipeline.loader.reading import Loader
images = np.load(sys.argv[1], mmap_mode="r")
for _ in range(2):
    started = time.perf_counter()
    for batch in Loader(images, batch_size=BATCH, augmentation=AUGMENTATION):
        break
    print(time.perf_counter() - started)
"""
EPOCH = """
import re
from pathlib import Path
import numpy as np
from benchmarks.loader import AUGMENTATION, BATCH
from pipeline.loader.reading import Loader
images = np.load(sys.argv[1], mmap_mode="r")
for batch in Loader(images, batch_size=BATCH, augmentation=AUGMENTATION):
    pass
print(int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
"""


def fresh(script: str, array: Path) -> list[float]:
    """The numbers that a script prints in a process of its own."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{script}", str(array)]
    return [float(line) for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]


def first_batch(turns: int) -> list[dict[str, Any]]:
    """Seconds from making a loader to its first batch; the peer is the limit. Compiled code lies in numba's cache."""
    with tempfile.TemporaryDirectory() as name:
        array = Path(name) / "images.npy"
        np.save(array, pictures(2 * BATCH, 224))
        fresh(FIRST, array)  # compiles where that was never done
        cold, warm = (
            statistics.median(times) for times in zip(*(fresh(FIRST, array) for _ in range(turns)), strict=True)
        )
    return [
        row("first batch, 224 px, against 0.1 s", warm, 0.1, 1.0, "s", 0.1 / warm),
        row("first batch of a process, numba's own start included", cold, 0.1, None, "s", 0.1 / cold),
    ]


def memory(few: int, many: int) -> dict[str, Any]:
    """Anonymous memory after an epoch of a large store against one of a small store."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        for count in (few, many):
            array = Path(name) / f"{count}.npy"
            np.lib.format.open_memmap(array, mode="w+", dtype=np.uint8, shape=(count, 32, 32, 3)).flush()
            found += fresh(EPOCH, array)
    text = f"anonymous memory, {many:,} images against {few:,}; at most 50 MB more"
    return row(text, found[1], found[0], None, "MB", found[0] / found[1])


def step(turns: int, count: int) -> dict[str, Any]:
    """A training step on batches as they are read against the same step on a batch in memory, wall time by turns."""
    import torch

    from pipeline import network
    from pipeline.examples import ImageInputs
    from pipeline.models import resnet
    from pipeline.targets import Target

    images = pictures(count, 96)[..., :1].copy()
    inputs = ImageInputs(96, 96, 1, (0.5,), (0.25,))
    torch.manual_seed(0)
    net = network.network(resnet, resnet.Config(), inputs, Target("classes", ("a", "b"))).net
    net.to(memory_format=torch.channels_last)
    optimizer, labels = torch.optim.AdamW(net.parameters()), torch.zeros(BATCH, dtype=torch.int64)

    def train(array: np.ndarray) -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(torch.from_numpy(array)), labels).backward()
        optimizer.step()

    loader = Loader(images, batch_size=BATCH, augmentation=Augmentation("both", 0.05))
    held = images[:BATCH].copy()
    train(held)
    taken: list[tuple[float, float]] = []
    for _ in range(turns):
        started = time.perf_counter()
        for batch in loader:
            train(batch.images)
        between = time.perf_counter()
        for _ in range(len(loader)):
            train(held)
        taken.append((between - started, time.perf_counter() - between))
    mine, peer = (1000 * statistics.median(times) / len(loader) for times in zip(*taken, strict=True))
    ratio = statistics.median(b / a for a, b in taken)
    return row("a training step, 96 px grey, against one on a batch in memory", mine, peer, 0.95, "ms", ratio)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="few images, one round")
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter with ffcv, which is measured too")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    turns = 1 if options.quick else 7
    sizes = {32: BATCH} if options.quick else COUNTS
    rows = [found for side, count in sizes.items() for found in one_size(side, count, turns, options.peers)]
    few, many, steps = (500, 1000, 2) if options.quick else (10_000, 100_000, 8)
    rows += [*first_batch(turns), memory(few, many), step(turns, steps * BATCH)]
    for found in rows:
        figures = f"{found['ours']:10.3f} {found['peer']:10.3f} {found['unit']:12} {found['ratio']:7.2f}×"
        print(f"{found['name']:68} {figures}  goal {found['goal'] or '-'}")
    if not options.peers:
        print("FFCV raw: not installed: not measured; name an interpreter that has it with --peers")
    if options.json:
        artifacts.write_json(options.json, rows)


if __name__ == "__main__":
    main()
