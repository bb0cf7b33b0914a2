"""All that is done to a batch of images on the device that trains, each example by its own draws.

What is drawn is drawn for the global batch, whichever rank asks, so that ranks agree on every example.
B examples, H height, W width, C channels in pixels.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pipeline.augmentation import colours, erasing, filters, geometry, policies
from pipeline.augmentation.layout import in_pieces, on
from pipeline.augmentation.settings import Affine, Blur, Colours, Erasing, Images

Drawn = Mapping[str, np.ndarray]  # arrays [B, …]


@dataclass(frozen=True)
class Step:
    draw: Callable[[np.random.Generator, int], Drawn]  # for so many examples
    apply: Callable[[Tensor, Drawn], Tensor]


class Augmenter:
    """uint8 [B, H, W, C] → the same; what is off takes no draw and no time."""

    def __init__(self, settings: Images, height: int, width: int, channels: int):
        self._steps = list(_steps(settings, height, width, channels))

    def __bool__(self) -> bool:
        """Whether anything is on."""
        return bool(self._steps)

    def draw(self, random: np.random.Generator, count: int) -> list[Drawn]:
        """Each step's draws for a global batch of so many examples."""
        return [step.draw(random, count) for step in self._steps]

    def apply(self, images: Tensor, drawn: list[Drawn]) -> Tensor:
        """The images augmented, in an array of their own; `drawn` are the draws of these examples alone."""
        if not self._steps or not len(images):
            return images
        for step, found in zip(self._steps, drawn, strict=True):
            images = step.apply(images, found)
        return images


def part(drawn: list[Drawn], examples: slice) -> list[Drawn]:
    """The draws of some of the examples."""
    return [_cut(found, examples) for found in drawn]


def _cut(found: Drawn, examples: slice) -> Drawn:
    return {name: array[examples] for name, array in found.items()}


def _steps(settings: Images, height: int, width: int, channels: int) -> Iterator[Step]:
    if settings.affine.on:
        yield Step(
            functools.partial(_moves, settings.affine, height, width), functools.partial(_moved, settings.affine)
        )
    if settings.policy.kind != "none":
        drawn = functools.partial(policies.draw, settings.policy, height, width, channels)
        yield Step(drawn, functools.partial(policies.apply, settings.policy))
    if settings.colours.of(channels):
        yield Step(functools.partial(_factors, settings.colours, channels), _coloured)
    if settings.blur.share:
        yield Step(functools.partial(_sigmas, settings.blur), functools.partial(_blurred, settings.blur))
    if settings.erasing.share:
        fill = erasing.Fill(settings.erasing.fill, height, width, channels)
        yield Step(functools.partial(_boxes, settings.erasing, height, width), functools.partial(_filled, fill))


def _moves(affine: Affine, height: int, width: int, random: np.random.Generator, count: int) -> Drawn:
    def uniform(most: float, *shape: int) -> np.ndarray:
        return random.uniform(-most, most, (count, *shape))

    return {
        "angles": uniform(affine.rotation),
        "shifts": uniform(affine.translation, 2) * (width, height),
        "scales": np.exp(uniform(np.log(affine.scale))),
        "shears": uniform(affine.shear, 2),
    }


def _moved(affine: Affine, images: Tensor, drawn: Drawn) -> Tensor:
    def change(some: Tensor, place: slice) -> Tensor:
        return geometry.affine(some, geometry.Moves(**_cut(drawn, place)), affine.outside)

    return in_pieces(images, change)


def _factors(settings: Colours, channels: int, random: np.random.Generator, count: int) -> Drawn:
    """Factors about 1, and hues about 0, of what is on."""
    return {
        name: (name != "hue") + random.uniform(-1, 1, count) * getattr(settings, name) for name in settings.of(channels)
    }


def _coloured(images: Tensor, drawn: Drawn) -> Tensor:
    amounts = {name: on(images.device, found) for name, found in drawn.items()}

    def change(some: Tensor, place: slice) -> Tensor:
        return colours.jitter(some, **{name: found[place] for name, found in amounts.items()})

    return in_pieces(images, change)


def _sigmas(blur: Blur, random: np.random.Generator, count: int) -> Drawn:
    chosen = random.random(count) < blur.share
    return {"chosen": chosen, "sigmas": random.uniform(blur.smallest, blur.largest, count)}


def _blurred(blur: Blur, images: Tensor, drawn: Drawn) -> Tensor:
    rows = np.flatnonzero(drawn["chosen"])
    if not len(rows):
        return images
    places, sigmas = on(images.device, rows), on(images.device, drawn["sigmas"][rows])

    def change(some: Tensor, place: slice) -> Tensor:
        return filters.blurred(some, sigmas[place], blur.largest)

    return images.index_copy(0, places, in_pieces(images.index_select(0, places), change))


def _boxes(settings: Erasing, height: int, width: int, random: np.random.Generator, count: int) -> Drawn:
    """Rectangles, empty where an image is not chosen, and which noise fills them."""
    chosen = random.random(count) < settings.share
    areas = random.uniform(settings.smallest, settings.largest, count)
    longest = np.log(settings.ratio)
    ratios = np.exp(random.uniform(-longest, longest, count))
    found = erasing.boxes(areas, ratios, random.random((count, 2)), height, width)
    return {"boxes": found * chosen[:, None], "noises": random.integers(erasing.NOISES, size=count)}


def _filled(fill: erasing.Fill, images: Tensor, drawn: Drawn) -> Tensor:
    boxes, noises = (on(images.device, drawn[name]) for name in ("boxes", "noises"))
    return in_pieces(images, lambda some, place: fill(some, boxes[place], noises[place]))
