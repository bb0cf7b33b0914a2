"""What every file of pipeline/models/ keeps to; a new model is found and held to it without a line here."""

import importlib
import pkgutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from pipeline import models, network
from pipeline.examples import ImageInputs, TextInputs
from pipeline.targets import Target

MODELS = sorted(found.name for found in pkgutil.iter_modules(models.__path__) if not found.name.startswith("_"))
TARGET = Target("classes", ("a", "b", "c"))
INPUTS = {"image": ImageInputs(32, 40, 1, (0.4,), (0.2,)), "text": TextInputs(50, 16)}
SMALL_BERT = {"model_type": "bert", "vocab_size": 30, "hidden_size": 32, "num_hidden_layers": 2}
SMALL_BERT |= {"num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64}
SETTINGS = {"hugging_face": {"encoder": SMALL_BERT}}  # what differs from a model's defaults here
module_of = {name: importlib.import_module(f"pipeline.models.{name}") for name in MODELS}
IMAGES = [name for name in MODELS if module_of[name].KIND == "image"]
TEXTS = [name for name in MODELS if module_of[name].KIND == "text"]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(name, inputs=None, seed=0):
    module = module_of[name]
    torch.manual_seed(seed)
    return network.network(module, module.Config(**SETTINGS.get(name, {})), inputs or INPUTS[module.KIND], TARGET).net


def batch(name, size=6):
    """Arrays of which each third is of another class and looks different."""
    random = np.random.default_rng(0)
    labels = torch.arange(size) % 3
    if module_of[name].KIND == "image":
        images = random.integers(0, 60, (size, 32, 40, 1)) + 60 * labels.numpy()[:, None, None, None]
        return torch.from_numpy(images.astype(np.uint8)), labels
    ids = random.integers(10, 50, (size, 9))
    ids[:, 2] = 2 + labels.numpy()
    return torch.from_numpy(ids), labels


@pytest.mark.parametrize("name", MODELS)
def test_one_row_of_finite_logits_an_example(name):
    net = build(name).eval()
    arrays, _ = batch(name)
    for size in (1, 2, 6):
        logits = net(arrays[:size])
        assert logits.shape == (size, 3)
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_gives_the_same_network_and_another_seed_another(name):
    arrays, _ = batch(name)
    first, again, other = (build(name, seed=seed).eval()(arrays) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient(name):
    net = build(name)
    arrays, labels = batch(name)
    functional.cross_entropy(net(arrays), labels).backward()
    for parameter, value in net.named_parameters():
        assert value.grad is not None and value.grad.abs().sum() > 0, parameter


@pytest.mark.parametrize("name", MODELS)
def test_one_batch_can_be_overfitted(name):
    net = build(name)
    arrays, labels = batch(name)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(arrays), labels)
        loss.backward()
        optimizer.step()
    assert (net.eval()(arrays).argmax(dim=1) == labels).all()


@pytest.mark.parametrize("name", MODELS)
def test_saved_and_loaded_weights_give_equal_answers(name, tmp_path):
    net = build(name).eval()
    save_file(net.state_dict(), tmp_path / "weights.safetensors")
    other = build(name, seed=1).eval()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    arrays, _ = batch(name)
    assert torch.equal(net(arrays), other(arrays))


@pytest.mark.parametrize("name", MODELS)
def test_an_answer_does_not_depend_on_the_rest_of_the_batch(name):
    net = build(name).eval()
    arrays, _ = batch(name)
    alone = torch.cat([net(arrays[k : k + 1]) for k in range(len(arrays))])
    torch.testing.assert_close(net(arrays), alone)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize(("side", "channels"), [(32, 3), (64, 1), (112, 1)])
def test_images_of_every_size_in_grey_and_colour(name, side, channels):
    net = build(name, ImageInputs(side, side, channels, (0.5,) * channels, (0.2,) * channels)).eval()
    assert net(torch.zeros(2, side, side, channels, dtype=torch.uint8)).shape == (2, 3)


@pytest.mark.parametrize("name", TEXTS)
def test_padding_never_changes_an_answer(name):
    net = build(name).eval()
    ids, _ = batch(name)
    for padding in (1, 7, 40):
        padded = functional.pad(ids, (0, padding))
        torch.testing.assert_close(net(padded), net(ids), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", TEXTS)
def test_texts_of_one_token_and_of_none(name):
    net = build(name).eval()
    assert net(torch.tensor([[3], [4]])).isfinite().all()
    assert net(torch.tensor([[0]])).isfinite().all()
