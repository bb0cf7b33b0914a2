import logging

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pipeline import export, graphs
from pipeline.compression import _tables, dynamic_int8, embedding_int4, embedding_int8, static_int8
from pipeline.examples import TextInputs
from tests import graph_bytes

TEXTS = TextInputs(400, 12)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


class Text(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.embedding = nn.Embedding(400, width, padding_idx=0)
        self.mix = nn.Linear(width, 64, bias=False)
        self.head = nn.Linear(64, 2)

    def forward(self, ids):
        return self.head(torch.relu(self.mix(self.embedding(ids))).amax(dim=1))


class Tied(Text):
    """Its table is also the matrix of what it answers."""

    def forward(self, ids):
        return self.head(self.mix(self.embedding(ids).amax(dim=1) @ self.embedding.weight.T @ self.embedding.weight))


def written(folder, net=None):
    export.export((net or Text()).eval(), TEXTS, folder / "fp32.onnx")
    return folder / "fp32.onnx"


def answers(path, ids):
    return graphs.answer(graphs.session(path))({"ids": ids})


def read(codes, scales, bits, width, block):
    """The table that the codes stand for, by the operator's definition."""
    if bits == 4:
        codes = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), -1)
    return (codes.astype(np.float32) - (1 << (bits - 1))) * np.repeat(scales, block, axis=1)[:, :width]


@pytest.mark.parametrize(("bits", "block"), [(8, 64), (4, 32), (4, 16)])
def test_codes_are_within_half_a_step_and_zero_is_exact(bits, block):
    table = np.random.default_rng(0).normal(size=(50, 48)).astype(np.float32)
    table[0], table[7, 3] = 0, 0
    codes, scales = _tables.quantised(table, bits, block)
    found = read(codes, scales, bits, 48, block)
    steps = np.repeat(scales, block, axis=1)[:, :48]
    cut = np.abs(table) > steps * ((1 << (bits - 1)) - 1)  # values that a smaller scale leaves out
    assert (np.abs(found - table) <= 0.51 * steps)[~cut].all()
    assert cut.mean() < 0.1
    assert (found[0] == 0).all() and found[7, 3] == 0 and (scales > 0).all()


def test_four_bits_cut_off_what_the_others_gain_by():
    table = np.random.default_rng(0).normal(size=(500, 32)).astype(np.float32)
    found = read(*_tables.quantised(table, 4, 32), 4, 32, 32)
    plain = np.abs(table).max(axis=1, keepdims=True) / 7
    assert np.square(found - table).mean() < 0.85 * np.square(np.rint(table / plain) * plain - table).mean()


@pytest.mark.parametrize(("module", "bits", "block"), [(embedding_int8, 8, 64), (embedding_int4, 4, 32)])
def test_the_graph_looks_up_what_the_codes_stand_for(tmp_path, module, bits, block):
    """48 values a row are no multiple of 32."""
    trained = Text()
    source = written(tmp_path, trained)
    module.compress(source, tmp_path / "made.onnx", module.Config(), [])
    net = Text().eval()
    net.load_state_dict(trained.state_dict())
    with torch.no_grad():
        table = net.embedding.weight.numpy()
        net.embedding.weight.copy_(torch.from_numpy(read(*_tables.quantised(table, bits, block), bits, 48, block)))
        ids = export.sample(TEXTS, 5)
        np.testing.assert_allclose(answers(tmp_path / "made.onnx", ids), net(torch.from_numpy(ids)), atol=1e-5)
    assert module.present(tmp_path / "made.onnx") == 1
    assert "Gather" not in graphs.operators(tmp_path / "made.onnx")


@pytest.mark.parametrize(("module", "most"), [(embedding_int8, 0.28), (embedding_int4, 0.18)])
def test_a_table_takes_that_share_of_its_bytes(tmp_path, module, most):
    source = written(tmp_path, Text(128))
    module.compress(source, tmp_path / "made.onnx", module.Config(), [])
    rest = 4 * (128 * 64 + 64 * 2 + 2) + 8  # and the axis of the maximum
    before, after = (sum(graph_bytes.weight_bytes(path).values()) - rest for path in (source, tmp_path / "made.onnx"))
    assert before == 4 * 400 * 128 and after < most * before


@pytest.mark.parametrize("scheme", [dynamic_int8, static_int8])
def test_int8_leaves_such_a_table_and_takes_the_rest(tmp_path, scheme):
    source, ids = written(tmp_path), export.sample(TEXTS, 8)
    embedding_int4.compress(source, tmp_path / "int4.onnx", embedding_int4.Config(), [])
    scheme.compress(
        tmp_path / "int4.onnx", tmp_path / "both.onnx", scheme.Config(), [{"ids": row[None]} for row in ids]
    )
    assert embedding_int4.present(tmp_path / "both.onnx") == 1
    assert graphs.share(tmp_path / "both.onnx", {"int8", "uint8"}) > 0.99
    assert (tmp_path / "both.onnx").stat().st_size < (tmp_path / "int4.onnx").stat().st_size - 2 * 48 * 64
    away = np.abs(answers(tmp_path / "both.onnx", ids) - answers(tmp_path / "int4.onnx", ids)).max()
    assert away < 0.05
    scheme.compress(source, tmp_path / "alone.onnx", scheme.Config(), [{"ids": row[None]} for row in ids])
    count = {name: scheme.present(tmp_path / f"{name}.onnx") for name in ("alone", "both")}
    assert count["both"] == count["alone"] - 1 >= 1  # without the table


@pytest.mark.parametrize(
    ("module", "net", "why"),
    [
        (embedding_int4, Text(47), "two share a byte"),
        (embedding_int8, Text(8), "saves too little"),
        (embedding_int8, Tied(), "read by more than look-ups"),
    ],
)
def test_a_table_that_cannot_be_stored_so_is_named_and_left(tmp_path, caplog, module, net, why):
    source = written(tmp_path, net)
    with caplog.at_level(logging.INFO):
        module.compress(source, tmp_path / "made.onnx", module.Config(), [])
    assert "embedding.weight stays fp32" in caplog.text and why in caplog.text
    assert module.present(tmp_path / "made.onnx") == 0
    ids = export.sample(TEXTS, 3)
    np.testing.assert_array_equal(answers(tmp_path / "made.onnx", ids), answers(source, ids))


def test_two_tables_are_both_stored_so_and_other_constants_are_not(tmp_path):
    class Two(Text):
        def __init__(self):
            super().__init__()
            self.other = nn.Embedding(400, 48, padding_idx=0)

        def forward(self, ids):
            return self.head(self.mix(self.embedding(ids) + self.other(ids)).amax(dim=1))

    source = written(tmp_path, Two())
    embedding_int8.compress(source, tmp_path / "made.onnx", embedding_int8.Config(), [])
    assert embedding_int8.present(tmp_path / "made.onnx") == 2
    names = {tensor.name for tensor in onnx.load(tmp_path / "made.onnx").graph.initializer}
    assert not {"embedding.weight", "other.weight"} & names
