import pytest
import torch

from pipeline.models import _pooling

IDS = torch.tensor([[4, 2, 3, 0, 0], [7, 0, 0, 0, 0], [0, 0, 0, 0, 0]])


def test_padding_does_not_count_but_the_first_of_an_empty_text():
    assert _pooling.lengths(IDS).tolist() == [[3], [1], [1]]
    assert _pooling.real(IDS).tolist() == [[True] * 3 + [False] * 2, [True] + [False] * 4, [True] + [False] * 4]


def test_attention_weighs_the_tokens_that_count_and_none_else():
    torch.manual_seed(0)
    weights = _pooling.Attention(4).weights(torch.randn(3, 5, 4), _pooling.real(IDS))[:, 0]
    assert weights.sum(dim=1).tolist() == pytest.approx([1, 1, 1])
    assert not weights[~_pooling.real(IDS)].any()
    assert (weights[0, :3] > 0).all() and len(set(weights[0, :3].tolist())) == 3


@pytest.mark.parametrize("name", ["mean", "max", "attention"])
def test_states_of_padding_are_never_read(name):
    torch.manual_seed(0)
    pooled, states = _pooling.pooling(name, 4), torch.randn(3, 5, 4)
    filled = torch.where(_pooling.real(IDS).unsqueeze(2), states, 1e3)
    torch.testing.assert_close(pooled(filled, _pooling.real(IDS)), pooled(states, _pooling.real(IDS)))


def test_means_and_maxima_are_of_the_tokens_that_count():
    states = torch.tensor([[[-3.0], [-2.0], [-7.0], [5.0], [5.0]]])
    real = _pooling.real(IDS[:1])
    assert _pooling.pooling("mean", 1)(states, real).item() == pytest.approx(-4)
    assert _pooling.pooling("max", 1)(states, real).item() == -2
