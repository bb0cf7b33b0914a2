import json

import numpy as np
import pytest

from pipeline.features import text, vectors
from pipeline.texts import Texts

WORDS = ["<pad>", "<unk>", "好", "很好", "差", "很差", "书", "看书", "房", "住房"]
CONFIG = vectors.Config(dimension=16, epochs=6, window=2, buckets=500, frequent=1.0)


def texts(count=3000, seed=0):
    """Each text holds words of one of two subjects, and now and then an unknown one."""
    random = np.random.default_rng(seed)
    rows = [(4 * random.integers(0, 2) + random.integers(2, 6, 8)).tolist() for _ in range(count)]
    return Texts.of([[1, *row] if k % 5 else row for k, row in enumerate(rows)])


@pytest.fixture(scope="module")
def learnt():
    return vectors.learn(texts(), WORDS, 1, CONFIG)


def similar(learnt, one, other):
    a, b = (learnt.vectors[WORDS.index(word)] for word in (one, other))
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_words_of_one_subject_are_near_and_the_loss_falls(learnt):
    assert learnt.vectors.shape == (10, 16) and learnt.vectors.dtype == np.float32
    assert min(similar(learnt, "好", "差"), similar(learnt, "书", "住房")) > 0.3 + similar(learnt, "好", "书")
    assert learnt.losses[-1] < learnt.losses[0]


def test_words_that_never_stand_have_no_vector(learnt):
    assert not learnt.vectors[:2].any() and learnt.vectors[2:].any(axis=1).all()


def test_the_same_seed_gives_the_same_vectors_and_another_others(learnt):
    again = vectors.learn(texts(), WORDS, 1, CONFIG)
    assert np.array_equal(again.vectors, learnt.vectors) and again.losses == learnt.losses
    other = vectors.learn(texts(), WORDS, 1, vectors.Config(**{**vars(CONFIG), "seed": 1}))
    assert not np.array_equal(other.vectors, learnt.vectors)


def test_runs_are_of_the_marked_word_and_numbered_as_fasttext_does():
    assert list(vectors.runs("很好", 3)) == ["很", "好", "<很", "很好", "好>", "<很好", "很好>"]
    assert list(vectors.runs("好", 3)) == ["好", "<好", "好>"]
    assert list(vectors.runs("好", 0)) == []
    assert vectors.bucket("a", 2_000_000) == 0xE40C292C % 2_000_000  # FNV-1a of "a", from its authors' tables
    rows, borders = vectors.parts(WORDS, CONFIG)
    assert rows[borders[3]] == 3 and borders[-1] == len(rows)
    shared = set(rows[borders[2] : borders[3]]) & set(rows[borders[3] : borders[4]])
    assert {len(WORDS) + vectors.bucket("好", 500), len(WORDS) + vectors.bucket("好>", 500)} <= shared


def test_texts_without_a_word_teach_nothing():
    found = vectors.learn(Texts.of([[1, 1], []]), WORDS, 1, CONFIG)
    assert not found.vectors.any() and found.losses == []


def test_featurize_writes_them_where_they_are_asked_for(tmp_path):
    from tests.features.test_text import prepare

    prepared = prepare(tmp_path / "prepared")
    config = text.Config(vectors=vectors.Config(dimension=8, epochs=1, buckets=50))
    text.featurize(prepared, tmp_path, config)
    words = json.loads((tmp_path / "vocabulary.json").read_text("utf-8"))
    found = np.load(tmp_path / "vectors.npy", allow_pickle=False)
    assert found.shape == (len(words), 8) and np.isfinite(found).all()
    assert len(json.loads((tmp_path / "meta.json").read_text())["vector_losses"]) == 1
