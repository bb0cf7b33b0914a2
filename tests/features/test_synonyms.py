import json

import numpy as np
import pytest

from pipeline.config import parse
from pipeline.errors import ConfigError, DataError
from pipeline.features import synonyms, text
from pipeline.features.synonyms import Config
from pipeline.texts import Texts
from tests.features.test_text import prepare

CILIN = """\
Aa01A01= 人 士 人物 人士
Aa01A02# 房间 屋子 书房
Aa01B03@ 孤单
Ab02C03= 打 击 敲
Hb01A01= 打 买
Ed01A01= 不错 不利
Ed01A02= 干净 整洁 好
"""
WORDS = [
    "<pad>",
    "<unk>",
    "人",
    "士",
    "打",
    "击",
    "敲",
    "买",
    "不错",
    "不利",
    "干净",
    "整洁",
    "好",
    "房间",
    "屋子",
    "外",
]


def written(tmp_path, content, encoding="utf-8"):
    path = tmp_path / "own.txt"
    path.write_bytes(content.encode(encoding))
    return path


def test_cilin_gives_words_of_one_sense_in_groups_of_equal_ones(tmp_path):
    found = synonyms.read(written(tmp_path, CILIN))
    assert found["人"] == ["士", "人物", "人士"] and found["击"] == ["敲"] and found["干净"] == ["整洁", "好"]
    assert not {"打", "买", "房间", "孤单"} & set(found)  # of two senses, related, alone
    assert "打" not in found["击"]


