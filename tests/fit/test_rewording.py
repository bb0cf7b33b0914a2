import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import ConfigError
from pipeline.examples import Split, TextInputs
from pipeline.fit import feed, loop, rewording
from pipeline.fit.rewording import Words
from pipeline.fit.settings import Config, Texts
from pipeline.optimizers import adamw
from pipeline.texts import Cut
from pipeline.texts import Texts as Ids
from tests.fit.toys import TWO, equal

VOCABULARY = ["<pad>", "<unk>", "。", "不", *(f"w{k}" for k in range(4, 40))]
PAIRS = np.array([[4, 20], [4, 21], [5, 22]])
EVERY = Texts(paraphrase=0.3, shuffle=0.5, synonyms=0.3, insertion=0.3, swap=0.2, deletion=0.2, unknown=0.1)
ROWS = [[6, 2, 4, 5, 2, 7], [3], [4] * 9, [8, 3, 9], list(range(23, 33)), [5, 2, 5, 2, 5]]
OTHERS = [[33, 34], [35], [], [36] * 12, [37], [38]]
LENGTH = 12


def known(pairs=PAIRS, others=None, copies=1):
    starts = np.searchsorted(pairs[:, 0], np.arange(len(VOCABULARY) + 1))
    negating, ending = (np.array([word == sign for word in VOCABULARY]) for sign in ("不", "。"))
    return Words(negating, ending, starts, pairs[:, 1], Ids.of(others) if others else None, copies)


def padded(rows=ROWS):
    return Ids.of(rows).padded(np.arange(len(rows)), LENGTH)


def lists(ids):
    assert not ((ids[:, :-1] == 0) & (ids[:, 1:] != 0)).any(), "padding before a token"
    return [row[row != 0].tolist() for row in ids]


def random(seed=0):
    return np.random.default_rng(seed)


def within(text, row):
    """Whether the text is the row without some tokens."""
    left = iter(row)
    return all(token in left for token in text)


def drawn(function, *arguments, times=200, **more):
    return [lists(function(padded(), *arguments, random(seed), **more)) for seed in range(times)]


def test_a_share_of_the_words_with_synonyms_becomes_one_of_them():
    found = drawn(rewording.replaced, known(), 0.4)
    flat = [token for texts in found for token in texts[2]]
    assert {4, 20, 21} == set(flat)
    assert np.mean([token != 4 for token in flat]) == pytest.approx(0.4, abs=0.05)
    assert flat.count(20) == pytest.approx(flat.count(21), rel=0.2)
    for texts in found:  # all else stays
        assert [texts[k] for k in (1, 3, 4)] == [ROWS[k] for k in (1, 3, 4)]
        assert [token for token in texts[0] if token in (2, 6, 7)] == [6, 2, 2, 7]
    assert lists(rewording.replaced(padded(), known(PAIRS[:0]), 1.0, random())) == ROWS


def test_a_synonym_is_put_in_anywhere():
    found = drawn(rewording.inserted, known(), 0.3, length=100)
    assert np.mean([len(texts[2]) - 9 for texts in found]) == pytest.approx(0.3 * 9, abs=0.3)
    for texts in found:
        assert [[t for t in text if t not in (20, 21, 22)] for text in texts] == ROWS
        assert all(len(texts[k]) == len(ROWS[k]) for k in (1, 3, 4))
    places = {texts[5].index(22) for texts in found if 22 in texts[5]}
    assert {0, 1, 2, 3, 4, 5} <= places
    assert rewording.inserted(padded(), known(), 1.0, random(), 10).shape[1] == 10


def test_a_share_of_the_tokens_change_places():
    found = drawn(rewording.swapped, 0.4)
    moved = []
    for texts in found:
        assert [sorted(text) for text in texts] == [sorted(row) for row in ROWS]
        moved.append(np.mean(np.array(texts[4]) != np.array(ROWS[4])))
    assert np.mean(moved) == pytest.approx(0.4, abs=0.05)
    every = rewording.swapped(padded(), 1.0, random())
    assert all(a != b for a, b in zip(lists(every)[4], ROWS[4], strict=True))


