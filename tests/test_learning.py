import pandas as pd
import pytest

from pipeline import learning


def judged(train, validation, ignorant=1.0, **measures):
    losses = {"train": train, "validation": validation, "ignorant": ignorant}
    return {split: {"loss": loss, **measures} for split, loss in losses.items()}


def curve(train, validation):
    return pd.DataFrame({"train_loss": train, "validation_loss": validation})


def test_a_validation_loss_that_rises_after_the_best_epoch_is_overfitting():
    """At the best epoch itself next to nothing was learnt, and no gap shows yet."""
    said = learning.words(judged(0.9, 0.97, 1.1), 1, curve([1.2, 0.9, 0.6], [0.97, 1.0, 1.08]))
    assert "rose by 11%: it overfits from there" in said and "underfits" not in said
    assert "underfits" in learning.words(judged(0.9, 0.97, 1.1), 1, curve([1.2, 1.3, 1.25], [0.97, 1.0, 1.08]))


@pytest.mark.parametrize(
    ("train", "validation", "best", "word"),
    [
        (0.1, 0.5, 2, "a gap of 0.400 (macro-F1 0.700 and 0.700). It overfits. Try more data"),
        (0.1, 0.5, 3, "It overfits"),
        (0.40, 0.41, 3, "still improving when it stopped. Try more epochs"),
        (0.8, 0.85, 2, "It underfits: who knows no more than how frequent each answer is has 1.000. Try a larger net"),
        (0.30, 0.32, 2, "Neither"),
    ],
)
def test_curves_in_words(train, validation, best, word):
    said = learning.words(judged(train, validation, macro_f1=0.7), best, curve([1, 1, 1], [1, 1, 1]))
    assert said.startswith(f"Epoch {best} of 3 was the best. Its loss is {train:.3f} on examples of train")
    assert word in said


@pytest.mark.parametrize(("count", "words"), [(5_000_000, "5.0 million"), (41_234, "41.2 thousand")])
def test_multiply_adds_are_never_none_of_a_million(count, words):
    assert learning._many(count) == words


def test_a_value_is_read_by_its_share_of_the_variance():
    assert "a gap of 0.010 (R² 0.600 and 0.600)" in learning.words(judged(0.3, 0.31, r2=0.6), 1, curve([1], [1]))


def test_curves_and_the_range_test_are_drawn_and_repeat():
    table = pd.DataFrame({"epoch": [1, 2], "train_loss": [1, 0.5], "validation_loss": [1, 0.6]})
    table["learning_rate"] = [0.1, 0.05]
    drawn = learning.curves(table)
    assert drawn.startswith("<svg") and "best" in drawn and drawn == learning.curves(table)
    tested = pd.DataFrame({"learning_rate": [1e-6, 1e-4, 1e-2, 1.0], "loss": [1, 0.9, 0.4, 3]})
    assert "taken: 0.003" in learning.range_test(tested, 0.003)
