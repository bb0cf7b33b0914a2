import hashlib
import logging
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipeline import config
from pipeline.errors import DataError
from pipeline.sources import _checksums, inbox

PETS = {"cats/1.png": b"1", "dogs/2.png": b"2"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("inbox").mkdir()


def put(root: str, files: dict[str, bytes], listed: bool = False) -> None:
    listing = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    for name, content in (files | ({"SUMS": listing.encode()} if listed else {})).items():
        Path(root, name).parent.mkdir(parents=True, exist_ok=True)
        Path(root, name).write_bytes(content)


def zipped(path: str, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def parsed(**settings: Any) -> inbox.Config:
    return config.parse(inbox.Config, {"path": "inbox", **settings}, "source")


def ids(**settings: Any) -> list[str]:
    return [example.id for example in inbox.read(parsed(**settings)) if not example.refused]


def refusals(**settings: Any) -> dict[str, str]:
    return {example.id: example.refused for example in inbox.read(parsed(**settings)) if example.refused}


def test_folders_and_archives_are_read_in_the_order_of_their_names() -> None:
    zipped("inbox/b.zip", PETS)
    put("inbox/a", PETS)
    assert ids() == ["a/cats/1.png", "a/dogs/2.png", "b.zip/cats/1.png", "b.zip/dogs/2.png"]
    assert {example.label for example in inbox.read(parsed())} == {"cats", "dogs"}


def test_what_came_first_stays_first_whatever_comes_later() -> None:
    put("inbox/m", PETS)
    zipped("inbox/z.zip", PETS)
    first = ids()
    put("inbox/a", PETS)
    assert ids()[:4] == first and ids()[4:] == ["a/cats/1.png", "a/dogs/2.png"]
    shutil.rmtree("inbox/m")
    assert ids() == [*first[2:], "a/cats/1.png", "a/dogs/2.png"]
    shutil.rmtree(".danlu")
    assert sorted(ids()) == ["a/cats/1.png", "a/dogs/2.png", "z.zip/cats/1.png", "z.zip/dogs/2.png"]


def test_only_what_is_new_or_changed_is_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    verify = _checksums.verify

    def counted(delivery: Path, name: str) -> None:
        compared.append(delivery.name)
        verify(delivery, name)

    monkeypatch.setattr(_checksums, "verify", counted)
    for name in ("a", "b"):
        put(f"inbox/{name}", PETS, listed=True)
    assert len(ids(checksums="SUMS")) == 4 and compared == ["a", "b"]
    put("inbox/c", PETS, listed=True)
    os.utime("inbox/a/cats/1.png", (1, 1))
    assert len(ids(checksums="SUMS")) == 6 and compared == ["a", "b", "a", "c"]
    ids(checksums="SUMS", max_depth=9)
    assert len(compared) == 7


def test_a_refused_delivery_is_named_and_stops_no_other() -> None:
    put("inbox/a", PETS, listed=True)
    put("inbox/b", PETS, listed=True)
    Path("inbox/b/cats/1.png").write_bytes(b"X")
    zipped("inbox/c.zip", PETS)
    Path("inbox/d.zip").write_bytes(Path("inbox/c.zip").read_bytes()[:-40])
    Path("inbox/e.txt").write_text("hello")
    Path("inbox/f").symlink_to("a")
    put("inbox/g\n${x}", PETS, listed=True)
    settings = {"checksums": "SUMS"}
    expected = {
        "b/": "delivery refused: inbox/b: found differs cats/1.png; expected exactly what SUMS lists; deliver it",
        "c.zip/": "found no SUMS (no such file); expected the list of check sums; deliver it too",
        "d.zip/": "found an archive that is cut off or broken",
        "e.txt/": "or tar.zst, or a folder; move it out of the inbox",
        "g\n${x}/": "expected a path without control characters",
        "f/": "found a link; expected a folder or an archive",
    }
    for _ in range(2):
        found = refusals(**settings)
        assert found.keys() == expected.keys() and all(words in found[name] for name, words in expected.items())
        assert ids(**settings) == ["a/cats/1.png", "a/dogs/2.png"]
    put("inbox/b", PETS)
    assert len(ids(**settings)) == 4 and "b/" not in refusals(**settings)


def test_lists_beside_archives_are_no_deliveries_and_are_held_against_them(caplog: pytest.LogCaptureFixture) -> None:
    zipped("inbox/a.zip", PETS)
    zipped("inbox/b.zip", PETS)
    digest = hashlib.sha256(Path("inbox/a.zip").read_bytes()).hexdigest()
    Path("inbox/a.zip.sha256").write_text(f"{digest}  a.zip\n")
    Path("inbox/c.zip.md5").write_text("0" * 32)  # its archive has not come yet
    with caplog.at_level(logging.INFO):
        assert ids() == ["a.zip/cats/1.png", "a.zip/dogs/2.png", "b.zip/cats/1.png", "b.zip/dogs/2.png"]
    assert "c.zip.md5 is still being written" in caplog.text and not refusals()
    Path("inbox/b.zip.sha256").write_text("0" * 64)
    assert ids() == ["a.zip/cats/1.png", "a.zip/dogs/2.png"]
    assert "expected 000" in refusals()["b.zip/"]


def test_a_delivery_that_breaks_off_while_it_is_read_is_refused_whole() -> None:
    layout = {"name": "text_table", "path": "t.csv"}
    put("inbox/a", {"t.csv": b"text,label\na,x\n"})
    put("inbox/b", {"t.csv": b"text,lable\na,x\n"})
    assert ids(layout=layout) == ["a/t.csv:2"]
    assert "no column 'label'" in refusals(layout=layout)["b/"]
    assert [name for name, _ in inbox.files(parsed(layout=layout))] == ["a/t.csv"]


def test_what_is_still_being_written_is_left_and_named(caplog: pytest.LogCaptureFixture) -> None:
    put("inbox/a", PETS, listed=True)
    put("inbox/b", PETS)  # its list comes last
    for name in ("c.zip.part", ".d.zip.Xy12", "e.TMP"):
        Path("inbox", name).write_bytes(b"PK")
    with caplog.at_level(logging.INFO):
        assert ids(checksums="SUMS") == ["a/cats/1.png", "a/dogs/2.png"] and not refusals(checksums="SUMS")
    named = {record.args[1] for record in caplog.records if isinstance(record.args, tuple)}
    assert named == {"b", "c.zip.part", ".d.zip.Xy12", "e.TMP"}
    assert "left for the next run" in caplog.text
    put("inbox/b", PETS, listed=True)
    assert len(ids(checksums="SUMS")) == 4


def test_what_it_says_of_each_delivery() -> None:
    put("inbox/a", PETS | {"LICENCE": b"CC0\n"})
    put("inbox/b", PETS)
    described = inbox.describe(parsed(licence_file="LICENCE"))
    assert (described["licence"], described["origin"]) == ("the user's own", "inbox")
    a, b = described["deliveries"]
    assert (a["name"], a["licence"], a["origin"]) == ("a", "CC0", "a")
    assert b["name"] == "b" and "found no LICENCE" in b["refused"]


def test_no_folder_is_an_error() -> None:
    Path("inbox").rmdir()
    with pytest.raises(DataError, match="found no folder; expected the inbox"):
        ids()