def test_tokens_are_deleted_but_never_a_negator_nor_the_last_one():
    found = drawn(rewording.deleted, known(), 0.4)
    assert np.mean([len(texts[4]) for texts in found]) == pytest.approx(6, abs=0.4)
    for texts in found:
        assert texts[1] == [3] and 3 in texts[3]
        assert all(within(text, row) for text, row in zip(texts, ROWS, strict=True))
    least = lists(rewording.deleted(padded(), known(), 0.999, random()))
    assert [len(text) for text in least] == [1] * 6 and least[3] == [3]


def test_clauses_change_places_and_keep_their_order():
    found = {tuple(texts[0]) for texts in drawn(rewording.shuffled, known(), 1.0)}
    clauses = ([6, 2], [4, 5, 2], [7])
    orders = ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0])
    assert found == {tuple(t for k in order for t in clauses[k]) for order in orders}
    changed = [texts[0] != ROWS[0] for texts in drawn(rewording.shuffled, known(), 0.3)]
    assert np.mean(changed) == pytest.approx(0.3 * 5 / 6, abs=0.08)
    assert lists(rewording.shuffled(padded(), known(), 1.0, random()))[1:5] == ROWS[1:5]


def test_a_share_of_the_texts_is_one_of_its_paraphrases():
    words, rows = known(others=OTHERS), np.arange(6)
    found = [lists(rewording.paraphrased(padded(), rows, words, 0.3, random(k), LENGTH)) for k in range(200)]
    for texts in found:
        assert texts[2] == ROWS[2]  # has none
        assert all(text in (row, other) for text, row, other in zip(texts, ROWS, OTHERS, strict=True))
    assert np.mean([texts[0] == OTHERS[0] for texts in found]) == pytest.approx(0.3, abs=0.08)
    several = known(others=[[30], [31], [32], [33]], copies=2)
    seen = {
        rewording.paraphrased(padded([[9, 9]]), np.array([1]), several, 1.0, random(k), 12)[0, 0] for k in range(30)
    }
    assert seen == {32, 33}


def test_what_is_on_is_done_in_order_and_within_the_length():
    words = known(others=OTHERS)
    for seed in range(50):
        ids = rewording.reworded(padded(), np.arange(6), words, EVERY, random(seed), LENGTH)
        assert 1 <= ids.shape[1] <= LENGTH and all(lists(ids)) and ids.dtype == np.int64
    assert np.array_equal(rewording.reworded(padded(), np.arange(6), words, Texts(), random(), LENGTH), padded())


def split(count=48, seed=0):
    """Which class a text is of, its words tell."""
    draws, labels = random(seed), np.arange(count) % 2
    rows = [[*draws.integers(4, 16, draws.integers(2, 7)), 2, *(draws.integers(4, 16, 3) + 16 * k)] for k in labels]
    return Split(labels, np.eye(2, dtype=np.float32)[labels], texts=Ids.of(rows))


INPUTS = TextInputs(len(VOCABULARY), LENGTH)


def all_batches(config, words, first=0, epoch=0):
    found = feed.Feed(split(), INPUTS, config, 8, ("a", "b"), words=words)
    return [(batch.rows, batch.arrays.copy(), batch.count) for batch in found.epoch(epoch, first)]


def paraphrased_words():
    return known(others=[[k % 30 + 5, 9] for k in range(48)])


def test_a_batch_is_the_same_for_any_number_of_ranks_and_wherever_a_run_goes_on(monkeypatch):
    config, words = Config(batch_size=8, texts=EVERY), paraphrased_words()
    whole = all_batches(config, words)
    again = all_batches(config, words, first=3)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(whole[3:], again, strict=True))
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(whole, all_batches(config, words, epoch=1), strict=True))
    monkeypatch.setenv("DANLU_STORE", "")
    monkeypatch.setenv("WORLD_SIZE", "3")
    parts = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        parts.append(all_batches(config, words))
    for k, (rows, ids, count) in enumerate(whole):
        assert np.array_equal(np.concatenate([part[k][0] for part in parts]), rows)
        assert np.array_equal(np.concatenate([part[k][1] for part in parts]), ids)
        assert {part[k][2] for part in parts} == {count}


