"""What every file of pipeline/compression/ keeps to; a new scheme is found and held to it without a line here."""

import importlib
import pkgutil

import numpy as np
import pytest
import torch
from torch import nn

from pipeline import compression, config, export, graphs
from pipeline.examples import TextInputs
from tests import graph_bytes

SCHEMES = sorted(found.name for found in pkgutil.iter_modules(compression.__path__) if not found.name.startswith("_"))
INPUTS = TextInputs(500, 12)


class Toy(nn.Module):
    """Words, a matrix for each and a maximum: something for every scheme to make smaller."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(500, 64, padding_idx=0)
        self.mix = nn.Linear(64, 64, bias=False)
        self.head = nn.Linear(64, 2)

    def forward(self, ids):
        return self.head(torch.relu(self.mix(self.embedding(ids))).amax(dim=1))


@pytest.fixture(scope="module")
def fp32(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("toy") / "fp32.onnx"
    export.export(Toy().eval(), INPUTS, path)
    return path


def feeds(count=12):
    batches = export.sample(INPUTS, count)
    return [{"ids": batches[k : k + 1]} for k in range(count)]


@pytest.fixture(scope="module", params=SCHEMES)
def made(request, fp32, tmp_path_factory):
    module = importlib.import_module(f"pipeline.compression.{request.param}")
    if hasattr(module, "installed") and not module.installed():
        pytest.skip(f"{request.param} is not installed")
    target = tmp_path_factory.mktemp(request.param) / "made.onnx"
    module.compress(fp32, target, config.parse(module.Config, {}, "compress"), feeds())
    return module, target


def test_the_graph_is_one_smaller_file_with_weights_of_the_types_it_says(fp32, made):
    module, target = made
    assert target.stat().st_size < 0.55 * fp32.stat().st_size
    assert [file.name for file in target.parent.iterdir()] == ["made.onnx"]
    assert graphs.share(target, module.STORED) > 0.85 and module.present(target) >= 1
    assert graphs.share(fp32, module.STORED) == 0 and module.present(fp32) == 0
    assert graph_bytes.weight_bytes(target).keys() & set(module.STORED)


def test_every_scale_is_sound(made):
    assert graphs.unsound(made[1]) == []


def test_padding_still_counts_for_nothing(fp32, made):
    """Row 0 of the table is zero, and the toy has no bias before its maximum."""
    before, after = (graphs.answer(graphs.session(path)) for path in (fp32, made[1]))
    nothing = {"ids": np.zeros((1, 3), np.int64)}
    np.testing.assert_allclose(after(nothing), before(nothing), atol=2e-3)


def test_the_answers_stay_near(fp32, made):
    before, after = (graphs.answer(graphs.session(path)) for path in (fp32, made[1]))
    for feed in feeds():
        assert np.abs(before(feed) - after(feed)).max() < 0.1 * max(1, np.abs(before(feed)).max())


def test_batches_of_any_size_and_length_are_answered(made):
    answer = graphs.answer(graphs.session(made[1]))
    for size, length in ((1, 1), (2, 5), (7, 12)):
        assert answer({"ids": np.ones((size, length), np.int64)}).shape == (size, 2)


def test_an_answer_does_not_depend_on_the_rest_of_the_batch_nor_on_padding(made):
    answer = graphs.answer(graphs.session(made[1]))
    batch = np.concatenate([np.pad(feed["ids"], ((0, 0), (0, 7))) for feed in feeds()])
    alone = np.concatenate([answer(feed) for feed in feeds()])
    np.testing.assert_allclose(answer({"ids": batch}), alone, atol=1e-6)


def test_the_same_input_gives_the_same_bytes(fp32, made, tmp_path):
    module, target = made
    module.compress(fp32, tmp_path / "again.onnx", module.Config(), feeds())
    assert (tmp_path / "again.onnx").read_bytes() == target.read_bytes()


def test_the_source_is_left_as_it_was(fp32, made, tmp_path):
    before = fp32.read_bytes()
    made[0].compress(fp32, tmp_path / "again.onnx", made[0].Config(), feeds())
    assert fp32.read_bytes() == before
