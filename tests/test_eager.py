import numpy as np
import pytest
import torch
from torch import nn

from pipeline import eager
from pipeline.errors import ConfigError


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 3)

    def forward(self, images):
        return self.head(torch.relu(self.hidden(images.float() / 255)))


@pytest.fixture
def toy():
    torch.manual_seed(0)
    return Toy().eval()


def batch(size=5):
    return {"images": np.random.default_rng(0).integers(0, 256, (size, 16), np.uint8)}


def test_a_batch_becomes_an_array(toy):
    found = eager.answering(toy, "cpu")(batch())
    with torch.inference_mode():
        np.testing.assert_array_equal(found, toy(torch.from_numpy(batch()["images"])).numpy())


@pytest.mark.parametrize("dtype", eager.HALVES.values())
def test_compiled_in_16_bits_answers_nearly_as_the_network_in_float32(toy, dtype):
    """By the compiler's own reference, which writes no code; a GPU's has the same way in."""
    expected = eager.answering(toy, "cpu")(batch())
    answer = eager.compiled(toy, "cpu", dtype, backend="eager")
    for size in (5, 1, 3):
        found = answer(batch(size))
        assert found.dtype == np.float32 and found.shape == (size, 3)
    away = np.abs(answer(batch()) - expected).max()
    assert 0 < away < 0.02
    assert toy.hidden.weight.dtype == torch.float32


def test_on_a_cpu_nothing_is_compiled(toy):
    assert eager.in_16_bits(toy, "cpu") == {}


def test_the_linear_model_sums_the_rows_of_its_terms():
    coefficients, intercept = np.array([[1.0, -2.0, 0.5]], np.float32), np.array([0.25], np.float32)
    answer = eager.answering(eager.OfTerms(coefficients, intercept), "cpu")
    feed = {"terms": np.array([[0, 1], [2, 3]]), "weights": np.array([[1.0, 0.5], [2.0, 0.0]], np.float32)}
    assert answer(feed).tolist() == [[0.25], [1.25]]


def test_cuda_without_a_device_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"t\.device: found cuda, where PyTorch .* sees no CUDA device; .*or set cpu"):
        eager.require("cuda", "t.device")
    eager.require("cpu", "t.device")


@pytest.mark.gpu
def test_a_gpu_answers_as_the_cpu_and_the_network_stays_where_it_was(toy):
    expected = eager.answering(toy, "cpu")(batch())
    np.testing.assert_allclose(eager.answering(toy, "cuda")(batch()), expected, atol=1e-2)
    found = eager.in_16_bits(toy, "cuda")
    assert found.keys() == {"torch_fp16", "torch_bf16"}
    for answer in found.values():
        np.testing.assert_allclose(answer(batch()), expected, atol=2e-2)
    assert next(toy.parameters()).device.type == "cpu"
