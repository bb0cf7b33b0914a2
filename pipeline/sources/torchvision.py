"""A data set that torchvision knows, by its name: MNIST and its kin, CIFAR, or ImageNet's layout.

Files that lie at `path` are used where they lie; what is missing there is fetched by torchvision, which checks its MD5,
into .danlu/. The data set's own test part is the test split; ImageNet's val is the validation split.
"""

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline import artifacts
from pipeline.config import setting
from pipeline.errors import DataError
from pipeline.examples import Example, SplitName
from pipeline.sources import _cifar, _idx, _png, _tree, _unpack, _user, image_folder
from pipeline.sources._entry import Limits

KIND = "image"
Name = Literal["mnist", "fashion_mnist", "kmnist", "cifar10", "cifar100", "imagenet"]
CLASSES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
CLASSES |= {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}  # torchvision's
GARMENTS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
KUZUSHIJI = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
LABELS = {"mnist": tuple("0123456789"), "fashion_mnist": GARMENTS, "kmnist": KUZUSHIJI}
PARTS: dict[str, SplitName] = {"train": "train", "t10k": "test"}
IMAGES, NUMBERS = "{}-images-idx3-ubyte", "{}-labels-idx1-ubyte"  # of a part
ORIGINS = {
    "mnist": ("CC-BY-SA-3.0", "http://yann.lecun.com/exdb/mnist/"),
    "fashion_mnist": ("MIT", "https://github.com/zalandoresearch/fashion-mnist"),
    "kmnist": ("CC-BY-SA-4.0", "http://codh.rois.ac.jp/kmnist/"),
    "cifar10": ("not stated by its authors", "https://www.cs.toronto.edu/~kriz/cifar.html"),
    "cifar100": ("not stated by its authors", "https://www.cs.toronto.edu/~kriz/cifar.html"),
    "imagenet": ("ImageNet's terms of access: research only", "https://image-net.org"),
}
WORDS = ("LOC_synset_mapping.txt", "words.txt", "synset_words.txt")  # lists of ImageNet's classes
PATIENCE = 60.0  # seconds without a byte
LIMITS = Limits(bytes=1 << 30, entries=1000, ratio=100, depth=4)


@dataclass(frozen=True)
class Config(_user.UserSource):
    """`path` is a folder that holds the files, in torchvision's own arrangement or directly, or an empty one."""

    dataset: Name = setting("cifar10")
    licence: str = setting("its authors'")  # as they state it


def read(config: Config) -> Iterator[Example]:
    """Every image, in the files' order. Raises: DataError where files are neither there nor to be had."""
    if config.dataset == "imagenet":
        yield from _imagenet(Path(config.path))
    elif config.dataset in _cifar.VERSIONS:
        yield from _cifar_images(config)
    else:
        yield from _digits(config)


def _example(id: str, pixels: np.ndarray, label: str, split: SplitName) -> Example:
    return Example(id, _png.encode(pixels), label, split=split, path=f"{id}.png")


def _digits(config: Config) -> Iterator[Example]:
    names = LABELS[config.dataset]
    for part, split in PARTS.items():
        images = _idx.read(_file(config, IMAGES.format(part)), 3)
        labels = _idx.read(_file(config, NUMBERS.format(part)), 1)
        if len(images) != len(labels) or labels.max(initial=0) >= len(names):
            raise DataError(
                f"{config.path}: found {len(images):,} images and {len(labels):,} labels up to "
                f"{labels.max(initial=0)}; expected as many, up to {len(names) - 1}; get the files again"
            )
        for number, (image, label) in enumerate(zip(images, labels)):
            yield _example(f"{part}/{number:05}", image[:, :, None], names[label], split)


def _file(config: Config, name: str) -> Path:
    """A local file, plain before gz, else the fetched one."""
    if path := _local(Path(config.path), config.dataset, name):
        return path
    dataset = _torchvision(config.dataset)
    packed = f"{name}.gz"
    md5 = dict(dataset.resources).get(packed)
    return _fetched(config, packed, [f"{mirror}{packed}" for mirror in dataset.mirrors], md5)


