"""Preparing images against the peers, per CPU-second, by turns on the same files, medians of rounds.

1,500 photo-like JPEG files of 400 × 300 to 1600 × 1200 pixels become rows of 224 × 224: the photographs of scikit-image
and scikit-learn, cut, scaled and mirrored by chance, with a sensor's noise, quality 75 to 95, one in four without
subsampling. A second corpus is mixed: turned by EXIF, CMYK, progressive, PNG, palette. What is measured is a whole
loop: read, decode, resize, write (rows into one file; the tutorial and img2dataset JPEG files, as they do). The PSNR
compares with the tutorial's pixels before it saves them.

Pillow-SIMD, OpenCV, pyvips and img2dataset are no dependencies. Put them into an interpreter of their own, and pass it:

    python -m venv /tmp/peers && /tmp/peers/bin/pip install setuptools wheel opencv-python-headless pyvips pyvips-binary
    /tmp/peers/bin/pip install img2dataset && /tmp/peers/bin/pip uninstall -y pillow opencv-python
    CC="cc -mavx2" /tmp/peers/bin/pip install --no-build-isolation pillow-simd==9.5.0.post2
    /tmp/peers/bin/pip install --force-reinstall --no-deps opencv-python-headless
    python benchmarks/prepare.py --peers /tmp/peers/bin/python
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import prepare_peers
from prepare_peers import ROWS, SIZE, Work, rows, timed

from pipeline import artifacts, workers
from pipeline.features import decoding, jpeg, reading, resampling, resizing

LIMITS = decoding.Limits()
GOALS = {
    "tutorial": 3.8,
    "Pillow-SIMD + draft": 1.0,
    "torchvision": 1.3,
    "OpenCV, reduced decode": 1.3,
    "img2dataset": 1.3,
}
MIXED_GOAL, LIMIT_GOAL = 2.5, 0.75
# of 20 files, as folders gathered from cameras and the web hold them
MIXED = ["jpeg", "exif"] * 4 + ["jpeg", "progressive"] * 4 + ["cmyk", "palette", "palette", "png"]


def photographs() -> list[Image.Image]:
    import skimage
    import sklearn.datasets

    folder = Path(skimage.__file__).parent / "data"
    names = ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "retina.jpg", "rocket.jpg")
    found = [Image.open(folder / name).convert("RGB") for name in names if (folder / name).exists()]
    return found + [Image.fromarray(pixels) for pixels in sklearn.datasets.load_sample_images().images]


def photograph(sources: Sequence[Image.Image], chance: np.random.Generator) -> Image.Image:
    """A part of one of the sources, 400 to 1600 pixels wide, small ones as likely as large ones."""
    width = round(float(np.exp(chance.uniform(np.log(400), np.log(1600)))))
    height = round(width * 0.75)
    source = sources[chance.integers(len(sources))]
    scale = min(source.width / width, source.height / height) * chance.uniform(0.6, 1)
    left, top = chance.uniform(0, source.width - width * scale), chance.uniform(0, source.height - height * scale)
    box = (left, top, left + width * scale, top + height * scale)
    image = source.resize((width, height), Image.Resampling.LANCZOS, box=box)
    if chance.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    noise = chance.standard_normal((height, width, 3), np.float32) * np.float32(chance.uniform(0, 0.5))
    return Image.fromarray((np.asarray(image) + noise + 0.5).clip(0, 255).astype(np.uint8))


def save(image: Image.Image, path: Path, kind: str, chance: np.random.Generator) -> str:
    """Writes one file of that kind, and returns its name."""
    options: dict[str, Any] = {"quality": int(chance.integers(75, 96)), "subsampling": (2, 2, 2, 0)[chance.integers(4)]}
    if kind in ("png", "palette"):
        path, options = path.with_suffix(".png"), {}
        image = image.quantize() if kind == "palette" else image
    if kind == "exif":
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = int(chance.integers(2, 9))
    image.convert("CMYK").save(path, **options) if kind == "cmyk" else image.save(
        path, **options, **({"progressive": True} if kind == "progressive" else {})
    )
    return str(path)


def corpus(folder: Path, count: int, kinds: Sequence[str]) -> list[str]:
    sources, chance = photographs(), np.random.default_rng(0)
    folder.mkdir()
    return [
        save(photograph(sources, chance), folder / f"{k:04}.jpg", kinds[k % len(kinds)], chance) for k in range(count)
    ]


def ours(quality: decoding.Quality) -> Work:
    def work(paths: Sequence[str], out: Path) -> None:
        with rows(out, len(paths)) as write:
            for path in paths:
                content = reading.read(Path(path), LIMITS)
                write(
                    decoding.pixels(
                        content, LIMITS, size=SIZE, fit="stretch", quality=quality, resize=resampling.resize
                    )
                )

    return work


def decode_alone(paths: Sequence[str], out: Path) -> None:
    """The limit: what libjpeg-turbo takes at the scale that `fast` decodes at."""
    for path in paths:
        content = Path(path).read_bytes()
        found = jpeg.header(content)
        if found:
            whole = resizing.frame(found.width, found.height, SIZE, "stretch")
            jpeg.pixels(content, found, jpeg.divisor(whole.ratio), grey=False)


class Other:
    """Another interpreter that runs prepare_peers.py."""

    def __init__(self, python: Path) -> None:
        command = [str(python), prepare_peers.__file__]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self, name: str, paths: Sequence[str], out: Path) -> float:
        """Raises: ImportError where the interpreter has no such peer."""
        assert self.process.stdin and self.process.stdout
        print(json.dumps({"name": name, "paths": list(paths), "out": str(out)}), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        if "missing" in answer:
            raise ImportError(answer["missing"])
        return float(answer["seconds"])


Timer = Callable[[Sequence[str], Path], float]


def here(work: Work) -> Timer:
    return lambda paths, out: timed(work, paths, out)


def timers(other: Other | None) -> dict[str, Timer]:
    found: dict[str, Timer] = {
        "ours, fast": here(ours("fast")),
        "ours, exact": here(ours("exact")),
        "decode alone": here(decode_alone),
    }
    for name, make in prepare_peers.WORKS.items():
        if name in ("tutorial", "Pillow + draft", "torchvision"):
            found[name] = here(make())
        elif other:
            found[name] = lambda paths, out, name=name: other.seconds(name, paths, out)  # type: ignore[misc]
        else:
            print(f"{name}: not installed: not measured (see --peers)")
    return found


def measure(
    works: Mapping[str, Timer], paths: Sequence[str], rounds: int, check: Callable[[str, Path], None]
) -> dict[str, list[float]]:
    """CPU milliseconds an image, a figure a round; a first short round loads what is to be loaded."""
    taken: dict[str, list[float]] = {}
    for k in range(rounds + 1):
        part = paths if k else paths[:6]
        for name, timer in works.items():
            with tempfile.TemporaryDirectory() as folder:
                try:
                    seconds = timer(part, Path(folder))
                except ImportError as error:
                    if not k:
                        print(f"{name}: not installed: not measured ({error})")
                    continue
                if k:
                    taken.setdefault(name, []).append(1000 * seconds / len(part))
                if k == 1:
                    check(name, Path(folder))
    return taken


def psnr(found: np.ndarray, wanted: Sequence[np.ndarray]) -> tuple[float, float]:
    """Median and 5th percentile over the images, dB; 99 stands for equal."""
    errors = [np.square(a.astype(np.float32) - b).mean() for a, b in zip(found, wanted, strict=True)]
    levels = [10 * np.log10(255**2 / error) if error else 99.0 for error in errors]
    return float(np.median(levels)), float(np.percentile(levels, 5))


def plain(folder: Path, count: int, rounds: int, other: Other | None) -> list[dict[str, Any]]:
    paths = corpus(folder / "plain", count, ["jpeg"])
    wanted = [np.asarray(Image.open(path).convert("RGB").resize((SIZE, SIZE))) for path in paths]
    quality: dict[str, tuple[float, float]] = {}

    def check(name: str, out: Path) -> None:
        if (out / ROWS).exists():
            quality[name] = psnr(np.load(out / ROWS, mmap_mode="r"), wanted)

    taken = measure(timers(other), paths, rounds, check)
    print(f"two workers against one by the clock: {two_workers(paths, rounds):.2f}×")
    for name, times in taken.items():
        levels = "{:6.1f} {:6.1f} dB".format(*quality[name]) if name in quality else ""
        print(f"{name:28} {statistics.median(times):7.3f} ms {levels}")
    return [row(name, taken, GOALS.get(name)) for name in taken if not name.startswith("ours")]


def _chunk(paths: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        ours("fast")(paths, Path(folder))
    return len(paths)


def two_workers(paths: Sequence[str], rounds: int) -> float:
    """How many times as fast two processes are as one by the clock, their start included: nobody's goal, but told."""
    chunks = [paths[start : start + 50] for start in range(0, len(paths), 50)] * 3
    wall: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for count, found in wall.items():
            started = time.monotonic()
            assert sum(workers.imap(_chunk, chunks, workers=count)) == 3 * len(paths)
            found.append(time.monotonic() - started)
    return statistics.median(one / two for one, two in zip(wall[1], wall[2], strict=True))


