import numpy as np
import onnx
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import nn

from pipeline import export, graphs, network
from pipeline.compression import dynamic_int8, embedding_int4, static_int8
from pipeline.examples import Split, TextInputs
from pipeline.models import lstm
from pipeline.targets import Target
from pipeline.texts import Texts
from tests import graph_bytes

COEFFICIENTS = np.array([[1.0, -2.0, 0.5, 0.0], [0.0, 3.0, -1.0, 2.0]], np.float32)
INTERCEPT = np.array([0.1, -0.1], np.float32)


def rows():
    weights = csr_matrix(np.array([[0.5, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 2, 0, 0]], np.float32))
    return weights, np.array([0, 1, 0, 1])


def test_terms_are_padded_with_the_column_after_the_last():
    weights, labels = rows()
    feed = graphs.of_terms(weights, labels).read(np.array([0, 2]))
    assert feed["terms"].tolist() == [[0, 3, 4, 4], [0, 1, 2, 3]]
    assert feed["weights"].tolist() == [[0.5, 1, 0, 0], [1, 1, 1, 1]]


def test_texts_without_any_term_are_answered():
    examples = graphs.of_terms(csr_matrix((2, 3), dtype=np.float32), np.array([0, 1]))
    feed = examples.read(np.array([0, 1]))
    assert feed["terms"].tolist() == [[3], [3]]
    assert feed["weights"].tolist() == [[0], [0]]


def test_probabilities_keep_the_order_of_the_split(tmp_path):
    weights, labels = rows()
    export.linear(COEFFICIENTS, INTERCEPT, tmp_path / "linear.onnx")
    logits = graphs.answer(graphs.session(tmp_path / "linear.onnx"))
    found = graphs.answers(logits, graphs.of_terms(weights, labels), batch_size=2)
    expected = np.exp(weights @ COEFFICIENTS.T + INTERCEPT)
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), atol=1e-6)


def test_examples_of_a_network_are_named_as_its_input():
    split = Split(np.array([0, 1]), np.eye(2, dtype=np.float32), texts=Texts.of([[3], [4, 5]]))
    examples = graphs.of_net(split, TextInputs(10, 8))
    assert examples.read(np.array([0, 1]))["ids"].tolist() == [[3, 0], [4, 5]]
    assert [feed["ids"].tolist() for feed in examples.spread(5)] == [[[3]], [[4, 5]]]


def test_spread_takes_first_and_last():
    weights, labels = rows()
    feeds = graphs.of_terms(weights, labels).spread(2)
    assert [feed["terms"].shape for feed in feeds] == [(1, 2), (1, 1)]


def test_what_is_inside_a_graph(tmp_path):
    export.linear(COEFFICIENTS, INTERCEPT, tmp_path / "linear.onnx")
    assert graphs.operators(tmp_path / "linear.onnx")["Gather"] == 1
    assert graph_bytes.weight_bytes(tmp_path / "linear.onnx")["float32"] == 4 * (5 * 2 + 2)
    assert graphs.quantised(tmp_path / "linear.onnx") == 0


TEXTS = TextInputs(100, 8)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(100, 32, padding_idx=0)
        self.mix = nn.Linear(32, 64, bias=False)
        self.head = nn.Linear(64, 32)

    def forward(self, ids):
        return self.head(torch.relu(self.mix(self.embedding(ids))).amax(dim=1))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """The graphs of two networks: by matrices, and recurrent."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("words")
    settings = lstm.Config(embedding=32, width=32, directions="one", pooling="max")
    recurrent = network.network(lstm, settings, TEXTS, Target("classes", ("a", "b"))).net
    for name, net in {"matrices": Words(), "recurrent": recurrent}.items():
        export.export(net.eval(), TEXTS, folder / f"{name}.onnx")
    return folder


@pytest.mark.parametrize(
    ("scheme", "net", "scales"),
    [
        (static_int8, "matrices", 6),
        (dynamic_int8, "matrices", 3),
        (dynamic_int8, "recurrent", 4),
        (embedding_int4, "recurrent", 1),
    ],
)
@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_a_graph_with_one_corrupted_scale_is_unsound(words, tmp_path, scheme, net, scales, bad):
    made = tmp_path / "made.onnx"
    scheme.compress(words / f"{net}.onnx", made, scheme.Config(), [{"ids": r[None]} for r in export.sample(TEXTS, 8)])
    assert graphs.unsound(made) == []
    read = graphs.scales(onnx.load(made))
    assert len(read) >= scales, sorted(read)
    for name, node in read.items():
        broken = onnx.load(made)
        tensor = next(tensor for tensor in broken.graph.initializer if tensor.name == name)
        array = onnx.numpy_helper.to_array(tensor).copy()
        array.reshape(-1)[-1] = bad
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))
        export.save(broken, tmp_path / "broken.onnx")
        assert graphs.unsound(tmp_path / "broken.onnx") == [node]


def test_the_share_of_weights_that_are_stored_so(words, tmp_path):
    source = words / "matrices.onnx"
    table, matrices, bias = 100 * 32, 32 * 64 + 64 * 32, 32
    every = table + matrices + bias
    assert graphs.share(source, {"float32"}) == 1
    embedding_int4.compress(source, tmp_path / "table.onnx", embedding_int4.Config(), [])
    assert graphs.share(tmp_path / "table.onnx", {"uint8"}) == pytest.approx(table / every)  # two codes a byte
    assert graphs.quantised(tmp_path / "table.onnx") == 0  # its operators compute in fp32
    dynamic_int8.compress(source, tmp_path / "int8.onnx", dynamic_int8.Config(), [])
    expected = (table + matrices) / every
    assert graphs.share(tmp_path / "int8.onnx", {"int8", "uint8"}) == pytest.approx(expected, abs=0.01)
