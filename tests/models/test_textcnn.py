import pytest
import torch
from torch.nn import functional

from pipeline import config
from pipeline.errors import ConfigError
from pipeline.examples import TextInputs
from pipeline.models import textcnn


def test_embeddings_start_at_a_tenth_and_padding_at_zero():
    net = textcnn.build(textcnn.Config(), inputs=TextInputs(2000, 16), outputs=2)
    assert net.embedding.weight[1:].std().item() == pytest.approx(0.1, rel=0.05)
    assert not net.embedding.weight[0].any()


@pytest.mark.parametrize("kernels", [[], [3, 3]])
def test_no_kernels_and_kernels_that_repeat_are_refused(kernels):
    with pytest.raises(ConfigError, match="expected different numbers of tokens"):
        config.parse(textcnn.Config, {"kernels": kernels}, "model")


def test_a_text_shorter_than_the_widest_kernel_reads_all_its_tokens():
    torch.manual_seed(0)
    net = textcnn.build(textcnn.Config(kernels=(7,)), inputs=TextInputs(20, 16), outputs=2).eval()
    assert not torch.equal(net(torch.tensor([[2, 3]])), net(torch.tensor([[2, 4]])))


def test_padding_changes_no_answer_even_where_every_window_answers_below_the_bias():
    torch.manual_seed(0)
    net = textcnn.build(textcnn.Config(), inputs=TextInputs(20, 16), outputs=2).eval()
    with torch.no_grad():
        for convolution in net.convolutions:
            convolution.weight.copy_(-convolution.weight.abs())
            convolution.bias.fill_(1.0)
        net.embedding.weight[1:].abs_()
    ids = torch.tensor([[2, 3, 4, 5, 6, 7, 8]])
    padded = functional.pad(ids, (0, 9))
    torch.testing.assert_close(net(ids), net(padded))


@pytest.mark.parametrize("name", ["gelu", "silu", "tanh", "sigmoid", "leaky_relu"])
def test_padding_changes_no_answer_with_any_activation(name):
    answers = {}
    for activation in ("relu", name):
        torch.manual_seed(0)
        net = textcnn.build(textcnn.Config(activation=activation), inputs=TextInputs(20, 16), outputs=2).eval()
        ids = torch.tensor([[2, 3, 4, 5, 6, 7, 8]])
        answers[activation] = net(ids)
        torch.testing.assert_close(net(functional.pad(ids, (0, 9))), net(ids))
    assert not torch.allclose(answers["relu"], answers[name])
