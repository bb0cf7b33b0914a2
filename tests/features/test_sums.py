from collections import Counter

import numpy as np

from pipeline.features.sums import Keys, Strings


def test_strings_are_summed_the_same_on_disk_as_in_memory(tmp_path):
    random = np.random.default_rng(0)
    expected = Counter()
    small, large = Strings(tmp_path, held=50), Strings(tmp_path)
    for _ in range(30):
        words = sorted({f"词\u2028{k}" for k in random.integers(0, 200, 40).tolist()})
        counts = random.integers(1, 9, len(words)).tolist()
        expected.update(dict(zip(words, counts)))
        for sums in (small, large):
            sums.add(words, np.array(counts))
    assert list(small.items()) == list(large.items()) == sorted(expected.items())
    some = [pair for pair in sorted(expected.items()) if pair[1] >= 30]
    assert 0 < len(some) < len(expected) and list(small.items(30)) == list(large.items(30)) == some
    assert len(list(tmp_path.glob("*/*.jsonl"))) > 3


def test_keys_are_summed_the_same_on_disk_as_in_memory(tmp_path):
    random = np.random.default_rng(0)
    expected = Counter()
    small, large = Keys(tmp_path, held=64), Keys(tmp_path)
    for size in random.integers(0, 60, 40).tolist():
        keys, counts = random.integers(-5, 1 << 40, size) % 300, random.integers(1, 9, size)
        for key, count in zip(keys.tolist(), counts.tolist()):
            expected[key] += count
        for sums in (small, large):
            sums.add(keys, counts)
    assert len(list(tmp_path.glob("*/*.npy"))) > 3
    for sums in (small, large):
        keys, counts = (np.concatenate(parts).tolist() for parts in zip(*sums.items(), strict=True))
        assert list(zip(keys, counts)) == sorted(expected.items())


def test_nothing_added_is_nothing(tmp_path):
    assert list(Strings(tmp_path).items()) == []
    assert [len(keys) for keys, _ in Keys(tmp_path).items()] == [0]
