"""What holds for rnn, lstm and gru alike; each one's own test file takes the tests over."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline import export, graphs
from pipeline.examples import TextInputs

INPUTS = TextInputs(30, 12)
POOLINGS, DIRECTIONS = ("last", "mean", "max", "attention"), ("one", "both")
TEXT = torch.tensor([[5, 9, 4, 7]])


def built(module, **settings):
    torch.manual_seed(0)
    return module.build(module.Config(8, 6, **settings), inputs=INPUTS, outputs=2).eval()


def states(net, ids):
    """Of the last layer, by a loop of one token after the other over each text without its padding, [T, D]."""
    x = net.embedding(ids)
    for layer in net.layers:
        ahead = [layer.ahead(x[:, : k + 1])[0][:, -1] for k in range(x.shape[1])]
        found = torch.stack(ahead, dim=1)
        if layer.back is not None:
            back = [layer.back(x[:, k:].flip(1))[0][:, -1] for k in range(x.shape[1])]
            found = torch.cat([found, torch.stack(back, dim=1)], dim=2)
        x = found
    return x[0]


def answers_alike(net, graph):
    """By the graph as by the network: texts of all lengths in one batch, an empty one among them, and one alone."""
    answer = graphs.answer(graphs.session(graph))
    for count, tokens in ((1, 1), (2, 5), (7, 12)):
        ids = torch.randint(1, 30, (count, tokens), generator=torch.Generator().manual_seed(0))
        for k in range(1, count):
            ids[k, tokens - 2 * k :] = 0
        with torch.inference_mode():
            expected = net(ids)
        torch.testing.assert_close(torch.from_numpy(answer({"ids": ids.numpy()})), expected, atol=1e-4, rtol=1e-4)


class Recurrent:
    """`module` is the model's file, `operator` the graph's own for it."""

    module = None
    operator = ""

    @pytest.mark.parametrize("directions", DIRECTIONS)
    @pytest.mark.parametrize("pooling", POOLINGS)
    def test_padding_never_changes_an_answer(self, pooling, directions):
        net = built(self.module, pooling=pooling, directions=directions, layers=2)
        longer = torch.tensor([[3, 8, 2, 6, 11, 4, 9]])
        both = torch.cat([functional.pad(TEXT, (0, 3)), longer])
        torch.testing.assert_close(net(both), torch.cat([net(TEXT), net(longer)]), atol=1e-6, rtol=1e-5)
        with torch.no_grad():
            net.embedding.weight[0] = 7.0  # whatever padding is taken for
        torch.testing.assert_close(net(both)[:1], net(TEXT), atol=1e-6, rtol=1e-5)

    @pytest.mark.parametrize("directions", DIRECTIONS)
    def test_each_pooling_reads_the_states_that_it_says(self, directions):
        padded = functional.pad(TEXT, (0, 4))
        for pooling in POOLINGS:
            net = built(self.module, pooling=pooling, directions=directions, layers=2)
            with torch.no_grad():
                found = states(net, TEXT)  # [T, D]
                expected = {
                    "last": torch.cat([found[-1, :6], found[0, 6:]]),  # where each direction ends
                    "mean": found.mean(dim=0),
                    "max": found.amax(dim=0),
                }
                if pooling == "attention":
                    shares = net.pooling.weights(found[None], torch.ones(1, 4, dtype=torch.bool))[0]
                    expected["attention"] = (shares @ found)[0]
                torch.testing.assert_close(net(padded)[0], net.head(expected[pooling]), atol=1e-6, rtol=1e-5)

    def test_two_directions_read_what_follows_a_token(self):
        changed = torch.tensor([[5, 9, 4, 8]])
        for directions, differs in (("one", False), ("both", True)):
            net = built(self.module, directions=directions)
            first = [states(net, ids)[0] for ids in (TEXT, changed)]
            assert torch.equal(*first) is not differs

    @pytest.mark.parametrize("pooling", POOLINGS)
    def test_every_parameter_is_trained_by_an_empty_text_among_others(self, pooling):
        net = built(self.module, pooling=pooling, layers=2).train()
        answers = net(torch.tensor([[5, 9, 4], [3, 0, 0], [0, 0, 0]]))
        functional.cross_entropy(answers, torch.tensor([0, 1, 1])).backward()
        assert all(p.grad.isfinite().all() and p.grad.any() for p in net.parameters())

    @pytest.mark.parametrize(
        ("layers", "pooling", "directions"), [(2, "attention", "both"), (1, "last", "both"), (1, "last", "one")]
    )
    def test_the_graph_has_an_operator_a_layer_and_any_number_of_texts_and_tokens(
        self, tmp_path, layers, pooling, directions
    ):
        net = built(self.module, pooling=pooling, directions=directions, layers=layers)
        export.export(net, INPUTS, tmp_path / "fp32.onnx")
        assert graphs.operators(tmp_path / "fp32.onnx")[self.operator] == layers
        answers_alike(net, tmp_path / "fp32.onnx")

    def test_the_graph_has_an_operator_a_direction_where_their_widths_differ(self, tmp_path):
        net = built(self.module, pooling="max")
        layer = net.layers[0]
        layer.back = type(layer.back)(8, 4, batch_first=True)
        net.head = nn.Linear(10, 2)
        export.export(net, INPUTS, tmp_path / "fp32.onnx")
        assert graphs.operators(tmp_path / "fp32.onnx")[self.operator] == 2
        answers_alike(net, tmp_path / "fp32.onnx")
