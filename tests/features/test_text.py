import json

import numpy as np
import pandas
import pytest
from scipy import sparse

from pipeline.errors import DataError
from pipeline.examples import TextInputs
from pipeline.features import terms, text

TEXTS = {
    "train": ["房间 很 干净 很 好", "不 好 房间 小", "书 很 好 看", "房间 很 小", "不 好 看"],
    "validation": ["房间 很 旧", "好 看"],
    "test": ["", "从没 见过"],
}


def prepare(folder, texts=TEXTS):
    """data/prepared of the texts, whose tokens are separated by blanks and whose cleaned text has none."""
    folder.mkdir()
    types = sorted({token for split in texts.values() for line in split for token in line.split()})
    rows = []
    for split, lines in texts.items():
        tokens = [line.split() for line in lines]
        flat = [types.index(token) for line in tokens for token in line]
        np.save(folder / f"{split}.tokens.npy", np.array(flat, np.uint32))
        np.save(folder / f"{split}.offsets.npy", np.cumsum([0] + [len(line) for line in tokens]))
        labels = np.arange(len(lines)) % 2
        np.save(folder / f"{split}.labels.npy", labels)
        np.save(folder / f"{split}.targets.npy", np.eye(2, dtype=np.float32)[labels])
        rows += [{"split": split, "row": k, "text": line.replace(" ", "")} for k, line in enumerate(lines)]
    (folder / "types.json").write_text(json.dumps(types, ensure_ascii=False), "utf-8")
    (folder / "meta.json").write_text(json.dumps({"kind": "text", "classes": ["bad", "good"]}))
    pandas.DataFrame(rows).to_parquet(folder / "examples.parquet")
    return folder


@pytest.fixture
def folders(tmp_path):
    out = tmp_path / "features"
    out.mkdir()
    return prepare(tmp_path / "prepared"), out


def test_the_vocabulary_is_of_train_alone_most_frequent_first_then_by_character(folders):
    prepared, out = folders
    text.featurize(prepared, out, text.Config(minimum_count=2))
    words = json.loads((out / "vocabulary.json").read_text("utf-8"))
    assert words == ["<pad>", "<unk>", "好", "很", "房间", "不", "小", "看"]
    assert text.inputs(prepared, out) == TextInputs(8, 128)
    split = text.load(prepared, out, "validation")
    assert split.ids.dtype == np.int32
    assert split.ids.tolist() == [4, 3, 1, 2, 7]
    assert split.offsets.tolist() == [0, 3, 5] and len(split) == 2


def test_the_vocabulary_is_cut_at_its_size():
    words = text.vocabulary(["a", "b", "c"] + [str(k) for k in range(20)], np.arange(23), text.Config(1, 1, 10))
    assert len(words) == 10


@pytest.mark.parametrize("counting", ["sublinear", "plain"])
def test_arrays_equal_what_serving_computes_text_by_text(folders, counting):
    prepared, out = folders
    text.featurize(prepared, out, text.Config(minimum_documents=1, counting=counting))
    known = terms.Terms.of(json.loads((out / "tfidf.json").read_text("utf-8")))
    for split, lines in TEXTS.items():
        matrix = sparse.load_npz(out / f"{split}.tfidf.npz")
        assert matrix.shape == (len(lines), len(known.idf))
        for line, row in zip(lines, matrix.toarray(), strict=True):
            expected = np.zeros(len(known.idf))
            columns, weights = known.weights(line.split(), line.replace(" ", ""))
            expected[columns] = weights
            np.testing.assert_allclose(row, expected, atol=1e-6)


def test_terms_need_enough_train_texts_and_the_rarest_are_cut_first(folders):
    prepared, out = folders
    text.featurize(prepared, out, text.Config(minimum_documents=2))
    record = json.loads((out / "tfidf.json").read_text("utf-8"))
    assert record["word"] == ["不", "不 好", "好", "好 看", "小", "很", "很 好", "房间", "房间 很", "看"]
    assert "旧" not in record["character"] and "房间很" in record["character"]
    assert record["word_range"] == [1, 2] and record["character_range"] == [1, 4]


def test_the_rarest_terms_are_cut_first(folders):
    prepared, _ = folders
    types = json.loads((prepared / "types.json").read_text("utf-8"))
    codes, offsets = np.load(prepared / "train.tokens.npy").astype(np.int64), np.load(prepared / "train.offsets.npy")
    config = text.Config(minimum_documents=1, maximum_terms=2)
    kept = text.block(codes, offsets, lambda place, size: types[codes[place]], fitted=5, high=1, config=config)
    assert kept.terms == ["好", "很"] and kept.frequency.tolist() == [4, 3]
    assert kept.counts.toarray().tolist() == [[1, 2], [1, 0], [1, 1], [0, 1], [1, 0]]


def test_counts_stand_beside_the_weights(folders):
    prepared, out = folders
    text.featurize(prepared, out, text.Config(minimum_documents=1))
    record = json.loads((out / "tfidf.json").read_text("utf-8"))
    counts = sparse.load_npz(out / "train.counts.npz").toarray()
    assert counts[0, record["word"].index("很")] == 2
    assert counts[0, len(record["word"]) + record["character"].index("很")] == 2


def test_no_token_in_train_is_an_error(tmp_path):
    prepared = prepare(tmp_path / "prepared", TEXTS | {"train": ["", ""]})
    with pytest.raises(DataError, match="the train split holds no token"):
        text.featurize(prepared, tmp_path, text.Config())
