import torch

from pipeline import export, graphs
from pipeline.models import rnn
from tests.models.recurrent import INPUTS, TEXT, Recurrent, built


class TestRNN(Recurrent):
    module = rnn
    operator = "RNN"


def test_the_activation_is_the_one_asked_for_in_the_graph_too(tmp_path):
    answers = {}
    for name in ("tanh", "relu"):
        net = built(rnn, activation=name)
        export.export(net, INPUTS, tmp_path / "fp32.onnx")
        found = graphs.answer(graphs.session(tmp_path / "fp32.onnx"))({"ids": TEXT.numpy()})
        with torch.inference_mode():
            answers[name] = net(TEXT)
        torch.testing.assert_close(torch.from_numpy(found), answers[name], atol=1e-5, rtol=1e-4)
    assert not torch.equal(answers["tanh"], answers["relu"])
