import json

import numpy as np
import pytest

from pipeline.texts import Cut, Texts, _listed, changes, cleaned, mask, read, write

ROWS = [["房间", "很", "好"], [], ["不", "好", "不"]]
WORDS = ["<pad>", "<unk>", "好", "不"]


def shards(folder, rows=ROWS):
    """Two shards of the rows."""
    for k, part in enumerate((rows[:2], rows[2:])):
        Cut.of(part).write(folder / f"{k:010}")
    return [folder / f"{k:010}" for k in range(2)]


def test_a_shard_is_plain_arrays_and_its_own_sorted_tokens(tmp_path):
    stem = shards(tmp_path)[1]
    assert json.loads((tmp_path / "0000000001.types.json").read_text("utf-8")) == ["不", "好"]
    assert np.load(f"{stem}.tokens.npy").tolist() == [0, 1, 0]
    assert np.load(f"{stem}.offsets.npy").tolist() == [0, 3]
    assert [Cut.read(stem).words(0)] == ROWS[2:]


@pytest.mark.parametrize(
    "words", [[], [""], ["a", '"', "\\", "\\n", "\x00", "\u2028", '","', "好"], ["a", "\U0010ffff", "b"]]
)
def test_the_list_of_tokens_is_what_json_writes(words):
    assert _listed(words) == json.dumps(words, ensure_ascii=False)


@pytest.mark.parametrize(("count", "kind"), [(1 << 16, "uint16"), ((1 << 16) + 1, "uint32")])
def test_codes_are_as_narrow_as_the_tokens_allow(count, kind):
    cut = Cut.of([[f"{k:06}" for k in range(count)]])
    assert cut.codes.dtype == kind and cut.codes[-1] == count - 1
    assert cut.words(0)[-1] == cut.types[-1] == f"{count - 1:06}"


def test_ids_are_of_the_vocabulary_cut_and_padded(tmp_path):
    texts = Texts.open(shards(tmp_path), WORDS, 1)
    assert len(texts) == 3 and texts.lengths.tolist() == [3, 0, 3]
    assert texts.padded(np.array([2, 0, 1]), 9).tolist() == [[3, 2, 3], [1, 1, 2], [0, 0, 0]]
    assert texts.padded(np.array([0]), 2).tolist() == [[1, 1]]
    assert texts.padded(np.array([1, 1]), 2).tolist() == [[0], [0]]
    assert texts.padded(np.array([2]), 2).dtype == np.int64
    ids, offsets = zip(*texts.shards(), strict=True)
    assert [part.tolist() for part in ids] == [[1, 1, 2], [3, 2, 3]]
    assert [part.tolist() for part in offsets] == [[0, 3, 3], [0, 3]]


def test_another_vocabulary_sees_the_same_shards_otherwise(tmp_path):
    stems = shards(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert Texts.open(stems, ["<pad>", "<unk>", "很"], 1).padded(np.array([0]), 3).tolist() == [[1, 2, 1]]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_ids_at_hand_read_as_those_of_shards():
    texts = Texts.of([[5, 9], [], [7]])
    assert texts.padded(np.arange(3), 4).tolist() == [[5, 9], [0, 0], [7, 0]]
    assert Texts.of([]).padded(np.arange(0), 4).shape == (0, 1)


def test_no_shard_and_no_token_are_no_text_and_an_empty_one(tmp_path):
    assert len(Texts.open([], WORDS, 1)) == 0
    Cut.of([[]]).write(tmp_path / "0")
    assert Texts.open([tmp_path / "0"], WORDS, 1).padded(np.array([0]), 4).tolist() == [[0]]


def test_cleaned_texts_and_what_cleaning_changed_come_back(tmp_path):
    stem = tmp_path / "0"
    write(stem, ["很好", "", "abc"], [mask((0, 2, 1)), mask((0, 0, 0)), mask((1, 0, 7))])
    assert read(stem) == (["很好", "", "abc"], [0b110, 0, 0b101])
    assert list(cleaned(stem)) == [["很好", "", "abc"]]
    assert changes(stem, 3).tolist() == [1, 1, 2]
