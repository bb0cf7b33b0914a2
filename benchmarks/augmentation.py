"""Image augmentation of whole batches against torchvision's transforms of one image after the other.

Colour images, uint8, 224 and 32 pixels, one thread, by CPU time, interleaved; both draw for each image. torchvision
has each image as it likes it, channels first, and its results are stacked to a batch. Needs no data.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from pipeline import artifacts
from pipeline.augmentation import colours, filters, mixing
from pipeline.augmentation.images import Augmenter
from pipeline.augmentation.layout import in_pieces
from pipeline.augmentation.settings import Affine, Blur, Colours, Erasing, Images, Mixing, Policy

BILINEAR = InterpolationMode.BILINEAR
CLASSES = 10
OFF: dict[str, Any] = {"flips": "none", "shift": 0.0}
MIXED = ("mixup", "cutmix")  # of which torchvision draws one weight and one box for a whole batch
Call = Callable[[], Tensor]


def batch(side: int, count: int) -> Tensor:
    """Pictures rather than noise: uint8 [B, side, side, 3], smooth with some grain."""
    torch.manual_seed(0)
    rough = torch.rand(count, 3, 8, 8)
    smooth = torch.nn.functional.interpolate(rough, (side, side), mode="bilinear").permute(0, 2, 3, 1)
    return (smooth * 200 + 40 * torch.rand(smooth.shape)).to(torch.uint8).contiguous()


def by_settings(images: Tensor, **sections: Any) -> Call:
    """What train.images says, its draws included."""
    augmenter = Augmenter(Images(**OFF, **sections), images.shape[1], images.shape[2], 3)
    assert augmenter
    random = np.random.default_rng(0)
    return lambda: augmenter.apply(images, augmenter.draw(random, len(images)))


def by_operation(images: Tensor, change: Callable[[Tensor, Tensor], Tensor], low: float, high: float) -> Call:
    def call() -> Tensor:
        amounts = torch.empty(len(images)).uniform_(low, high)
        return in_pieces(images, lambda some, place: change(some, amounts[place]))

    return call


def by_torchvision(images: Tensor, transform: Callable[[Tensor], Tensor]) -> Call:
    alone = list(images.permute(0, 3, 1, 2).contiguous())
    return lambda: torch.stack([transform(image) for image in alone])


def uniform(low: float, high: float) -> float:
    return float(torch.empty(()).uniform_(low, high))


def pairs(images: Tensor) -> Iterator[tuple[str, Call, Call]]:
    """What is measured: its name, ours and torchvision's."""
    sections: dict[str, tuple[Any, Callable[[Tensor], Tensor]]] = {
        "affine": (
            Affine(rotation=20, translation=0.1, scale=1.2, shear=10),
            v2.RandomAffine(20, (0.1, 0.1), (1 / 1.2, 1.2), (-10, 10, -10, 10), BILINEAR),
        ),
        "brightness": (Colours(brightness=0.4), v2.ColorJitter(brightness=0.4)),
        "contrast": (Colours(contrast=0.4), v2.ColorJitter(contrast=0.4)),
        "saturation": (Colours(saturation=0.4), v2.ColorJitter(saturation=0.4)),
        "hue": (Colours(hue=0.1), v2.ColorJitter(hue=0.1)),
        "colours, all four": (Colours(0.4, 0.4, 0.4, 0.1), v2.ColorJitter(0.4, 0.4, 0.4, 0.1)),
        "blur": (Blur(share=1.0), v2.GaussianBlur(13, (0.1, 2.0))),
        "rand_augment": (Policy("rand_augment"), v2.RandAugment(interpolation=BILINEAR)),
        "trivial_augment": (Policy("trivial_augment"), v2.TrivialAugmentWide(interpolation=BILINEAR)),
        "erasing": (Erasing(share=1.0, fill="black"), v2.RandomErasing(1.0)),
    }
    names = {Affine: "affine", Colours: "colours", Blur: "blur", Policy: "policy", Erasing: "erasing"}
    for name, (section, transform) in sections.items():
        yield name, by_settings(images, **{names[type(section)]: section}), by_torchvision(images, transform)

    def alone(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda some, _: change(some)

    operations: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], float, float, Callable[[Tensor], Tensor]]] = {
        "sharpness": (
            filters.sharpened, 0.1, 1.9, lambda image: functional.adjust_sharpness(image, uniform(0.1, 1.9)),
        ),
        "posterize": (
            lambda some, bits: colours.posterized(some, bits.round()), 2, 8,
            lambda image: functional.posterize(image, round(uniform(2, 8))),
        ),
        "solarize": (colours.solarized, 0, 256, lambda image: functional.solarize(image, uniform(0, 255))),
        "autocontrast": (alone(colours.autocontrasted), 0, 1, functional.autocontrast),
        "equalize": (alone(colours.equalized), 0, 1, functional.equalize),
    }  # fmt: skip
    for name, (change, low, high, transform) in operations.items():
        yield name, by_operation(images, change, low, high), by_torchvision(images, transform)
    first, labels = images.permute(0, 3, 1, 2).contiguous(), torch.arange(len(images)) % CLASSES
    mixup, cutmix = v2.MixUp(alpha=0.2, num_classes=CLASSES), v2.CutMix(alpha=1.0, num_classes=CLASSES)
    floats = first.float()  # torchvision's mixup has no whole numbers
    yield "mixup", _mixed(Mixing(mixup=0.2), images, labels), lambda: mixup(floats, labels)[0]
    yield "cutmix", _mixed(Mixing(cutmix=1.0), images, labels), lambda: cutmix(first, labels)[0]


def _mixed(settings: Mixing, images: Tensor, labels: Tensor) -> Call:
    random, targets = np.random.default_rng(0), torch.eye(CLASSES)[labels]
    count, height, width, _ = images.shape

    def call() -> Tensor:
        mix = mixing.draw(settings, random, count, height, width)
        return mixing.apply(images, targets, mix, slice(0, count))[0]

    return call


def cpu_seconds(call: Call) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def measure(name: str, ours: Call, peer: Call, images: int, rounds: int) -> dict[str, Any]:
    """One row: CPU milliseconds an image, by turns, and the ratio of the medians."""
    for call in (ours, peer):  # what is made once is made before the clock runs
        call()
    taken = [(cpu_seconds(ours), cpu_seconds(peer)) for _ in range(rounds)]
    goal = None if name.startswith(MIXED) else 1
    mine, other = (1000 * statistics.median(times) / images for times in zip(*taken, strict=True))
    return {"name": name, "ours": mine, "peer": other, "ratio": other / mine, "goal": goal, "unit": "CPU ms an image"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="few images, one round")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for side, count in ((224, 2), (32, 8)) if options.quick else ((224, 32), (32, 256)):
        images = batch(side, count)
        for name, ours, peer in pairs(images):
            row = measure(f"{name}, {side} px", ours, peer, count, 1 if options.quick else 9)
            rows.append(row)
            figures = f"{row['ours']:8.4f} {row['peer']:8.4f} {row['unit']} {row['ratio']:6.2f}×"
            print(f"{row['name']:28} {figures}  goal {row['goal'] or '-'}")
    if options.json:
        artifacts.write_json(options.json, rows)


if __name__ == "__main__":
    main()
