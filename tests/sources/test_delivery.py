import hashlib
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipeline import config
from pipeline.errors import ConfigError, DataError
from pipeline.examples import Example
from pipeline.sources import delivery

FILES = {"cats/1.png": b"1", "cats/2.png": b"2", "dogs/3.png": b"3", "LICENSE": b"\nMIT License\n\nCopyright\n"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def put(root: str, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        Path(root, name).parent.mkdir(parents=True, exist_ok=True)
        Path(root, name).write_bytes(content)
    return Path(root)


def sums(files: dict[str, bytes], algorithm: str = "sha256", mark: str = "  ") -> bytes:
    return "".join(f"{hashlib.new(algorithm, c).hexdigest()}{mark}{n}\n" for n, c in files.items()).encode()


def archive(path: str, files: dict[str, bytes]) -> None:
    if path.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as zipped:
            for name, content in files.items():
                zipped.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz") as packed:
            packed.add(put(f"{path}.files", files), ".")


def parsed(path: str, **settings: Any) -> delivery.Config:
    return config.parse(delivery.Config, {"path": path, **settings}, "source")


def read(path: str, **settings: Any) -> list[Example]:
    return list(delivery.read(parsed(path, **settings)))


@pytest.mark.parametrize("path", ["x", "x.zip", "x.tar.gz"])
def test_folder_and_archive_give_the_same_examples(path: str) -> None:
    files = FILES | {"SHA256SUMS": sums(FILES)}
    put(path, files) if path == "x" else archive(path, files)
    found = read(path, checksums="SHA256SUMS", licence_file="LICENSE")
    assert [(e.id, e.label, e.refused) for e in found] == [
        ("cats/1.png", "cats", None),
        ("cats/2.png", "cats", None),
        ("dogs/3.png", "dogs", None),
    ]
    assert all(Path(str(e.content)).read_bytes() == FILES[e.id] for e in found)
    described = delivery.describe(parsed(path, checksums="SHA256SUMS", licence_file="LICENSE", origin="https://x.org"))
    assert described["licence"] == "MIT License" and described["licence_text"] == FILES["LICENSE"].decode()
    assert described["licence_sha256"] == hashlib.sha256(FILES["LICENSE"]).hexdigest()
    assert described["origin"] == "https://x.org"
    packed = hashlib.sha256(Path(path).read_bytes()).hexdigest() if path != "x" else None
    assert described.get("archive_sha256") == packed


@pytest.mark.parametrize(
    ("name", "algorithm", "mark"),
    [("SHA256SUMS", "sha256", " *"), ("MD5SUMS", "md5", "  "), ("x.sha512", "sha512", "  ./"), ("s", "sha1", "  ")],
)
def test_lists_of_every_tool_are_read(name: str, algorithm: str, mark: str) -> None:
    put(
        "x",
        FILES | {name: b"\xef\xbb\xbf# made by hand\n" + sums(FILES, algorithm, mark).replace(b"\n", b"\r\n") + b"\n"},
    )
    assert len(read("x", checksums=name, licence_file="LICENSE")) == 3


def test_lists_of_bsd_and_escaped_names_are_read() -> None:
    odd = {"cats/a\nb\\.png": b"1", "dogs/2.png": b"2"}
    bsd = f"SHA256 (dogs/2.png) = {hashlib.sha256(b'2').hexdigest()}\n"
    escaped = f"\\{hashlib.sha256(b'1').hexdigest()}  cats/a\\nb\\\\.png\n"
    put("x", odd | {"SUMS": (bsd + escaped).encode()})
    assert {example.id for example in read("x", checksums="SUMS")} == set(odd)


def test_a_list_that_names_itself_or_is_signed_is_accepted() -> None:
    listing = sums(FILES) + f"{hashlib.sha256(b'').hexdigest()}  SHA256SUMS\n".encode()
    put("x", FILES | {"SHA256SUMS": listing, "SHA256SUMS.asc": b"signed"})
    assert len(read("x", checksums="SHA256SUMS", licence_file="LICENSE")) == 3


@pytest.mark.parametrize("suffix", [".sha256", ".md5", ".sha512sum"])
@pytest.mark.parametrize(
    "form", ["{sum}  x.zip\n", "{sum} *out/x.zip\r\n", "{sum}", "{sum}  -\n", "SHA256 (x.zip) = {sum}\n"]
)
def test_an_archive_is_held_against_the_list_beside_it(suffix: str, form: str) -> None:
    archive("x.zip", FILES)
    algorithm = suffix.removeprefix(".").removesuffix("sum")
    right = hashlib.new(algorithm, Path("x.zip").read_bytes()).hexdigest()
    Path(f"x.zip{suffix}").write_text(form.format(sum=right.upper()))
    assert len(read("x.zip")) == 4
    Path(f"x.zip{suffix}").write_text(form.format(sum=right[:-1] + ("0" if right[-1] != "0" else "1")))
    with pytest.raises(
        DataError, match=rf"x.zip: found the sum {right}; expected \w+, by x.zip{suffix}; deliver it again"
    ):
        read("x.zip")


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        (b"", "found no check sum; expected one a file"),
        (b"abc", r"x.zip.sha256:1: found 'abc'"),
        (sums({"y.zip": b""}), "found no check sum of x.zip"),
        (b" " * (1 << 20) + b"1", "over 1 MB"),
    ],
)
def test_a_list_beside_an_archive_that_says_nothing_of_it_refuses_it(listing: bytes, message: str) -> None:
    archive("x.zip", FILES)
    Path("x.zip.sha256").write_bytes(listing)
    with pytest.raises(DataError, match=message):
        read("x.zip")


