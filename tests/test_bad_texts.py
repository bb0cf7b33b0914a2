"""Each kind of bad text, made here, and its verdict: kept (what is then read of it) or in quarantine with a reason."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline import fetch, prepare, prepared, split, validate
from pipeline.config import Task
from pipeline.errors import DataError

KEPT = ""
SLOW = pytest.mark.slow


def sentence(number: int) -> str:
    return f"这是第{number * 7919}句话,内容{number * number}各不相同"


GOOD = [sentence(number) for number in range(1, 40)]
BAD = [sentence(number) for number in range(100, 140)]
# kind: the bytes of a line in a file of class 好, and what becomes of it
LINES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "blank": ("\u3000 \t\u200b".encode(), "empty"),
    "punctuation only": ("！！！？。".encode(), KEPT),
    "invalid bytes": ("坏".encode() + b"\xff\xfe\x80", "encoding"),
    "gbk in a utf-8 file": ("这句话是用国标编码写的".encode("gbk"), "encoding"),
    "big5 in a utf-8 file": ("這句話是用大五碼寫的".encode("big5"), "encoding"),
    "a lone surrogate": ("半个字".encode() + b"\xed\xa0\xbd", "encoding"),
    "NUL and control characters": ("有\x00控制\x07字符\x1b的一句话".encode(), KEPT),
    "a lone CR": ("回车\r也是这句话的一部分".encode(), KEPT),
    "CRLF": ("行尾有回车的一句话".encode() + b"\r", KEPT),
    "U+2028": ("行分隔符\u2028也是这句话的一部分".encode(), KEPT),
    "zero-width and bidi characters": (
        GOOD[0][:3].encode() + "\u200b\u202e\u2066".encode() + GOOD[0][3:].encode(),
        "duplicate",
    ),
    "full-width forms": (GOOD[1].translate({k: k + 0xFEE0 for k in range(0x21, 0x7F)}).encode(), "duplicate"),
    "NFC": ("Un caf\u00e9 tr\u00e8s bon 很好的咖啡馆".encode(), KEPT),
    "NFD": ("Un cafe\u0301 tre\u0300s bon 很好的咖啡馆".encode(), "duplicate"),
    "emoji sequences": ("全家都喜欢👨\u200d👩\u200d👧❤\ufe0f🇨🇳1\ufe0f\u20e3".encode(), KEPT),
    "HTML entities": (GOOD[2].replace("句", "&#21477;").encode(), "duplicate"),
    "a URL": ("详见https://example.org/?a=1&b=2这个网页".encode(), KEPT),
    "boilerplate": ("质量可以，未经许可不得转载".encode(), KEPT),
    "traditional characters": ("這個產品的質量很好,我們都喜歡".encode(), KEPT),
    "simplified characters": ("这个产品的质量很好,我们都喜欢".encode(), KEPT),
    "a 10-MB line": (("很长的一句话。" * 500_000).encode(), "too_long"),
    "a million equal characters": (("长" * 1_000_000).encode(), "too_long"),
    "one text under two labels": (BAD[0].encode(), "conflicting_labels"),
}
READ = {
    "punctuation only": "!!!?。",
    "NUL and control characters": "有控制字符的一句话",
    "a lone CR": "回车 也是这句话的一部分",
    "CRLF": "行尾有回车的一句话",
    "U+2028": "行分隔符 也是这句话的一部分",
    "NFC": "un café très bon 很好的咖啡馆",
    "emoji sequences": "全家都喜欢👨👩👧❤🇨🇳1\u20e3",
}
CSV = """\ufefftext,label
好用,好
"引号,""逗号""和
换行",好
少一列
多一列,好,more
=SUM(A1:A9),好
,好
没有标签,
不知道的标签,坏
两边有空格, 好
"不关上的引号,好
""" + "".join(f"{line},{'好' if k % 2 else '差'}\n".replace("话,", "话") for k, line in enumerate(GOOD))
JSONL = r"""{"text": "好用", "label": "好"}
{"text": "断了
{"text": NaN, "label": "好"}
{"text": "一", "text": "二", "label": "好"}
{"text": null, "label": "好"}
{"text": "半个字\ud83d", "label": "好"}
{"text": "数字标签", "label": 3}
["text"]

{"text": "多出来的", "label": "好", "more": {"a": [1]}}
""" + "".join(json.dumps({"text": line, "label": "好" if k % 2 else "差"}) + "\n" for k, line in enumerate(GOOD))


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def verdicts(source: dict[str, Any], **settings: Any) -> dict[str, str]:
    """Each row's verdict by its id. Everything that was read is kept or in quarantine."""
    task = Task("mine", "text", {"source": source, "validate": settings, "prepare": {}})
    fetch.main(task)
    validate.main(task)
    split.main(task)
    prepare.main(task)
    summary = json.loads(Path("data/validated/mine/summary.json").read_text())
    assert summary["read"] == summary["kept"] + sum(summary["quarantined"].values())
    table = pd.read_parquet("data/validated/mine/quarantine.parquet")
    found = dict(zip(table["id"], table["reason"], strict=True))
    kept = set().union(
        *(prepared.table(Path("data/prepared/mine"), name)["id"] for name in ("train", "validation", "test"))
    )
    leaks = pd.read_parquet("data/prepared/mine/leaks.parquet")["id"]
    return found | dict.fromkeys([*kept, *leaks], KEPT)


def cleaned() -> dict[str, str]:
    folder, found = Path("data/prepared/mine"), {}
    for name in ("train", "validation", "test"):
        found |= dict(zip(prepared.table(folder, name)["id"], prepared.cleaned(folder, name), strict=True))
    return found


def test_every_kind_of_bad_line_gets_its_verdict() -> None:
    Path("in").mkdir()
    Path("in/好.txt").write_bytes(
        b"\xef\xbb\xbf" + "\n".join(GOOD).encode() + b"\n" + b"\n".join(b for b, _ in LINES.values())
    )
    Path("in/坏.txt").write_text("\n".join(BAD), "utf-8")
    found = verdicts({"name": "text_files", "path": "in"})
    numbers = {f"好.txt:{number}": kind for number, kind in enumerate(LINES, len(GOOD) + 1)}
    assert {kind: found[row] for row, kind in numbers.items()} == {
        kind: verdict for kind, (_, verdict) in LINES.items()
    }
    assert len(found) == len(GOOD) + len(BAD) + len(LINES)
    assert sum(map(bool, found.values())) == 1 + sum(bool(verdict) for _, verdict in LINES.values())
    texts = {numbers[row]: text for row, text in cleaned().items() if row in numbers}
    assert {kind: texts[kind] for kind in READ if kind in texts} == {kind: READ[kind] for kind in READ if kind in texts}
    assert len(texts) > 8


def test_every_kind_of_bad_csv_row_gets_its_verdict() -> None:
    Path("t.csv").write_text(CSV, "utf-8", newline="\r\n")
    found = verdicts({"name": "text_table", "path": "t.csv"}, classes=["好", "差"])
    assert {row.partition(":")[2]: reason for row, reason in found.items() if reason} == {
        "5": "refused:1 columns where the first line has 2",
        "6": "refused:3 columns where the first line has 2",
        "8": "empty",
        "9": "refused:no label (column 'label')",
        "10": "unknown_label",
        "12": "refused:broken CSV: a quote that does not close its cell",
    }
    assert found["t.csv:7"] == found["t.csv:3"] == found["t.csv:11"] == KEPT
    assert cleaned().get("t.csv:3", '引号,"逗号"和 换行') == '引号,"逗号"和 换行'


def test_every_kind_of_bad_json_line_gets_its_verdict() -> None:
    Path("t.jsonl").write_text(JSONL, "utf-8")
    found = verdicts({"name": "text_table", "path": "t.jsonl"}, classes=["好", "差"])
    assert {row.partition(":")[2]: reason.partition(": Unterm")[0] for row, reason in found.items() if reason} == {
        "2": "refused:broken JSON",
        "3": "refused:broken JSON: NaN is no JSON number",
        "4": "refused:broken JSON: the same key twice in one object",
        "5": "refused:no text (column 'text')",
        "6": "encoding",
        "7": "unknown_label",
        "8": "refused:JSON list where an object is expected",
        "9": "refused:blank line",
    }
    assert found["t.jsonl:10"] == KEPT


@pytest.mark.parametrize(
    "encoding", ["utf-16", "gbk", *(pytest.param(e, marks=SLOW) for e in ("utf-8-sig", "utf-32", "gb18030"))]
)
def test_a_file_in_another_encoding_is_read_as_it_is_meant_and_it_is_on_record(encoding: str) -> None:
    Path("in").mkdir()
    for name, lines in (("好", GOOD), ("坏", BAD)):
        Path(f"in/{name}.txt").write_bytes("\n".join(lines).encode(encoding))
    assert set(verdicts({"name": "text_files", "path": "in"}).values()) == {KEPT}
    assert set(cleaned().values()) <= {*GOOD, *BAD}
    record = json.loads(Path("data/raw/mine/source.json").read_text())
    assert record["encoding"] == {"utf-8-sig": "utf-8", "gbk": "gb18030"}.get(encoding, encoding)


@pytest.mark.parametrize("encoding", ["gb18030", pytest.param("big5", marks=SLOW)])
def test_a_file_that_is_not_in_the_declared_encoding_stops_the_task(encoding: str) -> None:
    Path("in").mkdir()
    for name, lines in (("好", GOOD), ("坏", BAD)):
        Path(f"in/{name}.txt").write_bytes("\n".join(lines).replace("这", "這").encode(encoding, "ignore"))
    with pytest.raises(DataError, match=r"79 of 79 rows encoding .*source\.encoding"):
        verdicts({"name": "text_files", "path": "in", "encoding": "utf-8"})


def test_big5_is_read_where_it_is_declared() -> None:
    Path("in").mkdir()
    for name, start in (("好", 0), ("坏", 50)):
        lines = [f"這個產品的質量很好,第{k * k}號我們都喜歡" for k in range(start, start + 30)]
        Path(f"in/{name}.txt").write_bytes("\n".join(lines).encode("big5"))
    with pytest.raises(DataError, match="bytes of gb18030 or of big5"):
        verdicts({"name": "text_files", "path": "in"})
    verdicts({"name": "text_files", "path": "in", "encoding": "big5"})
    assert all(text.startswith("這個產品的質量很好") for text in cleaned().values())
