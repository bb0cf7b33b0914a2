import random
from collections.abc import Iterable, Iterator
from typing import Any

import emoji
import pytest

from pipeline import config
from pipeline.errors import ConfigError
from pipeline.features import rewriting
from pipeline.features.cleaning import COUNTED, Steps, chinese_share, clean, counted, versions

SLOW = pytest.mark.slow
ALL = Steps(
    mojibake="repair",
    emoji="name",
    simplify="t2s",
    urls="mask",
    emails="mask",
    phones="mask",
    boilerplate=("更多请访问*网", "未经许可不得转载"),
    repeats=3,
)
DROPPED = Steps(emoji="drop", simplify="tw2sp", urls="drop", emails="drop", phones="drop", repeats=1)


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("  很好\u3000用！ ", "很好 用!"),
        ("ＡＢＣ１２３", "abc123"),
        ("质量&amp;价格&nbsp;&lt;不错&gt;&#33;", "质量&价格 <不错>!"),
        ("a&copy=1&lt", "a&copy=1&lt"),
        ("一&amp;amp;二&amp;lt;三＆amp；四", "一&二<三&四"),
        ("\ufeff零\u200b宽\u202e字\x00符\x07", "零宽字符"),
        ("一\r\n二\u2028三\t四", "一 二 三 四"),
        ("e\u0301", "é"),
        ("坏\ud800字", "坏字"),
        ("\u200b\u3000\n", ""),
        ("不要删掉中文,标点。", "不要删掉中文,标点。"),
        ("電話 13812345678 http://a.cn 哈哈哈哈哈哈 👍", "電話 13812345678 http://a.cn 哈哈哈哈哈哈 👍"),
    ],
)
def test_the_usual_steps(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned
    assert clean(cleaned) == cleaned


def test_each_step_can_be_left_out() -> None:
    assert clean("ＡＢ &amp; Cd", Steps(normalise=False, lower=False)) == "ＡＢ & Cd"
    assert clean("&amp; CD", Steps(entities=False)) == "&amp; cd"
    assert clean("ＡＢ", Steps(lower=False)) == "AB"
    assert clean("a\u200bb\ud800", Steps(invisible=False)) == "a\u200bb"


@pytest.mark.parametrize(
    ("steps", "raw", "cleaned", "count"),
    [
        (Steps(mojibake="repair"), "è¿™ä¸ªå¾ˆå¥½", "这个很好", 1),
        (Steps(mojibake="repair"), "这个产品质量很好".encode().decode("gb18030"), "这个产品质量很好", 1),
        (Steps(mojibake="repair"), "联通很好", "联通很好", 0),
        (Steps(mojibake="repair"), "café ñandú 很好", "café ñandú 很好", 0),
        (Steps(emoji="name"), "好👍👨\u200d👩\u200d👧❤\ufe0f1\ufe0f\u20e3", None, 4),
        (Steps(emoji="drop"), "好👍🏽用🇨🇳。", "好 用 。", 2),
        (Steps(emoji="drop"), "★好—…「用」①", "★好—...「用」1", 0),
        (Steps(simplify="t2s"), "這個產品質量很好,乾隆皇帝", "这个产品质量很好,乾隆皇帝", 1),
        (Steps(simplify="tw2sp"), "滑鼠和軟體", "鼠标和软件", 1),
        (Steps(urls="mask"), "看https://a.cn/x?y=1&z=2。好,WWW.b.com!", "看 url 。好, url !", 2),
        (Steps(urls="drop"), "看ｈｔｔｐ：／／a.cn/很好", "看 很好", 1),
        (Steps(emails="mask"), "写给我a.b-c@x.com.cn吧,a@b", "写给我 email 吧,a@b", 1),
        (Steps(phones="mask"), "电话13812345678,+86 138 1234 5678,010-12345678,(0755)12345678转", None, 4),
        (Steps(phones="mask"), "订单138123456789,价1381234567.8,尺寸1234567", None, 0),
        (Steps(phones="drop"), "拨400-123-4567问", "拨 问", 1),
        (Steps(boilerplate=("更多请访问＊网",)), "好。更多请访问 新浪 网完", "好。 完", 1),
        (Steps(boilerplate=("见ＨＴＴＰ://a.cn",), urls="mask"), "好,见http://b.com 完", "好, 完", 1),
        (Steps(repeats=3), "哈哈哈哈哈好好好!!!!10000000", "哈哈哈好好好!!!10000000", 2),
        (Steps(repeats=1), "……真真的", ".真的", 2),
    ],
)
def test_a_step_that_is_asked_for(steps: Steps, raw: str, cleaned: str | None, count: int) -> None:
    name = next(name for name in reversed(COUNTED) if getattr(steps, name) != getattr(Steps(), name))
    text, counts = counted(raw, steps)
    assert cleaned is None or text == cleaned
    assert counts[COUNTED.index(name)] == count
    assert clean(text, steps) == text


def test_names_of_emoji_are_chinese_and_every_one_is_known() -> None:
    assert clean("好👍", Steps(emoji="name")) == "好 拇指向上"
    assert all(rewriting.emojis(each, "drop") == (" ", 1) for each in emoji.EMOJI_DATA)


def test_every_step_counts_what_it_did() -> None:
    raw = "Ａ&amp;B\u200b www.a.cn a@b.cn 13812345678 這 哈哈哈哈 👍 未经许可不得转载 é"
    counts = dict(zip(COUNTED, counted(raw, ALL)[1], strict=True))
    assert counts.pop("mojibake") == 0 and set(counts.values()) == {1}


def test_packages_are_named_where_a_step_uses_them() -> None:
    assert versions(Steps()) == {} == versions(Steps(urls="mask", repeats=2))
    assert versions(ALL).keys() == {"ftfy", "emoji", "opencc"}


PIECES = [
    *(
        "质量很好",
        "這個產品",
        "滑鼠軟體",
        "哈",
        "好",
        "a",
        "1",
        "-",
        " ",
        "\u3000",
        "。",
        "！",
        "…",
        "w",
        ".",
        "@",
        "&",
        ";",
    ),
    *("&amp;", "&lt;", "&#38;", "amp;", "#38;", "＆", "；", "&#x4e2d;", "&nbsp;", "&zwj;", "&shy;", "\u200b", "\ufeff"),
    *("\u202e", "\x00", "\x1f", "\ud800", "e\u0301", "\u0301", "\u0345", "İ", "ß", "ﬁ", "㍿", "㊗", "ﷺ", "ǅ", "Σ", "ς"),
    *(
        "👍",
        "👨\u200d👩\u200d👧",
        "❤\ufe0f",
        "1\ufe0f\u20e3",
        "🇨🇳",
        "🏽",
        "©",
        "™",
        "http://a.cn/x",
        "www.b.com",
        "https://",
    ),
    *(
        "a.b@x.com",
        "13812345678",
        "138 1234 5678",
        "+86",
        "010-1234567",
        "更多请访问",
        "网",
        "未经许可不得转载",
        "不得转载",
    ),
    *(
        "Ã¤",
        "è¿™",
        "浣犲ソ",
        "é",
        "乾",
        "后",
        "幹",
        "url",
        "email",
        "phone",
        "\r\n",
        "\u2028",
        "豈",
        "Ａ",
        "ｗｗｗ．",
        "＠",
    ),
]


def fuzz(count: int, seed: int) -> Iterator[str]:
    draw = random.Random(seed)
    for _ in range(count):
        few = draw.sample(PIECES, 6) if draw.random() < 0.5 else PIECES
        yield "".join(draw.choices(few, k=draw.randrange(1, 25)))


@pytest.mark.parametrize("steps", [Steps(), ALL, DROPPED, Steps(lower=False), Steps(normalise=False, urls="mask")])
def test_a_cleaned_text_stays_as_it_is(steps: Steps) -> None:
    for text in fuzz(1500, seed=0):
        once = clean(text, steps)
        assert clean(once, steps) == once, repr(text)
        once.encode()


@pytest.mark.parametrize(
    "points",
    [[*range(0x590), *range(0x1D00, 0x2200), *range(0xF900, 0x10000, 7)], pytest.param(range(0x110000), marks=SLOW)],
)
def test_every_character_is_cleaned_once_for_all(points: Iterable[int]) -> None:
    for k in points:
        for text in (chr(k), f"a{chr(k)}\u0301"):
            once = clean(text)
            assert clean(once) == once, hex(k)


UNITS = [
    "a",
    "好",
    "👍",
    "1",
    "@",
    "a@",
    "www.",
    "http://",
    "&",
    "&amp;",
    "amp;",
    ".",
    "更多请访问",
    "é",
    "x@a.",
    "138-",
    "Ã¤",
    "(0",
]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("size", [50_000, pytest.param(1_000_000, marks=SLOW)])
def test_a_long_line_of_one_thing_ends(unit: str, size: int) -> None:
    for steps in (Steps(), ALL):
        counted(unit * (size // len(unit)), steps)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"urls": "hide"}, r"s\.urls: found 'hide'; expected one of keep, mask, drop"),
        ({"simplify": "t2x"}, r"s\.simplify"),
        ({"repeats": 0}, "repeats: found 0; expected a whole number ≥ 1"),
        ({"repeats": True}, r"s\.repeats"),
        ({"entites": True}, "did you mean 'entities'"),
        ({"boilerplate": ["a"]}, "boilerplate: found 'a'; expected 2 to 200 characters"),
        ({"boilerplate": ["a*b*c"]}, "at most one"),
        ({"boilerplate": ["abc*"]}, "at most one"),
        ({"boilerplate": "abc"}, "expected a list"),
    ],
)
def test_impossible_steps_are_named(section: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.parse(Steps, section, "s")


def test_chinese_share() -> None:
    assert chinese_share("中文ab") == 0.5
    assert chinese_share("中 文") == 1.0
    assert chinese_share("\U00020000") == 1.0
    assert chinese_share(" ") == chinese_share("abc") == 0.0