def test_a_delivery_that_differs_is_refused_whole_and_every_fault_is_named() -> None:
    put("x", FILES | {"SHA256SUMS": sums(FILES | {"owls/4.png": b"4"}), "extra.txt": b""})
    Path("x/dogs/3.png").write_bytes(b"X")
    Path("x/pipe").symlink_to("/etc/passwd")
    with pytest.raises(DataError) as caught:
        read("x", checksums="SHA256SUMS")
    assert str(caught.value) == (
        "x: found missing owls/4.png; differs dogs/3.png; extra extra.txt, pipe (a link out of the folder); "
        "expected exactly what SHA256SUMS lists; deliver it again"
    )


def test_many_faults_are_counted() -> None:
    put("x", {"SUMS": sums({f"{k:02}": b"" for k in range(25)})})
    with pytest.raises(DataError, match=r"missing 00, 01, .*, 19 and 5 more; expected"):
        read("x", checksums="SUMS")


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        (None, r"found no SHA256SUMS \(no such file\); expected the list of check sums"),
        (b"", "found no check sum"),
        (b"hello\n", r"SHA256SUMS:1: found 'hello'; expected a check sum and a name"),
        (b"a" * 40 + b"aa  cats/1.png\n", "SHA256SUMS:1: found"),
    ],
)
def test_a_list_that_says_nothing_refuses_the_delivery(listing: bytes | None, message: str) -> None:
    put("x", FILES | ({} if listing is None else {"SHA256SUMS": listing}))
    with pytest.raises(DataError, match=message):
        read("x", checksums="SHA256SUMS")


@pytest.mark.parametrize("content", [None, b" \n"])
def test_a_delivery_without_its_licence_is_refused(content: bytes | None) -> None:
    files = {name: data for name, data in FILES.items() if name != "LICENSE"}
    put("x", files | ({} if content is None else {"LICENSE": content}))
    with pytest.raises(DataError, match="expected the licence; deliver it"):
        read("x", licence_file="LICENSE")


def test_a_licence_says_its_own_name_and_the_user_may_say_another() -> None:
    put("x", {**FILES, "LICENSE": b"Terms\nSPDX-License-Identifier: CC-BY-4.0\n"})
    assert delivery.describe(parsed("x", licence_file="LICENSE"))["licence"] == "CC-BY-4.0"
    assert delivery.describe(parsed("x", licence_file="LICENSE", licence="bought"))["licence"] == "bought"


def test_a_bag_is_held_against_its_own_list() -> None:
    payload = {f"data/{name}": content for name, content in FILES.items()}
    tags = {"bagit.txt": b"BagIt-Version: 1.0\n", "bag-info.txt": b"x", "tagmanifest-sha256.txt": b"y"}
    put("x", payload | tags | {"manifest-sha256.txt": sums(payload)})
    settings = {"layout": {"name": "image_folder", "path": "data"}, "licence_file": "data/LICENSE"}
    assert len(read("x", checksums="manifest-sha256.txt", **settings)) == 3
    Path("x/data/extra.png").touch()
    with pytest.raises(DataError, match=r"found extra data/extra\.png; expected"):
        read("x", checksums="manifest-sha256.txt", **settings)


