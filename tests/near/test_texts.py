import itertools
import random
import resource

import numpy as np
import pytest

from pipeline.near import texts


def changed(chance: random.Random, text: str, letters: str) -> str:
    place = chance.randrange(len(text))
    return text[:place] + chance.choice(letters) + text[place + chance.randrange(2) :]


def test_exact_pairs_are_those_that_comparing_all_pairs_finds() -> None:
    chance = random.Random(2)
    rows = ["".join(chance.choices("一二三四五六七八", k=chance.randrange(1, 40))) for _ in range(150)]
    rows += [changed(chance, text, "九十") for text in rows[:60]]
    rows += ["", "", rows[0], "一", "一一", "\0", "\U00100000\0\0", "一" * 5000, "一" * 4000]
    for jaccard in (0.5, 0.8, 1.0):
        expected = []
        for (a, one), (b, other) in itertools.combinations([(k, texts.grams(text)) for k, text in enumerate(rows)], 2):
            if len(one & other) >= jaccard * len(one | other):
                expected.append([a, b])
        assert texts.neighbours(rows, jaccard=jaccard, method="exact").tolist() == expected
        assert expected


def test_similarity_on_the_threshold_counts_as_near() -> None:
    # 4 common 3-grams of 5: exactly 0.8, which floating point could miss.
    for method in ("exact", "banded"):
        found = texts.neighbours(["abcdef", "abcdefg"], jaccard=0.8, method=method)  # type: ignore[arg-type]
        assert found.tolist() == [[0, 1]]


def varied(count: int, seed: int) -> list[str]:
    """Reviews of 20 to 80 characters, each third one like the one before in all but one to four places."""
    chance = random.Random(seed)
    letters = [chr(0x4E00 + k) for k in range(900)]
    rows: list[str] = []
    while len(rows) < count:
        rows.append("".join(chance.choices(letters, k=chance.randrange(20, 80))))
        if len(rows) % 3 == 2:
            text = rows[-1]
            for _ in range(chance.randrange(1, 5)):
                text = changed(chance, text, "龘")
            rows.append(text)
    return rows


@pytest.mark.parametrize("jaccard", [0.5, 0.65, 0.8])
def test_banding_finds_99_of_100_pairs_and_nothing_else(jaccard: float) -> None:
    rows = varied(6000, 3)
    exact = {tuple(pair) for pair in texts.neighbours(rows, jaccard=jaccard, method="exact").tolist()}
    banded = {tuple(pair) for pair in texts.neighbours(rows, jaccard=jaccard, method="banded").tolist()}
    assert len(exact) > 100
    assert banded <= exact
    assert len(banded) >= 0.99 * len(exact)


def test_pieces_hold_as_many_characters_as_memory_should_and_change_no_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"{'长' * (k % 7 * 5)}第{k // 3}个文本很好" for k in range(300)]
    wanted = texts.neighbours(rows, jaccard=0.8, method="banded")
    assert len(wanted) > 10
    monkeypatch.setattr(texts, "CHARACTERS", 40)
    monkeypatch.setattr(texts, "PIECE", 5)
    assert np.array_equal(texts.neighbours(rows, jaccard=0.8, method="banded"), wanted)
    found = list(texts._pieces(np.array([10, 30, 1, 50, 2, 2, 2, 2, 2, 2])))
    assert found == [slice(0, 2), slice(2, 3), slice(3, 4), slice(4, 9), slice(9, 10)]


def test_all_pairs_are_compared_where_there_are_few_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert texts.chosen(["一"] * (texts.EXACT - 1)) == "exact"
    assert texts.chosen(["一"] * texts.EXACT) == "banded"
    monkeypatch.setattr(texts, "CHARACTERS", 3)
    assert texts.chosen(["一二", "三四"]) == "banded"


def test_nothing_in_nothing_out() -> None:
    for rows in ([], ["一"]):
        for method in ("exact", "banded"):
            assert texts.neighbours(rows, jaccard=0.8, method=method).shape == (0, 2)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_million_texts_take_less_than_2_gb() -> None:
    rows = varied(1_000_000, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = texts.neighbours(rows, jaccard=0.8)
    assert len(found) > 100_000
    assert np.all(found[:, 0] < found[:, 1])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2 * 2**20  # kB