def test_two_columns_are_taken_as_they_are(tmp_path):
    found = synonyms.read(written(tmp_path, "宾馆\t酒店\n\n宾馆\t旅馆 \n酒店\t酒店\n宾馆\t酒店\n"))
    assert found["宾馆"] == ["酒店", "旅馆"] and not found.get("酒店")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("宾馆\t酒店\n宾馆 旅馆\n", "line 2 is '宾馆 旅馆'; expected word<TAB>synonym"),
        ("宾馆\t酒店\t旅馆\n", "line 1"),
        ("Aa01A01= 人 士\n宾馆\t旅馆\n", "line 2 is .*expected a group"),
        ("Aa01A01=\n", "line 1 is 'Aa01A01='"),
    ],
)
def test_a_line_of_neither_form_is_named(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        synonyms.read(written(tmp_path, content))


def test_a_file_that_is_missing_or_in_another_encoding_is_named(tmp_path):
    with pytest.raises(DataError, match=r"byte 0 is not UTF-8; .*iconv"):
        synonyms.read(written(tmp_path, "宾馆\t酒店\n", "gb18030"))
    with pytest.raises(DataError, match="expected a dictionary of synonyms"):
        synonyms.read(tmp_path / "none.txt")


def corpus(count=200):
    """好 tells the class; 房间 and 屋子 stand in any text."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 2
    often = [
        WORDS.index(word) for word in ("人", "士", "击", "敲", "不错", "不利", "干净", "整洁", "房间", "屋子", "外")
    ]
    rows = [[*random.choice(often, 6), *([WORDS.index("好")] if label else [])] for label in labels]
    for row in rows[:6]:
        row.append(WORDS.index("打"))
    return Texts.of(rows), np.eye(2)[labels]


def test_chi_square_is_that_of_the_table():
    texts, targets = Texts.of([[2], [2, 2], [2, 3], [3], [3], [4]]), np.eye(2)[[0, 0, 1, 1, 1, 0]]
    held, found = synonyms.chi_square(texts, targets, 6)
    table = np.array([[2, 1], [1, 2]])  # texts with and without word 2, by class
    expected = ((table - 1.5) ** 2 / 1.5).sum()
    assert held.tolist() == [0, 0, 3, 3, 1, 0]
    assert found[2] == pytest.approx(expected) and found[5] == 0
    value = np.array([[1.0], [2.0], [0.5], [-1.0], [-3.0], [0.0]])
    there = np.array([1, 1, 1, 0, 0, 0])
    assert synonyms.chi_square(texts, value, 6)[1][2] == pytest.approx(6 * np.corrcoef(there, value[:, 0])[0, 1] ** 2)


def pairs(path, **more):
    texts, targets = corpus()
    config = Config(source="dictionary", file=f"dictionaries/{path.name}", **more)
    return {(WORDS[a], WORDS[b]) for a, b in synonyms.find(WORDS, 2, texts, targets, None, config).pairs.tolist()}


def test_negators_and_words_that_carry_the_label_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dictionaries").mkdir()
    path = written(tmp_path / "dictionaries", CILIN)
    both = {("人", "士"), ("士", "人"), ("击", "敲"), ("敲", "击"), ("干净", "整洁"), ("整洁", "干净")}
    assert pairs(path) == both
    assert ("干净", "好") in pairs(path, label=10_000)
    assert pairs(path, protected=("人", "击")) == both - {("人", "士"), ("士", "人"), ("击", "敲"), ("敲", "击")}


def test_neighbours_are_mutual_near_frequent_and_free():
    texts, targets = corpus()
    vectors = np.zeros((len(WORDS), 3), np.float32)
    near, rooms = {"人": 0.1, "士": 0.12, "好": 0.11, "不错": 0.1}, {"房间": 0.2, "屋子": 0.25, "打": 0.22}
    given = {word: (1, k, 0) for word, k in near.items()} | {word: (0, 1, k) for word, k in rooms.items()}
    for word, vector in (given | {"外": (-3, -3, 1)}).items():
        vectors[WORDS.index(word)] = vector

    def found(**more):
        config = Config(source="vectors", neighbours=1, **more)
        return {(WORDS[a], WORDS[b]) for a, b in synonyms.find(WORDS, 2, texts, targets, vectors, config).pairs}

    both = {("人", "士"), ("士", "人"), ("房间", "屋子"), ("屋子", "房间")}
    assert found() == both
    assert found(similarity=1.0) == set()
    assert found(minimum_count=6) == {("人", "士"), ("士", "人"), ("房间", "打"), ("打", "房间")}  # 打 stands in six
    assert found(minimum_count=150) == set()


def test_featurize_writes_pairs_of_the_vocabulary(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dictionaries").mkdir()
    (tmp_path / "dictionaries/own.txt").write_text("房间\t书\n小\t看\n不\t好\n", "utf-8")
    prepared, out = prepare(tmp_path / "prepared"), tmp_path / "out"
    out.mkdir()
    config = text.Config(minimum_count=1, synonyms=Config(source="dictionary", file="dictionaries/own.txt", label=9))
    text.featurize(prepared, out, config)
    words = json.loads((out / "vocabulary.json").read_text("utf-8"))
    assert {(words[a], words[b]) for a, b in np.load(out / "synonyms.npy")} == {("房间", "书"), ("小", "看")}
    assert json.loads((out / "meta.json").read_text("utf-8"))["synonyms"]["pairs"] == 2


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"synonyms": {"source": "dictionary"}}, r"synonyms.file: found None with source dictionary"),
        ({"synonyms": {"file": "dictionaries/a.txt"}}, r"synonyms.file: found .* with source off"),
        (
            {"synonyms": {"source": "dictionary", "file": "a.txt"}},
            r"synonyms.file: .*expected a file in dictionaries/",
        ),
        ({"synonyms": {"source": "vectors"}}, r"synonyms\.source: found vectors, of which there are none"),
        ({"vectors": {"file": "/etc/passwd"}}, r"vectors.file: .*expected a file in vectors/"),
        ({"vectors": {"file": "vectors/../x"}}, r"vectors.file: .*expected a file in vectors/"),
    ],
)
def test_settings_that_cannot_be_met(section, message):
    with pytest.raises(ConfigError, match=message):
        parse(text.Config, section, "features")
