import numpy as np
import pytest

from pipeline.features import terms

TEXTS = ["房间 很 干净 ， 很 好", "不 好 ， 房间  小", "书 很 好 看 ， 很 值", "a  b\u3000\u3000c"]


def record(words, characters, word, character):
    return {
        "word": list(words.get_feature_names_out()),
        "character": list(characters.get_feature_names_out()),
        "idf": [*words.idf_, *characters.idf_],
        "word_range": word,
        "character_range": character,
        "sublinear": True,
        "norm": True,
    }


@pytest.mark.parametrize(("word", "character"), [((1, 2), (1, 4)), ((1, 1), (2, 3))])
def test_weights_equal_those_of_scikit_learn(word, character):
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(
        analyzer="word", tokenizer=str.split, token_pattern=None, lowercase=False, ngram_range=word, sublinear_tf=True
    )
    characters = TfidfVectorizer(analyzer="char", lowercase=False, ngram_range=character, sublinear_tf=True)
    expected = np.hstack([v.fit_transform(TEXTS[:3]).toarray() for v in (words, characters)])
    unseen = np.hstack([v.transform(TEXTS[3:]).toarray() for v in (words, characters)])
    known = terms.Terms.of(record(words, characters, word, character))
    for text, row in zip(TEXTS, [*expected, *unseen], strict=True):
        columns, weights = known.weights(text.split(), text)
        dense = np.zeros(len(row))
        dense[columns] = weights
        assert (np.diff(columns) > 0).all()
        np.testing.assert_allclose(dense, row, atol=1e-6)


def test_a_text_of_unknown_terms_has_no_weights():
    known = terms.Terms({"好": 0}, {"好": 1}, np.ones(2), (1, 2), (1, 2), True)
    columns, weights = known.weights(["x"], "x")
    assert columns.dtype == np.int64
    assert len(columns) == len(weights) == 0


def test_ids_are_cut_at_the_end_and_padded():
    index = {"<pad>": 0, "<unk>": 1, "很": 2, "好": 3}
    rows = [terms.encode(tokens, index) for tokens in (["很", "好", "？"], ["好"], [])]
    assert terms.padded(rows, 2).tolist() == [[2, 3], [3, 0], [0, 0]]
    assert terms.padded(rows, 9).shape == (3, 3)
    assert terms.padded([[]], 9).tolist() == [[0]]
