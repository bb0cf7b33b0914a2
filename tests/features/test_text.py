import json

import numpy as np
import pytest

from pipeline.config import parse
from pipeline.errors import ConfigError, DataError
from pipeline.examples import TextInputs
from pipeline.features import terms, text
from pipeline.texts import Cut, write
from tests.prepared_files import write_meta, write_split

TEXTS = {
    "train": ["房间 很 干净 很 好", "不 好 房间 小", "书 很 好 看", "房间 很 小", "不 好 看"],
    "validation": ["房间 很 旧", "好 看"],
    "test": ["", "从没 见过"],
}


def prepare(folder, texts=TEXTS):
    """data/prepared of the texts, whose tokens are separated by blanks and whose cleaned text has none."""
    for split, lines in texts.items():
        write_split(folder, split, np.arange(len(lines)) % 2, ["bad", "good"])
        half = len(lines) // 2
        for start, part in ((0, lines[:half]), (half, lines[half:])):
            stem = folder / split / f"{start:010}"
            Cut.of([line.split() for line in part]).write(stem)
            write(stem, [line.replace(" ", "") for line in part], [0] * len(part))
    write_meta(folder, "text", ["bad", "good"])
    return folder


@pytest.fixture
def folders(tmp_path):
    out = tmp_path / "features"
    out.mkdir()
    return prepare(tmp_path / "prepared"), out


def read(path):
    return json.loads(path.read_text("utf-8"))


def test_the_vocabulary_is_of_train_alone_most_frequent_first_then_by_character(folders):
    prepared, out = folders
    text.featurize(prepared, out, text.Config(minimum_count=2))
    assert read(out / "vocabulary.json") == ["<pad>", "<unk>", "好", "很", "房间", "不", "小", "看"]
    assert text.inputs(prepared, out) == TextInputs(8, 128)
    split = text.load(prepared, out, "validation")
    assert split.texts.padded(np.arange(2), 9).tolist() == [[4, 3, 1], [2, 7, 0]]
    assert split.labels.tolist() == [0, 1] and split.targets.tolist() == [[1, 0], [0, 1]] and len(split) == 2


def test_all_pieces_of_the_tokeniser_follow_those_of_train(folders):
    prepared, out = folders
    vocab = {"[UNK]": 0, "干": 1, "好": 2, "##a": 3, "旧": 4}
    record = {"model": {"vocab": vocab}, "added_tokens": [{"content": "[UNK]", "id": 0}, {"content": "[X]", "id": 9}]}
    (prepared / "tokeniser.json").write_text(json.dumps(record))
    for settings, expected in (
        ({"minimum_count": 4, "reserved": ("##a",)}, "<pad> <unk> ##a 好 很 [UNK] 干 旧 [X]"),
        ({"minimum_count": 3, "maximum_size": 10}, "<pad> <unk> 好 很 房间 [UNK] 干 ##a 旧 [X]"),
        ({"minimum_count": 2, "maximum_size": 10}, "<pad> <unk> 好 很 房间 不 小 看 [UNK] 干"),
    ):
        text.featurize(prepared, out, text.Config(pieces="all", **settings))
        assert read(out / "vocabulary.json") == expected.split()
    (prepared / "tokeniser.json").unlink()
    with pytest.raises(DataError, match="expected wordpiece or bpe"):
        text.featurize(prepared, out, text.Config(pieces="all"))


def test_what_stands_in_held_out_texts_alone_is_no_word_however_rare_words_may_be(folders):
    prepared, out = folders
    text.featurize(prepared, out, text.Config(minimum_count=1))
    words = {word for line in TEXTS["train"] for word in line.split()}
    assert set(read(out / "vocabulary.json")) == {"<pad>", "<unk>", *words}


def test_the_vocabulary_is_cut_at_its_size():
    counted = [(str(k), 1) for k in range(23)]
    assert (
        text.vocabulary(counted, text.Config(minimum_count=1, maximum_size=10))[2:] == sorted(map(str, range(23)))[:8]
    )


