"""Files of the data sets' own formats, written here byte by byte; the real ones are not needed, nor the network."""

import contextlib
import gzip
import hashlib
import http.server
import io
import os
import pickle
import shutil
import struct
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import config, initialise
from pipeline.errors import DataError
from pipeline.examples import Example
from pipeline.sources import _png
from pipeline.sources import torchvision as source

RNG = np.random.default_rng(0)
DIGITS = {part: RNG.integers(0, 256, (n, 28, 28), np.uint8) for part, n in (("train", 12), ("t10k", 5))}
LABELS = {part: np.arange(len(images), dtype=np.uint8) % 10 for part, images in DIGITS.items()}
NAMES = [f"class{k}" for k in range(10)]
PHOTOS = RNG.integers(0, 256, (6, 4, 3 * 32 * 32), np.uint8)  # [file, image, channel-major pixels]
KINDS = RNG.integers(0, 10, (6, 4))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("d").mkdir()


def read(dataset: str, **settings: Any) -> list[Example]:
    parsed = config.parse(source.Config, {"path": "d", "dataset": dataset, **settings}, "source")
    return list(source.read(parsed))


def pixels(example: Example) -> np.ndarray:
    assert isinstance(example.content, bytes)
    with Image.open(io.BytesIO(example.content)) as image:
        return np.asarray(image)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def digits(root: str, packed: bool) -> dict[str, bytes]:
    files = {}
    for part in DIGITS:
        files[f"{part}-images-idx3-ubyte"] = idx(DIGITS[part])
        files[f"{part}-labels-idx1-ubyte"] = idx(LABELS[part])
    if packed:
        files = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    Path(root).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        Path(root, name).write_bytes(content)
    return files


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("root", ["d", "d/raw", "d/MNIST/raw"])
def test_mnist_lies_plain_or_packed_directly_or_as_torchvision_arranges_it(root: str, packed: bool) -> None:
    digits(root, packed)
    found = read("mnist")
    assert [(e.split, e.label) for e in found] == [("train", str(k % 10)) for k in range(12)] + [
        ("test", str(k)) for k in range(5)
    ]
    assert (found[0].id, found[-1].id, found[-1].path) == ("train/00000", "t10k/00004", "t10k/00004.png")
    expected = np.concatenate([DIGITS["train"], DIGITS["t10k"]])
    assert all((pixels(example) == image).all() for example, image in zip(found, expected))


