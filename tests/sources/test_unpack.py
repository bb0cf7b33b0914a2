"""Archives as strangers make them: what is written, what is refused, and that nothing ever lands outside the target."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from pipeline.errors import DataError
from pipeline.sources import _entry, _unpack
from pipeline.sources._entry import Limits, NamesError
from pipeline.sources._unpack import Unpacked, unpack

LIMITS = Limits(bytes=100_000_000, entries=1000, ratio=250, depth=8)
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "tar": lambda content: content,
    "tar.gz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.zst": lambda content: zstandard.ZstdCompressor(write_checksum=True).compress(content),
}
FORMS = ["zip", *PACKERS]
Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "a/b/c").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a/b/c")
    return tmp_path


def tar(*members: tarfile.TarInfo | tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def packed(form: str, files: Files) -> Path:
    """An archive of these files, written in the current folder."""
    content = zipped(*files.items()) if form == "zip" else PACKERS[form](tar(*files.items()))
    return put(f"x.{form}", content)


def put(name: str, content: bytes) -> Path:
    Path(name).write_bytes(content)
    return Path(name)


def member(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def special(name: str, mode: int, content: bytes = b"/etc/passwd") -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (mode | 0o777) << 16
    return info, content


def written(found: Unpacked) -> Files:
    return {p.relative_to(found.root).as_posix(): p.read_bytes() for p in found.root.rglob("*") if p.is_file()}


def everything(root: Path) -> set[str]:
    """Every path below a folder but what is unpacked, links not followed."""
    state = os.path.join("a", "b", "c", ".danlu")
    found = {os.path.relpath(os.path.join(f, n), root) for f, d, names in os.walk(root) for n in [*d, *names]}
    return {path for path in found if not path.startswith(state)}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_unpacked_into_a_private_place_once(form: str) -> None:
    files = {"pets/cats/1.png": b"one" * 500_000, "狗/2.png": b"two", "empty": b""}
    path = packed(form, files)
    found = unpack(path, None, LIMITS)
    assert written(found) == files and found.refused == ()
    assert stat.S_IMODE(os.stat(".danlu/unpacked").st_mode) == 0o700
    assert not any(p.is_symlink() or stat.S_IMODE(p.stat().st_mode) & 0o111 for p in found.root.rglob("*.png"))
    before = (found.root / "empty").stat().st_ino
    assert unpack(path, None, LIMITS) == found and (found.root / "empty").stat().st_ino == before


def test_what_was_partly_deleted_is_unpacked_again() -> None:
    found = unpack(packed("zip", {"a": b"1", "b": b"2"}), None, LIMITS)
    (found.root / "b").unlink()
    assert written(unpack(Path("x.zip"), None, LIMITS)) == {"a": b"1", "b": b"2"}


def _forged(file: Path) -> None:
    """Another content of the same size and time."""
    before = file.stat()
    file.write_bytes(bytes(before.st_size))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replaced(file: Path) -> None:
    file.with_name("new").write_bytes(b"X")
    file.with_name("new").rename(file)


@pytest.mark.parametrize(
    "damage",
    [
        lambda root: _forged(root / "a/1"),
        lambda root: _replaced(root / "a/1"),
        lambda root: (root / "a/1").rename(root / "a/0"),
        lambda root: (root / "a/3").touch(),
        lambda root: (root / "empty").mkdir(),
        lambda root: (root / "../verdict.json").unlink(),
        *(
            lambda root, text=text: (root / "../verdict.json").write_text(text)  # type: ignore[misc]
            for text in ("{}", "", "[]", "null", '{"refused": 1}', '{"refused": [[1]], "state": ""}', '{"refused": []}')
        ),
    ],
)
def test_what_was_changed_since_it_was_unpacked_is_unpacked_again(damage: Callable[[Path], object]) -> None:
    path = put("x.tar", tar(("a/1", b"1"), ("a/2", b"2"), ("../b", b"")))
    found = unpack(path, None, LIMITS)
    damage(found.root)
    for _ in range(2):
        assert unpack(path, None, LIMITS) == found and found.refused == (("../b", "a path out of the archive"),)
        assert written(found) == {"a/1": b"1", "a/2": b"2"} and not (found.root / "empty").exists()
    assert len(list(Path(".danlu/unpacked").iterdir())) == 1


def test_what_a_killed_run_left_is_cleared_and_a_live_ones_is_not() -> None:
    Path(".danlu/unpacked/.x.999999999.building").mkdir(parents=True)
    Path(f".danlu/unpacked/.x.{os.getppid()}.building").mkdir()
    Path(f".danlu/unpacked/.x.{os.getpid()}.building").mkdir()
    unpack(packed("zip", {"a": b"1"}), None, LIMITS)
    assert [p.name for p in Path(".danlu/unpacked").glob(".*")] == [f".x.{os.getppid()}.building"]


def test_what_nothing_used_for_a_month_goes_with_the_next_archive() -> None:
    old, used = (unpack(packed("zip", {"a": word}), None, LIMITS).root.parent for word in (b"1", b"2"))
    for folder in (old, used):
        os.utime(folder / "verdict.json", (0, 0))
    unpack(Path("x.zip"), None, LIMITS)  # the second one again
    unpack(packed("tar", {"a": b"3"}), None, LIMITS)
    assert not old.exists() and used.exists() and len(list(Path(".danlu/unpacked").iterdir())) == 2


def test_an_archive_that_changes_while_it_is_read_is_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    path, write = packed("tar", {"a": b"1"}), _unpack._write

    def written_meanwhile(*given: Any) -> Any:
        refused = write(*given)
        with path.open("ab") as file:
            file.write(bytes(512))
        return refused

    monkeypatch.setattr(_unpack, "_write", written_meanwhile)
    with pytest.raises(DataError, match=r"x\.tar: found it changing while it was read; .*run again"):
        unpack(path, None, LIMITS)
    assert list(Path(".danlu/unpacked").iterdir()) == []


def test_of_two_that_unpack_the_same_one_stays() -> None:
    place = Path(".danlu/unpacked/key")
    with _unpack._building(place) as building:
        (building / "files/mine").touch()
        (place / "files").mkdir(parents=True)
        (place / "files/other").touch()
    assert [p.name for p in place.parent.iterdir()] == ["key"] and (place / "files/other").exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../../out.txt", "a path out of the archive"),
        ("cats/../../../../out.txt", "a path out of the archive"),
        ("..\\..\\out.txt", "a path out of the archive"),
        ("/tmp/danlu-out.txt", "an absolute path"),
        ("C:/out.txt", "an absolute path"),
        ("a/" * 9 + "out.txt", "deeper than 8 folders"),
        ("x" * 256, "a name of more than 255 bytes, or a path of more than 2,000"),
    ],
)
def test_a_path_that_leads_elsewhere_is_refused_and_the_rest_is_written(
    here: Path, form: str, name: str, reason: str
) -> None:
    path = packed(form, {"good/1.png": b"1", name: b"bad"})
    before = everything(here)
    found = unpack(path, None, LIMITS)
    assert written(found) == {"good/1.png": b"1"}
    assert [why for _, why in found.refused] == [reason]
    assert everything(here) == before and not Path("/tmp/danlu-out.txt").exists()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a named pipe, socket or device"),
        (tarfile.BLKTYPE, "a named pipe, socket or device"),
        (tarfile.FIFOTYPE, "a named pipe, socket or device"),
        (tarfile.CONTTYPE, None),  # an ordinary file to every reader
    ],
)
def test_a_tar_entry_that_is_no_plain_file_is_refused(here: Path, kind: bytes, reason: str | None) -> None:
    outside = here / "outside"
    outside.mkdir()
    path = put("x.tar", tar(member("odd", kind, str(outside)), ("odd/through.txt", b"x"), ("good", b"1")))
    before = everything(here)
    found = unpack(path, None, LIMITS)
    expected = {"good": b"1"} | ({"odd/through.txt": b"x"} if reason else {"odd": b""})
    assert written(found) == expected and not list(outside.iterdir()) and everything(here) == before
    assert found.refused[0] == (("odd", reason) if reason else ("odd/through.txt", "odd is a file already"))


def test_a_zip_entry_that_is_no_plain_file_is_refused(here: Path) -> None:
    odd = {"link": stat.S_IFLNK, "pipe": stat.S_IFIFO, "device": stat.S_IFBLK, "socket": stat.S_IFSOCK}
    path = put("x.zip", zipped(*(special(name, mode) for name, mode in odd.items()), ("good", b"1")))
    found = unpack(path, None, LIMITS)
    assert written(found) == {"good": b"1"}
    assert dict(found.refused) == dict.fromkeys(odd, "a named pipe, socket or device") | {"link": "a link"}


def test_a_sparse_file_is_refused() -> None:
    info = member("sparse", tarfile.REGTYPE)
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1000000000000"}
    info.size = 512
    block = b"1\n0\n0\n".ljust(512, b"\0")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(block))
    found = unpack(put("x.tar", buffer.getvalue()), None, LIMITS)
    assert written(found) == {} and found.refused == (("sparse", "a sparse file"),)


@pytest.mark.parametrize("form", ["zip", "tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_entries_that_some_system_takes_for_one_the_first_stays(form: str) -> None:
    entries = [
        ("a/1.png", b"1"),
        ("a/1.png", b"2"),
        ("a/1.PNG", b"3"),
        ("A/2.png", b"4"),
        ("a", b"5"),
        ("a/1.png/x", b"6"),
    ]
    entries += [("\u00e9", b"7"), ("e\u0301", b"8")]
    found = unpack(put(f"x.{form}", zipped(*entries) if form == "zip" else tar(*entries)), None, LIMITS)
    assert written(found) == {"a/1.png": b"1", "\u00e9": b"7"}
    assert found.refused == (
        ("a/1.png", "another entry has this name"),
        ("a/1.PNG", "differs in case alone from a/1.png"),
        ("A/2.png", "differs in case alone from a"),
        ("a", "a folder has this name already"),
        ("a/1.png/x", "a/1.png is a file already"),
        ("e\u0301", "differs in case alone from \u00e9"),
    )


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_cut_off_anywhere_is_refused_whole(form: str) -> None:
    whole = packed(form, {f"{k}.bin": os.urandom(700) + bytes(1024) for k in range(3)}).read_bytes()
    end = 3 * (512 + 2048) + 1024 if form == "tar" else len(whole)  # of what a plain tar needs: its end mark
    for cut in sorted({0, 1, 100, end - 1, *range(512, end, max(end // 30, 1)), *range(0, end, 512)}):
        with pytest.raises(DataError, match=r"cut off or broken|found no archive"):
            unpack(put(f"cut.{form}", whole[:cut]), None, LIMITS)
    assert not list(Path(".danlu/unpacked").iterdir())
    unpack(put(f"cut.{form}", whole[:end]), None, LIMITS)


@pytest.mark.parametrize("form", PACKERS)
def test_a_lost_block_hides_nothing_behind_it(form: str) -> None:
    """A zeroed header looks like the end of the archive, to tarfile at once and to GNU tar with a warning."""
    files = [(f"{k}.bin", os.urandom(500)) for k in range(4)]
    whole = tar(*files, form=tarfile.USTAR_FORMAT)
    assert len(whole) == 10_240  # the end mark and its padding
    for k in range(1, 4):
        lost = whole[: k * 1024] + bytes(512) + whole[k * 1024 + 512 :]
        with pytest.raises(DataError, match=r"cut off or broken \(a block of zeros where a header is expected\)"):
            unpack(put(f"lost.{form}", PACKERS[form](lost)), None, LIMITS)
    for broken, found in (
        (whole + tar(*files), "more data after the end mark"),
        (whole[: 2 * 1024] + bytes(1024) + whole[3 * 1024 :], "more data after the end mark"),
        (whole[: 4 * 1024 + 512], "half an end mark"),
        (whole[: 4 * 1024], "no end mark"),
    ):
        with pytest.raises(DataError, match=rf"cut off or broken \({found}\)"):
            unpack(put(f"broken.{form}", PACKERS[form](broken)), None, LIMITS)
    assert not list(Path(".danlu/unpacked").iterdir())
    for good in (whole, whole[: 5 * 1024], whole + bytes(1 << 20)):
        assert written(unpack(put(f"good.{form}", PACKERS[form](good)), None, LIMITS)) == dict(files)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "tar"])  # a plain tar has no check sum of contents
def test_a_flipped_byte_is_found(form: str) -> None:
    content = bytearray(packed(form, {"1.bin": os.urandom(5000)}).read_bytes())
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(DataError, match="cut off or broken"):
        unpack(put(f"y.{form}", bytes(content)), None, LIMITS)


@pytest.mark.parametrize("form", ["zip", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
def test_a_bomb_is_stopped_by_its_ratio_or_its_size(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_entry, "RATIO_FROM", 1 << 20)
    path = packed(form, {"zeros": bytes(9_000_000)})
    with pytest.raises(DataError, match=r"more than 250 bytes unpacked a byte of archive.*raise source\.max_ratio"):
        unpack(path, None, LIMITS)
    with pytest.raises(DataError, match=r"more than 1,000 bytes unpacked; expected no bomb.*source\.max_bytes"):
        unpack(path, None, Limits(bytes=1000, entries=9, ratio=250, depth=9))
    assert not list(Path(".danlu/unpacked").iterdir())


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_too_many_entries_are_refused(form: str) -> None:
    few = Limits(bytes=1_000_000, entries=50, ratio=250, depth=8)
    path = packed(form, {f"{k}": b"" for k in range(51)})
    with pytest.raises(DataError, match=r"more than 50 files and folders.*source\.max_entries"):
        unpack(path, None, few)
    deep = packed(form, {f"{k}/" + "a/" * 5 + "x": b"" for k in range(10)})
    with pytest.raises(DataError, match="more than 50 files and folders"):
        unpack(deep, None, few)


def test_a_table_of_contents_larger_than_the_limit_is_refused_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = packed("zip", {f"{k}": b"" for k in range(1001)})

    def read(*_: object) -> None:
        raise AssertionError("zipfile has read it")

    monkeypatch.setattr(zipfile, "ZipFile", read)
    with pytest.raises(DataError, match="more than 1,000 files and folders"):
        unpack(path, None, LIMITS)


def test_entries_that_overlap_each_other_do_not_multiply() -> None:
    """After Fifield 2019: every entry of the table of contents points at the same compressed bytes."""
    content = bytearray(zipped(("0", bytes(2_000_000))))
    start = content.index(b"PK\1\2")
    one, end = bytes(content[start : content.index(b"PK\5\6")]), bytes(content[content.index(b"PK\5\6") :])
    bomb = bytes(content[:start]) + one * 900
    bomb += end[:8] + struct.pack("<HHII", 900, 900, len(one) * 900, start) + end[20:]
    found = unpack(put("x.zip", bomb), None, LIMITS)
    assert [(len(c), n) for n, c in written(found).items()] == [(2_000_000, "0")]
    assert len(found.refused) == 899


def test_an_encrypted_zip_is_refused() -> None:
    content = bytearray(zipped(("a", b"1")))
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + offset] |= 1
    with pytest.raises(DataError, match="found encrypted entries; expected none"):
        unpack(put("x.zip", bytes(content)), None, LIMITS)


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_names_in_gb18030_are_read_where_that_is_said(form: str) -> None:
    raw = "图片/猫/1.png".encode("gb18030")
    if form == "zip":
        content = zipped(("x" * len(raw), b"1")).replace(b"x" * len(raw), raw)  # no flag: as old Windows tools write it
    else:
        content = tar((os.fsdecode(raw), b"1"), form=tarfile.GNU_FORMAT)
    path = put(f"x.{form}", content)
    with pytest.raises(NamesError, match=r"names of utf-8 or of gb18030 \(first: ͼƬ/è/1\.png or 图片/猫/1\.png\)"):
        unpack(path, None, LIMITS)
    assert written(unpack(path, "gb18030", LIMITS)) == {"图片/猫/1.png": b"1"}


@pytest.mark.parametrize(
    ("name", "names", "doubt"), [("中文", "utf-8", False), ("缃戠珯", "utf-8", False), ("我的", "gb18030", True)]
)
def test_names_that_are_beyond_doubt_need_no_setting(name: str, names: str, doubt: bool) -> None:
    path = put("x.tar", tar((os.fsdecode(name.encode(names)), b"1"), form=tarfile.GNU_FORMAT))
    if doubt:
        with pytest.raises(
            NamesError, match=r"file names that are not utf-8 \(first: .*\); .*set source\.names: gb18030"
        ):
            unpack(path, None, LIMITS)
    else:
        assert written(unpack(path, None, LIMITS)) == {name: b"1"}


def test_names_that_say_their_encoding_need_no_setting() -> None:
    files = {"图片/猫/1.png": b"1"}
    for path in (packed("zip", files), packed("tar", files)):
        assert written(unpack(path, "gb18030", LIMITS)) == files


def test_backslashes_of_old_windows_zips_separate_folders() -> None:
    info = zipfile.ZipInfo("x")
    info.filename, info.create_system = "cats\\1.png", 0
    assert written(unpack(put("x.zip", zipped((info, b"1"))), None, LIMITS)) == {"cats/1.png": b"1"}


def test_a_header_that_would_fill_the_memory_is_refused() -> None:
    info = member("x", tarfile.XHDTYPE)
    info.size = 1 << 40
    with pytest.raises(DataError, match=r"cut off or broken \(a header of 1,099,511,627,776 bytes\)"):
        unpack(put("x.tar", info.tobuf(tarfile.GNU_FORMAT) + bytes(10240)), None, LIMITS)


def test_several_frames_read_as_one() -> None:
    content = tar(("a", b"1" * 5000), ("b", b"2"))
    for form in ("tar.gz", "tar.bz2", "tar.xz", "tar.zst"):
        path = put(f"x.{form}", PACKERS[form](content[:3000]) + PACKERS[form](content[3000:]))
        assert written(unpack(path, None, LIMITS)) == {"a": b"1" * 5000, "b": b"2"}


def test_what_is_no_archive_says_what_would_be_one() -> None:
    for name, content, found in (
        ("x.zip", b"hello", "found no archive; expected zip, tar"),
        ("x.zip", b"Rar!\x1a\x07", "found a rar archive; expected zip"),
        ("x.7z", b"7z\xbc\xaf\x27\x1c", "found a 7z archive"),
        ("x.tar.zst", b"(\xb5/\xfdgarbage" * 10, "cut off or broken"),
    ):
        with pytest.raises(DataError, match=found):
            unpack(put(name, content), None, LIMITS)
    assert _unpack.form(put("y.dat", zipped(("a", b"")))) == "zip"  # by content, whatever the name


def test_mutated_archives_are_unpacked_or_refused_and_nothing_else(here: Path) -> None:
    choice = random.Random(0)
    before = everything(here)
    for form in FORMS:
        whole = packed(form, {"a/1.png": b"1" * 900, "b/2.png": bytes(range(256))}).read_bytes()
        (Path(f"x.{form}")).unlink()
        for _ in range(30):
            content = bytearray(whole)
            for _ in range(choice.randint(1, 4)):
                content[choice.randrange(len(content))] = choice.randrange(256)
            with contextlib.suppress(DataError):
                unpack(put("m", bytes(content)), None, LIMITS)
            Path("m").unlink()
        assert everything(here) == before
