"""Smaller networks of every kind of model, while the trained one stays as it is."""

import itertools
from dataclasses import replace

import pytest
import torch

from pipeline.pruning import cutting
from pipeline.pruning.cutting import DIMENSIONS, VOCABULARY
from tests.pruning.subjects import answers, subject

GRU = {VOCABULARY: 512, DIMENSIONS: 16, "layers.0.ahead": 16, "layers.0.back": 16}
CNN = {VOCABULARY: 256, DIMENSIONS: 16, "convolutions.0": 16, "convolutions.1": 16}
RESNET = {"stem.0": 16, "blocks.1.around.0": 32, "blocks.2.body.0": 16, "blocks.3.body.0": 64}
ALL = {"gru": GRU, "textcnn": CNN, "resnet": RESNET, "fasttext": {VOCABULARY: 256, DIMENSIONS: 16}}
every = pytest.mark.parametrize("name", ALL)


def states(made):
    return {name: value.clone() for name, value in made.net.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_of_a_text_network_its_words_their_values_and_its_units_can_be_cut():
    found, left = cutting.parts(subject("gru"))
    assert {(one.name, one.kind, one.count) for one in found} == {
        ("vocabulary", "rows", 1024),
        ("embedding", "dimensions", 32),
        ("layers.0.ahead", "units", 32),
        ("layers.0.back", "units", 32),
    } | {(one.name, one.kind, one.count) for one in found if one.name.startswith("pooling")}
    assert all(reason.startswith("not cut: it has ") for reason in left.values())
    assert {one.multiple for one in found if one.name == "vocabulary"} == {256}


def test_what_is_too_narrow_is_left_and_the_reason_said():
    found, left = cutting.parts(subject("textcnn", channels=16, embedding=16))
    assert [one.name for one in found] == ["vocabulary"]
    assert left == {
        "convolutions.0": "not cut: it has 16 channels, and 16 are the fewest that are fast",
        "convolutions.1": "not cut: it has 16 channels, and 16 are the fewest that are fast",
        "embedding": "not cut: it has 16 dimensions, and 16 are the fewest that are fast",
    }


@pytest.mark.parametrize(("name", "parts"), [("fasttext", ["vocabulary", "embedding"]), ("linear", [])])
def test_models_without_units_have_what_they_can_and_say_so(name, parts):
    found, left = cutting.parts(subject(name))
    assert [one.name for one in found] == parts
    assert left[""] == f"not cut: pipeline/models/{name}.py tells of no units"


@every
def test_all_parts_together_leave_a_smaller_network_and_the_trained_one_bit_by_bit(name):
    found = subject(name)
    before, expected = states(found.trained), answers(found.trained)
    cut = cutting.cut(found, ALL[name])
    assert same(states(found.trained), before) and torch.equal(answers(found.trained), expected)
    after = answers(cut)
    assert after.shape == expected.shape and after.isfinite().all() and not torch.equal(after, expected)
    assert cutting.numbers(cut.net) < 0.6 * cutting.numbers(found.trained.net)
    listed = {one.name: one.count for one in cutting.parts(found)[0]}
    assert ALL[name].keys() <= listed.keys() or name == "resnet"
    assert len(cut.stages) == len(found.trained.stages) and not cut.net.training
    cut.net.train()(torch.ones_like(_batch(found))).sum().backward()  # it can be trained on
    assert all(value.grad is not None for name, value in cut.net.named_parameters() if "ngrams" not in name)
    assert same(states(found.trained), before)


def _batch(found):
    shape = (4, 16, 16, 1) if found.counts is None else (4, 12)
    return torch.zeros(shape, dtype=torch.uint8 if found.counts is None else torch.int64)


@every
def test_nothing_cut_is_the_same_network_in_a_copy(name):
    found = subject(name)
    copied = cutting.cut(found, {})
    assert same(states(copied), states(found.trained))
    with torch.no_grad():
        next(copied.net.parameters()).add_(1)
    assert not same(states(copied), states(found.trained))


@every
def test_the_order_in_which_parts_are_named_changes_nothing(name):
    found = subject(name)
    cuts = [states(cutting.cut(found, dict(order))) for order in itertools.permutations(ALL[name].items())][::5]
    assert all(same(cut, cuts[0]) for cut in cuts[1:])


@every
def test_parts_go_one_after_the_other_in_the_order_of_their_names(name):
    """What one cut takes weighs in the scores of the next: another order would be another network."""
    found = subject(name)
    at, units = found, {key: value for key, value in ALL[name].items() if key not in cutting.SAVES_BYTES}
    for part in sorted(units):
        at = replace(at, trained=cutting.cut(at, {part: units[part]}))
    assert same(states(cutting.cut(found, units)), states(at.trained))


def test_each_cut_has_as_many_left_as_was_asked():
    found = subject("gru")
    body = cutting.cut(found, GRU).body
    assert body.embedding.weight.shape == (512, 16)
    assert body.layers[0].ahead.hidden_size == body.layers[0].back.hidden_size == 16
    cut = cutting.cut(subject("resnet"), RESNET).body
    assert cut.stem[0].out_channels == 16 and cut.blocks[1].around[0].out_channels == 32
    assert cut.blocks[3].body[0].out_channels == 64 and cut.head.out_features == 2


def test_the_most_important_units_stay():
    found = subject("textcnn")
    convolution = found.trained.body.convolutions[0]
    with torch.no_grad():
        convolution.weight[::2] *= 3
    kept = cutting.cut(found, {"convolutions.0": 16}).body.convolutions[0]
    assert torch.equal(kept.weight, convolution.weight[::2]) and torch.equal(kept.bias, convolution.bias[::2])


def test_with_fewer_words_the_others_are_unknown_and_common_texts_are_answered_as_before():
    found = subject("gru")
    cut = cutting.cut(found, {VOCABULARY: 256})
    ids = torch.randint(1, 256, (6, 9), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(cut.net(ids), found.trained.net(ids))
        rare = torch.where(ids % 3 == 0, 900, ids)
        torch.testing.assert_close(cut.net(rare), found.trained.net(torch.where(ids % 3 == 0, 1, ids)))


def test_values_of_embeddings_that_say_nothing_are_cut_without_a_trace():
    """The embeddings lie in 16 of 32 directions, which no axis shows."""
    found = subject("textcnn")
    table = found.trained.body.embedding
    torch.manual_seed(1)
    with torch.no_grad():
        table.weight.copy_(torch.randn(1024, 16) @ torch.linalg.qr(torch.randn(32, 32))[0][:16])
        table.weight[0] = 0
    cut = cutting.cut(found, {DIMENSIONS: 16})
    torch.testing.assert_close(answers(cut), answers(found.trained), atol=1e-4, rtol=1e-4)