def test_a_table_of_texts_in_an_archive() -> None:
    archive("x.zip", {"in/r.csv": "评论,类\n好,p\n差,n\n".encode("gb18030"), "in/SUMS": b"", "readme": b""})
    layout = {
        "name": "text_table",
        "path": "in/r.csv",
        "text_column": "评论",
        "label_column": "类",
        "encoding": "gb18030",
    }
    settings = parsed("x.zip", layout=layout)
    assert settings.kind == "text"
    assert [(e.id, e.text, e.label) for e in delivery.read(settings)] == [
        ("r.csv:2", "好", "p"),
        ("r.csv:3", "差", "n"),
    ]
    assert [(name, path.name) for name, path in delivery.files(settings)] == [("r.csv", "r.csv")]
    assert delivery.describe(settings)["encoding"] == "gb18030"


def test_papers_are_no_class_of_texts() -> None:
    files = {"好.txt": b"a\n", "差.txt": b"b\n", "licence.txt": b"MIT\n"}
    put("x", files | {"sums.txt": sums(files)})
    layout = {"name": "text_files"}
    found = read("x", layout=layout, checksums="sums.txt", licence_file="licence.txt")
    assert {example.label for example in found} == {"好", "差"}


def test_entries_that_were_not_unpacked_are_refused_examples() -> None:
    archive("x.zip", FILES | {"../evil.png": b"x", "/tmp/evil.png": b"x"})
    refused = {example.id: example.refused for example in read("x.zip") if example.refused}
    assert refused == {
        "../evil.png": "a path out of the archive",
        "/tmp/evil.png": "an absolute path",
        "LICENSE": "not named as an image (suffix: none)",
    }


def test_a_wrong_place_inside_says_what_there_is() -> None:
    archive("x.zip", {"pets/cats/1.png": b""})
    with pytest.raises(DataError, match=r"found no animals; set layout\.path; there is pets"):
        read("x.zip", layout={"name": "image_folder", "path": "animals"})
    os.mkfifo("pipe")
    with pytest.raises(DataError, match="found neither a folder nor a regular file"):
        read("pipe")


@pytest.mark.parametrize("linked", ["SUMS", "in", "in/LICENSE"])
def test_no_link_stands_for_a_list_a_licence_or_the_data(tmp_path: Path, linked: str) -> None:
    for root in ("x/in", "outside"):
        put(root, FILES)
    put("x", {"SUMS": sums({f"in/{name}": content for name, content in FILES.items()})})
    settings = {"layout": {"name": "image_folder", "path": "in"}, "licence_file": "in/LICENSE"}
    assert len(read("x", checksums="SUMS", **settings)) == 3
    Path("x", linked).rename(tmp_path / "moved")
    Path("x", linked).symlink_to(tmp_path / "moved")
    with pytest.raises(
        DataError, match=r"found no SUMS \(a link|found a link out of|differs in/LICENSE|\(a link out of the folder\)"
    ):
        read("x", checksums="SUMS", **settings)
    if linked == "in":
        with pytest.raises(DataError, match="found a link out of the delivery"):
            read("x", layout={"name": "image_folder", "path": "in"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": {"name": "image_foldr"}}, r"layout\.name: found 'image_foldr'; .*did you mean 'image_folder'"),
        ({"layout": {}}, r"layout\.name: found None"),
        ({"layout": {"name": "elpv"}}, r"expected one of image_folder, image_table, text_files, text_table"),
        ({"layout": {"name": "text_table", "text_colum": "x"}}, r"layout\.text_colum: unknown key.*did you mean"),
        ({"layout": {"name": "text_files", "encoding": "koi8"}}, r"layout\.encoding: found 'koi8'"),
        ({"layout": {"name": "text_files", "path": "../x"}}, r"layout\.path: found '\.\./x'"),
        ({"layout": {"name": "text_files", "licence": "MIT"}}, r"layout\.licence: unknown key; it stands in source"),
        ({"checksums": "../SUMS"}, r"checksums: found '\.\./SUMS'"),
        ({"licence_file": "/etc/passwd"}, "licence_file: found"),
        ({"max_ratio": 0}, r"max_ratio: found 0; expected a number ≥ 1 \(bytes unpacked a byte of archive\)"),
        ({"names": "latin"}, "names: found 'latin'"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parsed("x", **settings)
