import bz2
import gzip
import json

import numpy as np
import pytest

from pipeline.errors import ConfigError, DataError
from pipeline.features import pretrained, text, vectors
from tests.features.test_text import TEXTS, prepare

WORDS = ["<pad>", "<unk>", "好", "坏", "new york", "书", "差"]
COUNTS = np.array([0, 10, 40, 30, 10, 5, 5])
LINES = ["好 1 2 3", "不在 9 9 9", "坏 3 2 1 ", "new york 2 2 2"]


def read(tmp_path, lines, name="v.txt", **more):
    path = tmp_path / name
    opener = pretrained.OPENERS.get(path.suffix, open)
    with opener(path, "wb") as file:
        file.write("".join(f"{line}\n" for line in lines).encode())
    return pretrained.read(path, WORDS, 2, COUNTS, **{"seed": 0, **more})


@pytest.mark.parametrize("header", [[], ["4 3"]])
@pytest.mark.parametrize("name", ["v.txt", "v.txt.gz", "v.txt.bz2"])
def test_vectors_of_the_vocabulary_and_how_much_of_it_they_cover(tmp_path, header, name):
    found = read(tmp_path, [*header, *LINES], name)
    assert found.vectors.shape == (7, 3) and found.vectors.dtype == np.float32
    assert found.vectors[2:5].tolist() == [[1, 2, 3], [3, 2, 1], [2, 2, 2]] and not found.vectors[0].any()
    assert (found.about["types"], found.about["tokens"]) == (0.6, 0.8)
    assert (found.about["lines"], found.about["dimension"], found.about["bad_lines"]) == (4, 3, 0)
    assert found.covered.tolist() == [False, False, True, True, True, False, False]
    assert {gzip.open, bz2.open} == set(pretrained.OPENERS.values())


def test_a_word_without_a_vector_has_a_seeded_draw_with_the_mean_and_the_variance_of_the_others(tmp_path):
    first, again, other = (read(tmp_path, LINES, seed=seed).vectors for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first[5:], other[5:])
    assert np.array_equal(first[2:5], other[2:5]) and first[1].any()
    random, words = np.random.default_rng(0), ["<pad>", "<unk>", *map(str, range(20_000))]
    lines = [f"{k} {a} {b}" for k, (a, b) in enumerate(random.normal((5, -1), (2, 0.1), (10_000, 2)))]
    path = tmp_path / "many.txt"
    path.write_text("\n".join(lines))
    drawn = pretrained.read(path, words, 2, np.ones(len(words)), 0).vectors[10_002:]
    np.testing.assert_allclose(drawn.mean(axis=0), (5, -1), atol=0.1)
    np.testing.assert_allclose(drawn.std(axis=0), (2, 0.1), rtol=0.05)


def test_bad_lines_are_counted_and_named(tmp_path):
    bad = ["书 1 2", "差 1 x 3", "差 1 nan 3", "书 1 2 3 4", "好 7 7 7", "", "差 1 2"]
    found = read(tmp_path, [LINES[0], *bad])
    assert found.about["bad_lines"] == 7 and len(found.about["bad"]) == pretrained.NAMED
    assert found.about["bad"] == [
        "line 2: 2 values where there are 3",
        "line 3: a value that is no number",
        "line 4: a value that is not finite",
        "line 5: 4 values where there are 3",
        "line 6: 好 once more",
    ]
    assert found.vectors[2].tolist() == [1, 2, 3] and found.covered.sum() == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["5 3", *LINES], "found 4 vectors; expected the 5 of its first line"),
        (["不在 9 9 9", "也 1 2"], r"found no word of the vocabulary among 2 lines \(1 bad lines, line 2: 2 values"),
        (["好"], "found a first line without values"),
        ([], "found no word of the vocabulary among 0 lines"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, lines)


def test_what_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        pretrained.read(tmp_path / "none.txt", WORDS, 2, COUNTS, 0)
    (tmp_path / "v.txt.gz").write_bytes(gzip.compress(b"x 1 2 3\n" * 1000)[:-20])
    with pytest.raises(DataError, match=r"v\.txt\.gz: Compressed file ended"):
        pretrained.read(tmp_path / "v.txt.gz", WORDS, 2, COUNTS, 0)


def test_another_dimension_than_asked_for_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"dimension: found 5, where .*v\.txt has 3 values a word"):
        read(tmp_path, LINES, asked=5)
    assert read(tmp_path, LINES, asked=3).about["dimension"] == 3


def test_featurize_writes_them_and_what_they_cover(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vectors").mkdir()
    (tmp_path / "vectors/own.txt").write_text("好 1 2 3\n房间 1 0 0\n很 0 1\n", "utf-8")
    prepared, out = prepare(tmp_path / "prepared"), tmp_path / "out"
    out.mkdir()
    with caplog.at_level("INFO"):
        text.featurize(prepared, out, text.Config(vectors=vectors.Config(file="vectors/own.txt")))
    words = json.loads((out / "vocabulary.json").read_text("utf-8"))
    found = np.load(out / "vectors.npy")
    assert found.shape == (len(words), 3) and found[words.index("好")].tolist() == [1, 2, 3]
    about = json.loads((out / "meta.json").read_text("utf-8"))["vectors"]
    assert about["types"] == pytest.approx(2 / 6, abs=1e-6) and about["bad"] == ["line 3: 2 values where there are 3"]
    tokens = [word for line in TEXTS["train"] for word in line.split()]
    assert about["tokens"] == pytest.approx(sum(word in ("好", "房间") for word in tokens) / len(tokens), abs=1e-6)
    assert "cover 33.3% of the vocabulary" in caplog.text and "line 3" in caplog.text
