"""Each part alone, at every share that it can lose."""

import pytest

from pipeline.pruning import cutting, sensitivity
from tests.pruning.subjects import judge, learnt


@pytest.fixture(scope="module")
def found():
    """What was measured of a network that has learnt, by its parameters as the cost; and the networks measured."""
    subject, data = learnt("textcnn")
    seen = []

    def cost(made):
        seen.append(made)
        return cutting.numbers(made.net) / 1e3, 4 * cutting.numbers(made.net)

    return *sensitivity.measure(subject, "accuracy", judge(data), cost), subject, seen


def test_every_part_is_measured_at_every_share_that_leaves_another_number(found):
    measured, left, _, seen = found
    assert left == {} and measured.measure == "accuracy"
    levels = {group.name: [(level.ratio, level.kept) for level in group.levels] for group in measured.groups}
    assert levels == {
        "convolutions.0": [(0.5, 16)],
        "convolutions.1": [(0.5, 16)],
        "vocabulary": [(0.25, 768), (0.5, 512), (0.75, 256)],
        "embedding": [(0.5, 16)],
    }
    assert len(seen) == 1 + 6


def test_the_whole_is_the_trained_network_and_each_cut_is_made_of_it(found):
    measured, _, subject, seen = found
    assert seen[0] is subject.trained and measured.whole.score > 0.8
    assert measured.whole.bytes == 4 * cutting.numbers(subject.trained.net)
    for group in measured.groups:
        for level in group.levels:
            alone = cutting.cut(subject, {group.name: level.kept})
            assert level.bytes == 4 * cutting.numbers(alone.net) < measured.whole.bytes
            assert level.loss >= 0 and 0 <= level.score <= 1


def test_words_that_tell_the_class_are_missed(found):
    (rows,) = [group for group in found[0].groups if group.name == "vocabulary"]
    assert all(level.loss > found[0].whole.loss + 0.1 and level.score < found[0].whole.score for level in rows.levels)