def test_reserved_tokens_come_first_whatever_their_count(folders):
    prepared, out = folders
    text.featurize(prepared, out, text.Config(minimum_count=3, reserved=("<url>", "很")))
    assert read(out / "vocabulary.json") == ["<pad>", "<unk>", "<url>", "很", "好", "房间"]
    assert text.load(prepared, out, "train").texts.padded(np.array([0]), 9).tolist() == [[5, 3, 1, 3, 4]]


@pytest.mark.parametrize("reserved", [["<unk>"], ["a", "a"], [str(k) for k in range(8)]])
def test_reserved_tokens_are_different_and_few(reserved):
    with pytest.raises(ConfigError, match=r"tasks\.t\.features\.reserved: found"):
        parse(text.Config, {"reserved": reserved, "maximum_size": 10}, "tasks.t.features")


@pytest.mark.parametrize("weighting", ["tfidf", "counts"])
@pytest.mark.parametrize("counting", ["sublinear", "plain"])
def test_arrays_equal_what_serving_computes_text_by_text(folders, counting, weighting):
    prepared, out = folders
    text.featurize(prepared, out, text.Config(minimum_documents=1, counting=counting, weighting=weighting))
    known = terms.Terms.of(read(out / "tfidf.json"))
    for split, matrix in text.weights(prepared, out).items():
        assert matrix.shape == (len(TEXTS[split]), len(known.idf)) and matrix.dtype == np.float32
        for line, row in zip(TEXTS[split], matrix.toarray(), strict=True):
            expected = np.zeros(len(known.idf))
            columns, weights = known.weights(line.split(), line.replace(" ", ""))
            expected[columns] = weights
            np.testing.assert_allclose(row, expected, atol=1e-6)


def test_a_bag_of_words_holds_counts(folders):
    prepared, out = folders
    text.featurize(prepared, out, text.Config(minimum_documents=1, counting="plain", weighting="counts"))
    words = read(out / "tfidf.json")["word"]
    row = text.weights(prepared, out)["train"].toarray()[0]
    assert row[words.index("很")] == 2 and row[words.index("好")] == 1 and row[words.index("书")] == 0


def test_terms_need_enough_train_texts(folders):
    prepared, out = folders
    text.featurize(prepared, out, text.Config(minimum_documents=2))
    record = read(out / "tfidf.json")
    assert record["word"] == ["不", "不 好", "好", "好 看", "小", "很", "很 好", "房间", "房间 很", "看"]
    assert "旧" not in record["character"] and "房间很" in record["character"]
    assert record["word_range"] == [1, 2] and record["character_range"] == [1, 4]


def test_terms_are_fitted_on_at_most_so_many_texts_evenly_spread(tmp_path):
    lines = [f"词{k} 每" for k in range(300)]
    prepared, out = prepare(tmp_path / "prepared", TEXTS | {"train": lines}), tmp_path / "out"
    out.mkdir()
    assert text.featurize(prepared, out, text.Config(minimum_documents=1, documents=100))["fitted_texts"] == 100
    rows = np.flatnonzero(text.of_fit(300, 100))
    assert len(rows) == 100 and rows[[0, -1]].tolist() == [0, 299] and np.diff(rows).max() <= 4
    assert {term for term in read(out / "tfidf.json")["word"] if term[0] == "词" and " " not in term} == {
        f"词{k}" for k in rows
    }
    found = text.weights(prepared, out)
    assert found["train"].shape[0] == 100 and found["validation"].shape[0] == 2


def test_two_runs_write_the_same_bytes_and_leave_nothing_else(folders):
    prepared, out = folders
    text.featurize(prepared, out, text.Config())
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert set(before) == {"meta.json", "tfidf.json", "vocabulary.json"}
    text.featurize(prepared, out, text.Config())
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_no_token_in_train_is_an_error(tmp_path):
    prepared = prepare(tmp_path / "prepared", TEXTS | {"train": ["", ""]})
    with pytest.raises(DataError, match="no token stands 2 times in the train split"):
        text.featurize(prepared, tmp_path, text.Config())
