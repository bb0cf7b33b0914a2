import pytest

from pipeline.features.cleaning import Steps, chinese_share, clean


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("  很好\u3000用！ ", "很好 用!"),
        ("ＡＢＣ１２３", "abc123"),
        ("质量&amp;价格&nbsp;&lt;不错&gt;&#33;", "质量&价格 <不错>!"),
        ("a&copy=1&lt", "a&copy=1&lt"),
        ("\ufeff零\u200b宽\u202e字\x00符\x07", "零宽字符"),
        ("一\r\n二\u2028三\t四", "一 二 三 四"),
        ("e\u0301", "é"),
        ("坏\ud800字", "坏字"),
        ("\u200b\u3000\n", ""),
        ("不要删掉中文,标点。", "不要删掉中文,标点。"),
    ],
)
def test_clean(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned
    assert clean(cleaned, Steps(entities=False)) == cleaned


def test_each_step_can_be_left_out() -> None:
    assert clean("ＡＢ &amp; Cd", Steps(normalise=False, lower=False)) == "ＡＢ & Cd"
    assert clean("&amp; CD", Steps(entities=False)) == "&amp; cd"
    assert clean("ＡＢ", Steps(lower=False)) == "AB"


def test_chinese_share() -> None:
    assert chinese_share("中文ab") == 0.5
    assert chinese_share("中 文") == 1.0
    assert chinese_share("\U00020000") == 1.0
    assert chinese_share(" ") == chinese_share("abc") == 0.0
