import numpy as np
from scipy.sparse import csr_matrix

from pipeline import export, graphs
from pipeline.examples import Split, TextInputs
from pipeline.texts import Texts

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
    assert graphs.weight_bytes(tmp_path / "linear.onnx")["float32"] == 4 * (5 * 2 + 2)
    assert graphs.quantised(tmp_path / "linear.onnx") == 0
