"""Against the plain way: each text's n-grams as sets of strings."""

import json
from collections import Counter

import numpy as np
import pytest

from pipeline import texts
from pipeline.errors import DataError
from pipeline.features import bag, terms

WORDS = [*"很好不坏书看房间净新旧", "房间", "干净", "a", "ab"]


def corpus(folder, count=90, seed=0, shards=3):
    """Random texts of few words in some shards, and the same as lists of tokens and strings."""
    random = np.random.default_rng(seed)
    rows = [random.choice(WORDS, size).tolist() for size in random.integers(0, 12, count)]
    lines = ["".join(row) if k % 7 else " ".join(row) for k, row in enumerate(rows)]
    found = []
    for k, part in enumerate(np.array_split(np.arange(count), shards)):
        stem = folder / f"{k:010}"
        texts.Cut.of([rows[row] for row in part]).write(stem)
        texts.write(stem, [lines[row] for row in part], [0] * len(part))
        found.append(bag.Shard(stem, np.ones(len(part), bool)))
    return found, rows, lines


def plain(documents, minimum, maximum):
    counted = Counter(term for document in documents for term in set(document))
    best = sorted((-count, term) for term, count in counted.items() if count >= minimum)[:maximum]
    return sorted((term, -count) for count, term in best)


@pytest.mark.parametrize(("minimum", "maximum"), [(1, 10_000), (2, 10_000), (3, 40), (1, 100), (1, 7), (90, 10)])
def test_terms_are_those_of_counting_them_all(tmp_path, monkeypatch, minimum, maximum):
    monkeypatch.setattr(bag, "AT_ONCE", 50)
    shards, rows, lines = corpus(tmp_path)
    limits = {"minimum": minimum, "maximum": maximum}
    found = bag.fit(shards, bag.Words(), tmp_path, high=3, **limits)
    assert list(zip(found[0], found[1].tolist())) == plain([terms.word_ngrams(row, 1, 3) for row in rows], **limits)
    found = bag.fit(shards, bag.Characters(), tmp_path, high=4, **limits)
    expected = plain([terms.character_ngrams(line, 1, 4) for line in lines], **limits)
    assert list(zip(found[0], found[1].tolist())) == expected
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_terms_are_the_same_where_counts_are_spilled(tmp_path, monkeypatch):
    shards, _, _ = corpus(tmp_path)
    limits = {"high": 4, "minimum": 1, "maximum": 300}
    before = bag.fit(shards, bag.Characters(), tmp_path, **limits)
    monkeypatch.setattr(bag, "Strings", lambda folder: bag_strings(folder, 5))
    monkeypatch.setattr(bag, "Keys", lambda folder: bag_keys(folder, 60))
    monkeypatch.setattr(bag, "AT_ONCE", 30)
    after = bag.fit(shards, bag.Characters(), tmp_path, **limits)
    assert before[0] == after[0] and np.array_equal(before[1], after[1])


bag_strings, bag_keys = bag.Strings, bag.Keys


def test_only_chosen_rows_count(tmp_path):
    shards, rows, _ = corpus(tmp_path)
    some = [bag.Shard(shard.stem, np.arange(len(shard.rows)) % 3 == 0) for shard in shards]
    chosen = [row for start in (0, 30, 60) for row in rows[start : start + 30 : 3]]
    found = bag.fit(some, bag.Words(), tmp_path, high=2, minimum=2, maximum=1000)
    assert list(zip(found[0], found[1].tolist())) == plain([terms.word_ngrams(row, 1, 2) for row in chosen], 2, 1000)
    record = {"word": found[0], "character": [], "idf": np.ones(len(found[0])), "sublinear": True, "norm": True}
    assert bag.Bag(record).weights(some[0]).shape == (10, len(found[0]))


@pytest.mark.parametrize(("sublinear", "norm"), [(True, True), (False, True), (True, False)])
def test_weights_are_those_of_each_text_alone(tmp_path, monkeypatch, sublinear, norm):
    monkeypatch.setattr(bag, "AT_ONCE", 40)
    shards, rows, lines = corpus(tmp_path)
    limits = {"minimum": 2, "maximum": 200}
    word, _ = bag.fit(shards, bag.Words(), tmp_path, high=2, **limits)
    character, _ = bag.fit(shards, bag.Characters(), tmp_path, high=3, **limits)
    idf = np.random.default_rng(0).random(len(word) + len(character)).tolist()
    ranges = {"word_range": [1, 2], "character_range": [1, 3], "sublinear": sublinear, "norm": norm}
    record = json.loads(json.dumps({"word": word, "character": character, "idf": idf, **ranges}))
    known, bags = terms.Terms.of(record), bag.Bag(record)
    found = np.vstack([bags.weights(shard).toarray() for shard in shards])
    counted = np.vstack([bags.counts(shard).toarray() for shard in shards])
    for row, line, weights, counts in zip(rows, lines, found, counted, strict=True):
        columns, expected = known.weights(row, line)
        assert np.flatnonzero(weights).tolist() == columns.tolist()
        np.testing.assert_allclose(weights[columns], expected, atol=1e-6)
        every = [*terms.word_ngrams(row, 1, 2), *terms.character_ngrams(line, 1, 3)]
        assert counts.sum() == sum(term in known.word for term in terms.word_ngrams(row, 1, 2)) + sum(
            term in known.character for term in terms.character_ngrams(line, 1, 3)
        )
        assert len(every) >= counts.sum()


def test_terms_without_their_beginnings_are_refused():
    with pytest.raises(DataError, match="expected those of stage featurize"):
        bag.Known(bag.Characters(), ["房", "间净新"])