def _local(root: Path, dataset: str, name: str) -> Path | None:
    places = [root / below for below in (".", "raw", f"{CLASSES[dataset]}/raw")]
    paths = (place / (name + suffix) for place in places for suffix in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def recognised(root: Path) -> tuple[str, str] | None:
    """The data set whose files lie at a folder, and a remark where they do not say which of several it is."""
    for name, versions in _cifar.VERSIONS.items():
        if _cifar.find(name, root) or any((root / version.archive).is_file() for version in versions):
            return name, ""
    files = [form.format(part) for form in (IMAGES, NUMBERS) for part in PARTS]
    for name in ("fashion_mnist", "kmnist", "mnist"):
        if all(_local(root, name, file) for file in files):
            if CLASSES[name] in (*root.absolute().parts, *_tree.folders(root)):
                return name, ""
            if name == "mnist":
                return name, "taken for MNIST; where it is one of its kin, set source.dataset"
    if _tree.split_folders(root) and any((root / name).is_file() for name in WORDS):
        return "imagenet", ""
    return None


def _cifar_images(config: Config) -> Iterator[Example]:
    found = _cifar.find(config.dataset, Path(config.path)) or _cifar.find(config.dataset, _archive(config))
    if not found:
        raise DataError(f"{config.path}: found no whole {config.dataset}; expected its batches; get it again")
    version, place = found
    names = _cifar.classes(version, place)
    for batch, split, images, labels in _cifar.batches(version, place):
        if labels.min(initial=0) < 0 or labels.max(initial=0) >= len(names):
            raise DataError(
                f"{place / batch}: found labels outside 0..{len(names) - 1}; expected classes; get it again"
            )
        for number, (image, label) in enumerate(zip(images, labels)):
            yield _example(f"{batch}/{number:05}", image, names[label], "test" if split == "test" else "train")


def _archive(config: Config) -> Path:
    """The folder of the unpacked archive, a local one or the fetched one."""
    for version in _cifar.VERSIONS[config.dataset]:
        if (path := Path(config.path, version.archive)).is_file():
            return _unpack.unpack(path, "utf-8", LIMITS).root
    dataset = _torchvision(config.dataset)
    path = _fetched(config, dataset.filename, [dataset.url], dataset.tgz_md5)
    return _unpack.unpack(path, "utf-8", LIMITS).root


def _torchvision(dataset: str) -> Any:
    """torchvision's class of the data set, for addresses and MD5 sums; never an instance, since that would unpickle."""
    from torchvision import datasets

    return getattr(datasets, CLASSES[dataset])


def _fetched(config: Config, name: str, addresses: list[str], md5: str | None) -> Path:
    """A file that torchvision fetched, now or earlier. Raises: DataError."""
    from torchvision.datasets import utils

    folder, faults = artifacts.STATE / "torchvision" / config.dataset, []
    for address in addresses:
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(PATIENCE)  # torchvision sets none, and would wait for ever
        try:
            utils.download_url(address, str(folder), name, md5)
            return folder / name
        except (OSError, RuntimeError, ValueError) as error:  # urllib's errors are OSErrors
            faults.append(f"{address}: {' '.join(str(error).split())[:200]}")
        finally:
            socket.setdefaulttimeout(before)
    raise DataError(
        f"{config.path}: found no {name}, and torchvision could not fetch it ({'; '.join(faults)}); "
        f"expected it there; put the files of {config.dataset} into that folder"
    )


def _imagenet(root: Path) -> Iterator[Example]:
    if not _tree.split_folders(root):
        raise DataError(f"{root}: found no train folder; expected train/ and val/ with one folder a synset; unpack it")
    names = _synsets(root)
    for example in image_folder.read(image_folder.Config(str(root)), leave_out=WORDS):
        label = example.label and f"{example.label} {names[example.label]}" if example.label in names else example.label
        yield replace(example, label=label)


def _synsets(root: Path) -> dict[str, str]:
    """Synset → its first name, where one of the usual lists lies at the root."""
    for name in WORDS:
        if (root / name).is_file():
            rows = (line.split(maxsplit=1) for line in (root / name).read_text("utf-8", "replace").splitlines())
            return {row[0]: row[1].split(",")[0].strip() for row in rows if len(row) == 2}
    return {}


def describe(config: Config) -> Mapping[str, str]:
    licence, origin = ORIGINS[config.dataset]
    licence = licence if config.licence == Config.licence else config.licence
    return {"licence": licence, "origin": config.origin or origin, "version": config.dataset}