def row(name: str, taken: Mapping[str, list[float]], goal: float | None) -> dict[str, Any]:
    mine, theirs = taken["ours, fast"], taken[name]
    ratio = statistics.median(b / a for a, b in zip(mine, theirs, strict=True))
    if name == "decode alone":
        goal = LIMIT_GOAL
    return {
        "name": f"images to {SIZE} px, against {name}",
        "ours": statistics.median(mine),
        "peer": statistics.median(theirs),
        "ratio": ratio,
        "goal": goal,
        "unit": "CPU ms/image",
    }


def mixed(folder: Path, count: int, rounds: int) -> dict[str, Any]:
    paths = corpus(folder / "mixed", count, MIXED)
    works = {"ours, fast": here(ours("fast")), "tutorial": here(prepare_peers.tutorial())}
    taken = measure(works, paths, rounds, lambda name, out: None)
    return row("tutorial", taken, MIXED_GOAL) | {"name": "mixed files, against tutorial"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="20 images, one round")
    parser.add_argument("--peers", type=Path, help="a Python with Pillow-SIMD, OpenCV, pyvips, img2dataset")
    options = parser.parse_args()
    count, rounds = (20, 1) if options.quick else (1500, 3)
    other = Other(options.peers) if options.peers else None
    with tempfile.TemporaryDirectory() as folder:
        found = plain(Path(folder), count, rounds, other)
        found.append(mixed(Path(folder), max(20, count // 5), rounds))
    for each in found:
        goal = each["goal"] or "-"
        times = f"{each['ours']:8.3f} {each['peer']:8.3f} {each['unit']}"
        print(f"{each['name']:52} {times} {each['ratio']:6.2f}×  goal {goal}")
    if options.json:
        artifacts.write_json(options.json, found)


if __name__ == "__main__":
    main()
