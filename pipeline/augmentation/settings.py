"""The sections train.images and train.mixing: what is done at random to the images of a train batch.

Nothing here imports torch, so that a check stays quick.
"""

from dataclasses import dataclass, fields
from typing import Literal

from pipeline.config import setting
from pipeline.errors import ConfigError
from pipeline.loader.draws import Crop

Outside = Literal["edge", "black", "reflection"]
"""What comes into a picture from beyond its border: the outermost pixels repeated, black, or the picture mirrored."""


def _require_order(smallest: float, largest: float) -> None:
    if smallest > largest:
        raise ValueError(f"smallest: found {smallest:g}; expected at most largest ({largest:g})")


@dataclass(frozen=True)
class Affine:
    """Turned, moved, scaled and sheared about the middle in one bilinear resample, each by a uniform draw."""

    rotation: float = setting(0.0, low=0, high=180, unit="degrees at most, to either side")
    translation: float = setting(0.0, low=0, high=1, unit="share of a side at most, in either direction")
    scale: float = setting(1.0, low=1, high=10, unit="times larger or smaller at most")
    shear: float = setting(0.0, low=0, high=80, unit="degrees at most, along x and along y")
    outside: Outside = "edge"

    @property
    def on(self) -> bool:
        return bool(self.rotation or self.translation or self.scale > 1 or self.shear)


@dataclass(frozen=True)
class Colours:
    """Colour jitter, in this order. Grey images have neither saturation nor hue and take the other two."""

    brightness: float = setting(0.0, low=0, high=1, unit="factor between 1 less this and 1 more")
    contrast: float = setting(0.0, low=0, high=1, unit="factor between 1 less this and 1 more")
    saturation: float = setting(0.0, low=0, high=1, unit="factor between 1 less this and 1 more")
    hue: float = setting(0.0, low=0, high=0.5, unit="turns of the colour wheel at most, to either side")

    def of(self, channels: int) -> tuple[str, ...]:
        """The names of what is on for images of so many channels."""
        names = [found.name for found in fields(self)][: 4 if channels == 3 else 2]
        return tuple(name for name in names if getattr(self, name))


@dataclass(frozen=True)
class Blur:
    """A Gaussian blur of some images, each with a sigma of its own."""

    share: float = setting(0.0, low=0, high=1, unit="share of the images")
    smallest: float = setting(0.1, above=0, high=20, unit="pixels of sigma")
    largest: float = setting(2.0, above=0, high=20, unit="pixels of sigma")

    def __post_init__(self) -> None:
        _require_order(self.smallest, self.largest)


@dataclass(frozen=True)
class Policy:
    """Operations drawn from a list of fourteen, or of thirteen for grey images.

    rand_augment: `operations` of them in turn, all at one magnitude; after Cubuk et al., arXiv 1909.13719.
    trivial_augment: one, at a magnitude drawn for each image; after Müller and Hutter, arXiv 2103.10158 (Wide).
    """

    kind: Literal["none", "rand_augment", "trivial_augment"] = "none"
    operations: int = setting(2, low=1, high=10, unit="rand_augment: operations an image")
    magnitude: float = setting(9.0, low=0, high=30, unit="rand_augment: 0 does least, 30 most")
    outside: Outside = "edge"


@dataclass(frozen=True)
class Erasing:
    """A rectangle of some images is filled with noise or one level; after Zhong et al., arXiv 1708.04896."""

    share: float = setting(0.0, low=0, high=1, unit="share of the images")
    smallest: float = setting(0.02, above=0, high=1, unit="share of an image's area")
    largest: float = setting(0.33, above=0, high=1, unit="share of an image's area")
    ratio: float = setting(3.3, low=1, high=100, unit="longest side of the rectangle by its shortest")
    fill: Literal["noise", "mean", "black"] = "noise"  # mean: the image's own, by channel

    def __post_init__(self) -> None:
        _require_order(self.smallest, self.largest)


@dataclass(frozen=True)
class Images:
    """What is done at random to each image of a train batch, in this order; validation and test see none of it.

    The first three are done by the loader, the others by the device that trains.
    """

    flips: Literal["none", "horizontal", "both"] = "horizontal"
    shift: float = setting(0.05, low=0, high=0.5, unit="share of an image's side")
    crop: Crop | None = None  # a random part of each image, resized to the whole
    affine: Affine = Affine()
    policy: Policy = Policy()
    colours: Colours = Colours()
    blur: Blur = Blur()
    erasing: Erasing = Erasing()

    @property
    def on(self) -> bool:
        """Whether anything is done to any image."""
        loaded = self.flips != "none" or self.shift > 0 or self.crop is not None
        drawn = self.affine.on or self.policy.kind != "none" or self.colours.of(3) or self.blur.share
        return bool(loaded or drawn or self.erasing.share)


@dataclass(frozen=True)
class Mixing:
    """Images of a train batch are mixed with others of it, and their targets likewise.

    mixup: a weighted mean of two, after Zhang et al., arXiv 1710.09412. cutmix: a rectangle of one in the other, after
    Yun et al., arXiv 1905.04899. The weight is drawn from a beta distribution; where both are on, half get either.
    """

    mixup: float = setting(0.0, low=0, high=100, unit="both parameters of the beta distribution; 0: off")
    cutmix: float = setting(0.0, low=0, high=100, unit="both parameters of the beta distribution; 0: off")
    share: float = setting(1.0, low=0, high=1, unit="share of the images that are mixed")

    @property
    def on(self) -> bool:
        return bool((self.mixup or self.cutmix) and self.share)


def require_images(mixing: Mixing, kind: str, where: str) -> None:
    """Raises: ConfigError where texts are to be mixed."""
    if mixing.on and kind != "image":
        raise ConfigError(
            f"{where}.mixing: found mixup {mixing.mixup:g} and cutmix {mixing.cutmix:g} for texts; expected 0: a "
            "token is the number of a word, and numbers of words have no mean; train.texts changes texts"
        )
