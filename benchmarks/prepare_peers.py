"""What others do to prepare images, each as its own users write it; prepare.py runs this file and measures.

With `--serve` it answers one JSON command a line from another interpreter: {"name", "paths", "out"} gives the CPU
seconds, or why there are none. Needs no package of the project, so that an interpreter with Pillow-SIMD can run it.
"""

import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 224  # pixels a side
ROWS = "rows.npy"
Work = Callable[[Sequence[str], Path], None]


@contextlib.contextmanager
def rows(out: Path, count: int) -> Iterator[Callable[[Any], object]]:
    """Takes uint8 [SIZE, SIZE, 3] one after another into a file that numpy.load reads."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, SIZE, SIZE, 3)}
    with (out / ROWS).open("wb", buffering=0) as file:
        np.lib.format.write_array_header_1_0(file, header)
        yield lambda row: file.write(np.ascontiguousarray(row))


def tutorial() -> Work:
    from PIL import Image

    def work(paths: Sequence[str], out: Path) -> None:
        for k, path in enumerate(paths):
            Image.open(path).convert("RGB").resize((SIZE, SIZE)).save(out / f"{k}.jpg")

    return work


def draft() -> Work:
    from PIL import Image

    def work(paths: Sequence[str], out: Path) -> None:
        with rows(out, len(paths)) as write:
            for path in paths:
                image = Image.open(path)
                image.draft("RGB", (SIZE, SIZE))
                write(np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.BICUBIC)))

    return work


def pillow_simd() -> Work:
    import PIL

    if ".post" not in PIL.__version__:
        raise ImportError("PIL is not Pillow-SIMD")
    return draft()


def torchvision() -> Work:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms.v2.functional import resize

    torch.set_num_threads(1)

    def work(paths: Sequence[str], out: Path) -> None:
        with rows(out, len(paths)) as write:
            for path in paths:
                image = decode_jpeg(read_file(path), mode=ImageReadMode.RGB)
                write(resize(image, [SIZE, SIZE], antialias=True).permute(1, 2, 0).numpy())

    return work


def opencv() -> Work:
    """Decoded at ½, ¼ or ⅛, as long as that is no smaller than the target, then averaged over areas."""
    import cv2
    from PIL import Image

    cv2.setNumThreads(1)
    modes = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))

    def work(paths: Sequence[str], out: Path) -> None:
        with rows(out, len(paths)) as write:
            for path in paths:
                with Image.open(path) as image:  # its header alone
                    side = min(image.size)
                mode = next((mode for by, mode in modes if side / by >= SIZE), cv2.IMREAD_COLOR)
                small = cv2.resize(cv2.imread(path, mode), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
                write(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))

    return work


def pyvips() -> Work:
    os.environ["VIPS_CONCURRENCY"] = "1"
    import pyvips

    pyvips.cache_set_max(0)

    def work(paths: Sequence[str], out: Path) -> None:
        with rows(out, len(paths)) as write:
            for path in paths:
                write(pyvips.Image.thumbnail(path, SIZE, height=SIZE, size="force").numpy())

    return work


def img2dataset() -> Work:
    """Its resizer with its own encoding; it has no stretching, so the centre is cropped."""
    import cv2
    from img2dataset.resizer import Resizer

    cv2.setNumThreads(1)
    resizer = Resizer(image_size=SIZE, resize_mode="center_crop", resize_only_if_bigger=False)

    def work(paths: Sequence[str], out: Path) -> None:
        for k, path in enumerate(paths):
            encoded, *_, error = resizer(io.BytesIO(Path(path).read_bytes()))
            if error:
                raise ValueError(f"{path}: {error}")
            (out / f"{k}.jpg").write_bytes(encoded)

    return work


WORKS: dict[str, Callable[[], Work]] = {
    "tutorial": tutorial,
    "Pillow + draft": draft,
    "Pillow-SIMD + draft": pillow_simd,
    "torchvision": torchvision,
    "OpenCV, reduced decode": opencv,
    "pyvips thumbnail": pyvips,
    "img2dataset": img2dataset,
}


def timed(work: Work, paths: Sequence[str], out: Path) -> float:
    """CPU seconds of the process, all threads together."""
    started = time.process_time()
    work(paths, out)
    return time.process_time() - started


def serve() -> None:
    made: dict[str, Work] = {}
    for line in sys.stdin:
        command = json.loads(line)
        try:
            work = made.setdefault(command["name"], WORKS[command["name"]]())
            answer: dict[str, Any] = {"seconds": timed(work, command["paths"], Path(command["out"]))}
        except Exception as error:  # noqa: BLE001  # a peer that is missing or fails is named in the table
            answer = {"missing": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
