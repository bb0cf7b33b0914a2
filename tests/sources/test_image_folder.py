import os
import socket
from pathlib import Path

import pytest

from pipeline.errors import DataError
from pipeline.examples import Example
from pipeline.sources import image_folder


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def read(root: Path) -> dict[str, Example]:
    examples = list(image_folder.read(image_folder.Config(str(root))))
    found = {example.id: example for example in examples}
    assert len(found) == len(examples)
    return found


def test_the_first_folder_is_the_class(tmp_path: Path) -> None:
    put(tmp_path, "cats/1.png", "cats/old/2.JPG", "狗/3.webp")
    found = read(tmp_path)
    assert {name: example.label for name, example in found.items()} == {
        "cats/1.png": "cats",
        "cats/old/2.JPG": "cats",
        "狗/3.webp": "狗",
    }
    assert found["cats/1.png"].content == tmp_path / "cats/1.png"
    assert all(example.split is None for example in found.values())


@pytest.mark.parametrize("word", ["val", "valid", "validation", "dev", "Val"])
def test_split_folders_above_the_classes_are_the_users_split(tmp_path: Path, word: str) -> None:
    put(tmp_path, "train/cats/1.png", f"{word}/cats/2.png", "test/dogs/3.png", "train/stray.png")
    found = read(tmp_path)
    assert (found[f"{word}/cats/2.png"].label, found[f"{word}/cats/2.png"].split) == ("cats", "validation")
    assert (found["test/dogs/3.png"].label, found["test/dogs/3.png"].split) == ("dogs", "test")
    assert found["train/stray.png"].refused == "not in a class folder"


def test_a_class_may_be_called_test_where_nobody_split(tmp_path: Path) -> None:
    put(tmp_path, "test/1.png", "control/2.png")
    assert {example.label for example in read(tmp_path).values()} == {"test", "control"}


def test_a_class_may_be_called_train_where_no_class_lies_below_it(tmp_path: Path) -> None:
    put(tmp_path, "train/1.png", "car/2.png", "plane/3.png")
    assert {(example.label, example.split) for example in read(tmp_path).values()} == {
        ("train", None),
        ("car", None),
        ("plane", None),
    }


def test_flat_split_folders_beside_another_are_no_classes(tmp_path: Path) -> None:
    put(tmp_path, "train/1.png", "val/2.png", "test/3.png", "masks/4.png")
    with pytest.raises(DataError, match="found test, train, val beside masks"):
        read(tmp_path)


def test_split_folders_beside_others_are_an_error_that_names_them(tmp_path: Path) -> None:
    put(tmp_path, "train/cats/1.png", "extra/2.png")
    with pytest.raises(DataError, match="found train beside extra"):
        read(tmp_path)


def test_stray_files_are_refused_and_system_files_ignored(tmp_path: Path) -> None:
    put(tmp_path, "cats/1.png", "cats/notes.txt", "cats/noend", "top.png", "cats/.DS_Store", "cats/Thumbs.db")
    put(tmp_path, "desktop.ini", "cats/._1.png", ".ipynb_checkpoints/1.png", "cats/-rf.gif")
    found = read(tmp_path)
    assert {name for name, example in found.items() if not example.refused} == {"cats/1.png", "cats/-rf.gif"}
    assert found["cats/notes.txt"].refused == "not named as an image (suffix: .txt)"
    assert found["cats/noend"].refused == "not named as an image (suffix: none)"
    assert found["top.png"].refused == "not in a class folder"
    assert len(found) == 5


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    put(tmp_path, "cats/1.png", "dogs/readme.md")
    (tmp_path / "owls").mkdir()
    found = read(tmp_path)
    assert found["dogs/"].refused == found["owls/"].refused == "class without an example"


def test_links_pipes_and_sockets_are_refused_with_a_reason(tmp_path: Path) -> None:
    root = tmp_path / "root"
    put(tmp_path, "outside.png", "root/cats/1.png", "root/cats/x.jpg/inner.png")
    links = {"out.png": "../../outside.png", "dangling.png": "nothing.png", "loop.png": "loop.png"}
    links |= {"dir.png": "..", "inside.png": "1.png"}
    for name, target in links.items():
        (root / "cats" / name).symlink_to(target)
    (root / "linked").symlink_to(root / "cats")
    os.mkfifo(root / "cats/pipe.jpg")
    here = os.getcwd()
    os.chdir(root)  # a socket's path is limited to about 100 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
    os.chdir(here)
    refused = {name: example.refused for name, example in read(root).items()}
    assert refused == {
        "cats/1.png": None,
        "cats/inside.png": None,
        "cats/x.jpg": "a folder with the name of a file",
        "cats/out.png": "a link out of the folder",
        "cats/dangling.png": "a link that leads to no file",
        "cats/loop.png": "a link that leads to no file",
        "cats/dir.png": "a link out of the folder",
        "cats/pipe.jpg": "a named pipe",
        "linked": "a link that leads to no file",
        "socket.png": "a socket or device",
    }


def test_hostile_names_survive(tmp_path: Path) -> None:
    names = [
        "a\nb.png",
        "a b.png",
        "a'\",b.png",
        "$(x).png",
        "\u202egnp.png",
        "\u00e9.png",
        "e\u0301.png",
        "长" * 83 + ".png",
    ]
    put(tmp_path, *(f"cats/{name}" for name in names))
    (tmp_path / "cats" / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"x")
    assert set(read(tmp_path)) == {f"cats/{name}" for name in names} | {"cats/\\xff\\xfe.png"}


def test_a_file_in_the_folders_place_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "cats.png")
    with pytest.raises(DataError, match="expected one; correct"):
        read(tmp_path / "cats.png")
