import numpy as np
import pytest

from pipeline import sampling

LABELS = np.array([0] * 90 + [1] * 9 + [3] * 1)


def shown(how: sampling.Sampling | list[float]) -> tuple[list[int], np.ndarray]:
    """Examples of each class in an epoch, and how often each row is in it."""
    rows = sampling.epoch(LABELS, 4, how, np.random.default_rng(0))
    return np.bincount(LABELS[rows], minlength=4).tolist(), np.bincount(rows, minlength=len(LABELS))


@pytest.mark.parametrize(
    ("how", "counts"),
    [
        ("natural", [90, 9, 0, 1]),
        ("balanced", [34, 33, 0, 33]),
        ("oversample", [90, 90, 0, 90]),
        ("undersample", [1, 1, 0, 1]),
        ([1.0, 10.0, 1.0, 10.0], [48, 47, 0, 5]),
    ],
)
def test_an_epoch_shows_so_many_of_each_class(how: sampling.Sampling | list[float], counts: list[int]) -> None:
    found, times = shown(how)
    assert found == counts
    for label in (0, 1, 3):  # all are shown before one is repeated
        assert np.ptp(times[label == LABELS]) <= 1


def test_natural_is_a_permutation_and_a_seed_decides_it() -> None:
    rows = [sampling.epoch(LABELS, 4, "natural", np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(np.sort(rows[0]), np.arange(len(LABELS)))
    assert np.array_equal(rows[0], rows[1]) and not np.array_equal(rows[0], rows[2])


def test_nothing_in_nothing_out() -> None:
    for how in ("natural", "balanced", "oversample", "undersample"):
        assert len(sampling.epoch(np.empty(0, np.int64), 2, how, np.random.default_rng(0))) == 0  # type: ignore[arg-type]


def test_weights_name_classes() -> None:
    assert sampling.checked({"b": 3}, ["a", "b"]) == [1.0, 3.0]
    with pytest.raises(ValueError, match=r"^c: no such class; expected some of a, b"):
        sampling.checked({"c": 3}, ["a", "b"])
    with pytest.raises(ValueError, match="above 0"):
        sampling.checked({"a": 0}, ["a", "b"])