class Mean(nn.Module):
    """The mean of the tokens' embeddings; keeps what it has seen."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(len(VOCABULARY), 8, padding_idx=0)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 2))
        self.seen: dict[bool, list[list[int]]] = {True: [], False: []}

    def forward(self, ids):
        self.seen[self.training] += lists(ids.numpy())
        return self.head(self.embedding(ids).sum(1) / (ids > 0).sum(1, keepdim=True))


def trained(config, words, **more):
    torch.manual_seed(0)
    net = Mean()
    data = loop.Data(split(), split(16, 1), INPUTS, TWO, words=words)
    return net, loop.fit(net, [net.embedding, net.head], data, config, **more)


CONFIG = Config(epochs=3, batch_size=8, texts=EVERY, optimizer=adamw.Config(learning_rate=0.05))


def test_train_alone_is_augmented_and_validation_is_as_it_is():
    net, _ = trained(CONFIG, paraphrased_words())
    whole = {tuple(row) for row in lists(split(16, 1).texts.padded(np.arange(16), LENGTH))}
    originals = {tuple(row) for row in lists(split().texts.padded(np.arange(48), LENGTH))}
    judged = {tuple(row) for row in net.seen[False]}  # validation, and train as it is when the run has ended
    assert whole <= judged <= whole | originals
    assert np.mean([tuple(row) in originals for row in net.seen[True]]) < 0.3


def test_a_stopped_run_with_every_augmentation_ends_as_the_unbroken_one(tmp_path):
    words = paraphrased_words()
    _, unbroken = trained(CONFIG, words)
    for step in (3, 8):
        done = []

        def stop(done=done, step=step):
            done.append(1)
            return len(done) == step

        with pytest.raises(Exception, match="stopped in epoch"):
            trained(CONFIG, words, checkpoints=tmp_path / str(step), hooks=loop.Hooks(stop=stop))
        _, resumed = trained(CONFIG, words, checkpoints=tmp_path / str(step))
        assert equal(resumed.state, unbroken.state)
    other = dataclasses.replace(CONFIG, seed=1)
    assert not equal(trained(other, words)[1].state, unbroken.state)
    assert not equal(trained(dataclasses.replace(CONFIG, texts=Texts()), words)[1].state, unbroken.state)


def test_what_featurize_wrote_is_loaded(tmp_path):
    (tmp_path / "vocabulary.json").write_text(json.dumps(["<pad>", "<unk>", "!", "不错", "好", "很好", "别处"]))
    assert rewording.load(tmp_path, Texts(unknown=0.5)) is None
    found = rewording.load(tmp_path, Texts(deletion=0.1))
    assert found and np.flatnonzero(found.negating).tolist() == [3, 6] and np.flatnonzero(found.ending).tolist() == [2]
    with pytest.raises(ConfigError, match=r"train\.texts\.synonyms: .*set features\.synonyms\.source"):
        rewording.load(tmp_path, Texts(synonyms=0.1))
    with pytest.raises(ConfigError, match=r"train\.texts\.paraphrase: .*set features\.paraphrases\.command"):
        rewording.load(tmp_path, Texts(paraphrase=0.1))
    np.save(tmp_path / "synonyms.npy", np.array([[4, 5], [5, 4]], np.int32))
    found = rewording.load(tmp_path, Texts(insertion=0.1))
    assert found and rewording.replaced(np.array([[4, 5, 2]]), found, 1.0, random()).tolist() == [[5, 4, 2]]
    Cut.of([["好", "新"], []]).write(tmp_path / "paraphrases")
    (tmp_path / "paraphrases.json").write_text(json.dumps({"copies": 2}))
    found = rewording.load(tmp_path, Texts(paraphrase=0.1))
    assert found and found.copies == 2 and found.paraphrases
    assert found.paraphrases.padded(np.arange(2), 5).tolist() == [[4, 1], [0, 0]]