def test_fashion_has_names() -> None:
    digits("d/FashionMNIST/raw", packed=True)
    assert [example.label for example in read("fashion_mnist")][:2] == ["T-shirt/top", "Trouser"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\x08\x01" + b"\0" * 12, "found 00000801; expected IDX, 00000803"),
        (idx(DIGITS["train"])[:-1], "found 9,407 bytes for the shape .* expected 9,408"),
        (idx(DIGITS["train"]) + b"x", "found 9,409 bytes"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "for the shape"),
        (b"", "expected IDX"),
        (idx(DIGITS["train"][:3]), "found 3 images and 12 labels"),
    ],
)
def test_a_broken_idx_is_an_error(content: bytes, message: str) -> None:
    digits("d", packed=False)
    Path("d/train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read("mnist")


@pytest.mark.parametrize("damage", [lambda c: c[:-5], lambda c: c[:40] + b"xxxx" + c[44:], lambda c: b"hello"])
def test_a_broken_gz_is_an_error(damage: Any) -> None:
    files = digits("d", packed=True)
    name = "train-images-idx3-ubyte.gz"
    Path("d", name).write_bytes(damage(files[name]))
    with pytest.raises(DataError, match=rf"{name}: found"):
        read("mnist")


class Two(pickle._Pickler):  # type: ignore[name-defined]
    """Writes bytes and names as Python 2 and its NumPy did, in the published files."""

    dispatch = pickle._Pickler.dispatch.copy()  # type: ignore[attr-defined]

    def save_bytes(self, content: bytes) -> None:
        size = struct.pack("<i", len(content))
        self.write(b"U" + size[:1] + content if len(content) < 256 else b"T" + size + content)
        self.memoize(content)

    dispatch[bytes] = save_bytes


def pickled(held: Any) -> bytes:
    buffer = io.BytesIO()
    Two(buffer, 2).dump(held)
    return buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def cifar(root: str, version: str) -> Path:
    """CIFAR-10 in one of its versions, five files to train and one to test."""
    names = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]
    folder = Path(root, f"cifar-10-batches-{version}")
    folder.mkdir(parents=True)
    for name, images, kinds in zip(names, PHOTOS, KINDS):
        if version == "bin":
            rows = np.concatenate([kinds[:, None].astype(np.uint8), images], axis=1)
            (folder / f"{name}.bin").write_bytes(rows.tobytes())
        else:
            held = {b"batch_label": b"x", b"labels": kinds.tolist(), b"data": images, b"filenames": [b"a.png"] * 4}
            (folder / name).write_bytes(pickled(held) if version == "py" else pickle.dumps(held, int(version[-1])))
    if version == "bin":
        (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    else:
        meta = {b"label_names": [name.encode() for name in NAMES], b"num_vis": 3072}
        (folder / "batches.meta").write_bytes(pickled(meta))
    return folder


def check_cifar(found: list[Example]) -> None:
    assert [example.split for example in found] == ["train"] * 20 + ["test"] * 4
    assert [example.label for example in found] == [f"class{k}" for k in KINDS.reshape(-1)]
    assert found[0].id == "data_batch_1/00000" and found[-1].path == "test_batch/00003.png"
    expected = PHOTOS.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert all((pixels(example) == image).all() for example, image in zip(found, expected, strict=True))


@pytest.mark.parametrize("version", ["bin", "py"])
def test_cifar_reads_alike_in_both_versions_and_packed(version: str) -> None:
    folder = cifar("d", version)
    check_cifar(read("cifar10"))
    name = "cifar-10-binary.tar.gz" if version == "bin" else "cifar-10-python.tar.gz"
    with tarfile.open(f"d/{name}", "w:gz") as archive:
        archive.add(folder, folder.name)
    shutil.rmtree(folder)
    check_cifar(read("cifar10"))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_cifar_pickled_anew_by_python_3_reads_alike(protocol: int) -> None:
    cifar("d", f"py{protocol}").rename("d/cifar-10-batches-py")
    check_cifar(read("cifar10"))


def test_cifar_100_has_fine_labels() -> None:
    folder = Path("d/cifar-100-binary")
    folder.mkdir()
    (folder / "fine_label_names.txt").write_text("\n".join(f"fine{k}" for k in range(100)))
    for name in ("train", "test"):
        (folder / f"{name}.bin").write_bytes(bytes([19, 42]) + bytes(3072))
    assert [example.label for example in read("cifar100")] == ["fine42", "fine42"]


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch EXECUTED",)


class Opens:
    def __reduce__(self) -> Any:
        return open, ("EXECUTED", "w")


PAYLOADS = {
    "system": pickle.dumps(Evil(), 2),
    "open": pickle.dumps(Opens(), 2),
    "nested": pickle.dumps({b"data": Evil(), b"labels": [1]}, 2),
    "builtins": b'cbuiltins\neval\n(S\'open("EXECUTED", "w")\'\ntR.',
    "numpy": b"cnumpy.f2py.diagnose\nrun\n(tR.",
    "testing": b'cnumpy.testing._private.utils\nrunstring\n(S\'open("EXECUTED", "w")\'\n}tR.',
    "inst": b"(S'touch EXECUTED'\nios\nsystem\n.",
    "attribute": b"\x80\x04\x8c\x12numpy.ndarray.dump\x94\x8c\x04dump\x94\x93.",
    "dotted": b"\x80\x04\x8c\x05numpy\x94\x8c\x0cndarray.dump\x94\x93.",
    "extension": b"\x80\x02\x82\x01.",
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_no_code_runs_from_a_batch(payload: bytes) -> None:
    folder = cifar("d", "py")
    (folder / "data_batch_2").write_bytes(payload)
    with pytest.raises(DataError, match=r"data_batch_2: found .*; expected a batch of CIFAR; get it again"):
        read("cifar10")
    assert not Path("EXECUTED").exists()


@pytest.mark.parametrize(
    "held",
    [
        {},
        {b"data": PHOTOS[0], b"labels": [1, 2]},
        {b"data": PHOTOS[0].astype(np.int32), b"labels": [1] * 4},
        {b"data": np.array([object()] * 4), b"labels": [1] * 4},
        {b"data": np.asfortranarray(PHOTOS[0]), b"labels": [1] * 4},
        {b"data": PHOTOS[0], b"labels": [b"1"] * 4},
        {b"data": b"x" * 12288, b"labels": [1] * 4},
        [1],
    ],
)
def test_a_batch_of_another_form_is_an_error(held: Any) -> None:
    folder = cifar("d", "py")
    (folder / "data_batch_1").write_bytes(pickle.dumps(held, 2))
    with pytest.raises(DataError, match=r"data_batch_1: found"):
        read("cifar10")


def test_a_cut_batch_and_a_label_without_a_name_are_errors() -> None:
    folder = cifar("d", "bin")
    path = folder / "data_batch_1.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(DataError, match="no multiple of 3,073"):
        read("cifar10")
    path.write_bytes(b"\x0b" + whole[1:])
    with pytest.raises(DataError, match=r"labels outside 0\.\.9"):
        read("cifar10")


@pytest.mark.parametrize("words", [None, "LOC_synset_mapping.txt", "words.txt"])
def test_imagenet_is_its_layout(words: str | None) -> None:
    for name in ("train/n01440764/a.JPEG", "val/n01440764/b.JPEG", "train/n02012849/c.JPEG"):
        Path("d", name).parent.mkdir(parents=True, exist_ok=True)
        Path("d", name).touch()
    if words:
        between = "\t" if words == "words.txt" else " "
        Path("d", words).write_text(
            f"n01440764{between}tench, Tinca tinca\nn02012849{between}crane\nn03126707{between}crane\n"
        )
    tench, crane = ("n01440764 tench", "n02012849 crane") if words else ("n01440764", "n02012849")
    assert {(e.id, e.label, e.split) for e in read("imagenet")} == {
        ("train/n01440764/a.JPEG", tench, "train"),
        ("train/n02012849/c.JPEG", crane, "train"),
        ("val/n01440764/b.JPEG", tench, "validation"),
    }


@pytest.mark.parametrize(
    ("root", "dataset"),
    [("d/FashionMNIST/raw", "fashion_mnist"), ("d/MNIST/raw", "mnist"), ("d/KMNIST/raw", "kmnist"), ("d/raw", "mnist")],
)
def test_init_recognises_digits_and_their_kin(root: str, dataset: str) -> None:
    digits(root, packed=True)
    for path in (Path("d"), *([Path(root).parent, Path(root)] if root != "d/raw" else [])):
        block, found = initialise.look(path)
        assert block["source"] == {"name": "torchvision", "path": str(path), "dataset": dataset}
        assert found.startswith("17 examples in 10 classes")
        assert ("taken for MNIST" in found) is (root == "d/raw")


def test_init_recognises_cifar_and_imagenet() -> None:
    place = cifar("d", "py")
    for path in (Path("d"), place):
        assert initialise.look(path)[0]["source"]["dataset"] == "cifar10"
    for name in ("train/n01440764/a.JPEG", "val/n02012849/b.JPEG"):
        Path("e", name).parent.mkdir(parents=True, exist_ok=True)
        Path("e", name).write_bytes(b"x")
    assert initialise.look(Path("e"))[0]["source"]["name"] == "image_folder"  # the same without names of synsets
    Path("e/words.txt").write_text("n01440764\ttench\nn02012849\tcrane\n")
    block, found = initialise.look(Path("e"))
    assert block["source"]["dataset"] == "imagenet" and "n01440764 tench 1" in found


def test_imagenet_without_its_layout_is_an_error() -> None:
    Path("d/n01440764").mkdir()
    with pytest.raises(DataError, match="found no train folder"):
        read("imagenet")


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A real server over the folder `served`."""
    (tmp_path / "served").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "served"), **options)

        def log_message(self, *_: Any) -> None:
            pass

        def copyfile(self, *arguments: Any) -> None:
            with contextlib.suppress(BrokenPipeError):  # torchvision looks for a redirection first, and hangs up
                super().copyfile(*arguments)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_torchvision_fetches_what_is_missing_once_and_checks_it(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10, MNIST

    files = digits("served", packed=True)
    sums = [(name, hashlib.md5(content).hexdigest()) for name, content in files.items()]
    monkeypatch.setattr(MNIST, "mirrors", [f"{address}nowhere/", address])
    monkeypatch.setattr(MNIST, "resources", sums)
    folder = cifar("made", "py")
    with tarfile.open("served/c.tar.gz", "w:gz") as archive:
        archive.add(folder, folder.name)
    monkeypatch.setattr(CIFAR10, "url", f"{address}c.tar.gz")
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(Path("served/c.tar.gz").read_bytes()).hexdigest())
    assert len(read("mnist")) == 17
    check_cifar(read("cifar10"))
    shutil.rmtree("served")
    assert len(read("mnist")) == 17 and not list(Path("d").iterdir())
    Path(".danlu/torchvision/mnist/t10k-labels-idx1-ubyte.gz").write_bytes(b"changed")
    with pytest.raises(
        DataError, match=r"d: found no t10k-labels.*could not fetch it \(http.*put the files of mnist into"
    ):
        read("mnist")


def test_the_bytes_are_the_same_everywhere() -> None:
    content = _png.encode(np.arange(4, dtype=np.uint8).reshape(2, 2, 1))
    assert content.hex() == (
        "89504e470d0a1a0a0000000d4948445200000002000000020800000000"
        "57dd52f800000011494441547801010600f9ff000001000203001100079a1c9e7f0000000049454e44ae426082"
    )
    large = RNG.integers(0, 256, (200, 150, 3), np.uint8)  # of two stored blocks
    with Image.open(io.BytesIO(_png.encode(large))) as image:
        assert (np.asarray(image) == large).all()
