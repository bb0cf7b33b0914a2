import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfTransformer

from pipeline.examples import TextInputs, Vocabulary
from pipeline.models import linear

INPUTS = TextInputs(8, 12)
IDS = torch.tensor([[2, 3, 2, 5, 0], [4, 4, 4, 2, 3], [6, 0, 0, 0, 0]])
COUNTS = np.stack([np.bincount(row[row != 0], minlength=8) for row in IDS.numpy()])
VOCABULARY = Vocabulary(["<pad>", "<unk>", *"abcdef"], (COUNTS > 0).sum(axis=0), len(COUNTS))


def built(**settings):
    torch.manual_seed(0)
    net = linear.build(linear.Config(**settings), inputs=INPUTS, outputs=2)
    linear.words(net, VOCABULARY)
    return net


def over_vocabulary(net):
    """The weights of every entry of the vocabulary, [B, V]."""
    shares = net.weights(IDS)
    return torch.zeros(len(IDS), 8).scatter_add(1, IDS, shares).numpy()


@pytest.mark.parametrize("norm", ["l2", "none"])
def test_tf_idf_is_that_of_scikit_learn(norm):
    net = built(norm=norm)
    theirs = TfidfTransformer(norm="l2" if norm == "l2" else None).fit(COUNTS)
    np.testing.assert_allclose(net.idf[1:], theirs.idf_[1:], rtol=1e-6)
    np.testing.assert_allclose(over_vocabulary(net), theirs.transform(COUNTS).toarray(), rtol=1e-5)


@pytest.mark.parametrize(("weighting", "expected"), [("counts", COUNTS), ("binary", COUNTS > 0)])
@pytest.mark.parametrize("norm", ["l2", "none"])
def test_counts_and_what_is_there(weighting, expected, norm):
    expected = expected / (np.linalg.norm(expected, axis=1, keepdims=True) if norm == "l2" else 1)
    np.testing.assert_allclose(over_vocabulary(built(weighting=weighting, norm=norm)), expected, rtol=1e-6)


def test_answers_and_gradients_are_those_of_a_layer_over_the_whole_vocabulary():
    net = built()
    rows = torch.from_numpy(over_vocabulary(net))
    net(IDS)[:, 0].sum().backward()
    torch.testing.assert_close(net(IDS), net.head(rows))
    torch.testing.assert_close(net.head.weight.grad[0], rows.sum(dim=0))
    assert not net.head.weight.grad[0, 0] and not net.head.weight.grad[1].any()


def test_an_empty_text_is_answered_with_the_bias():
    net = built()
    torch.testing.assert_close(net(torch.zeros(1, 3, dtype=torch.int64))[0], net.head.bias)


def test_dropout_leaves_tokens_out_in_training_alone():
    net = built(dropout=0.5)
    assert not torch.equal(net(IDS), net(IDS))
    assert torch.equal(net.eval()(IDS), built().eval()(IDS))
