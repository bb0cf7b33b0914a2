import copy
import types

import numpy as np
import pytest
import torch

from pipeline import config, network, starting
from pipeline.errors import ConfigError
from pipeline.examples import Split, TextInputs
from pipeline.fit import loop
from pipeline.fit.settings import Config, Freeze
from pipeline.models import resnet, textcnn, transformer
from pipeline.optimizers import adamw
from pipeline.targets import Target
from pipeline.texts import Texts
from tests.contracts.test_models import TEXTS, module_of

INPUTS, TWO = TextInputs(12, 6), Target("classes", ("a", "b"))
VALUE = Target("value", ("price",), 3.0, 2.0)
EMBEDDED = [name for name in TEXTS if hasattr(module_of[name], "embedding")]
VECTORS = np.random.default_rng(0).normal(1, 1, (12, 8)).astype(np.float32)


def built(target=TWO):
    torch.manual_seed(0)
    return network.network(textcnn, textcnn.Config(embedding=8, channels=8, kernels=(1, 2)), INPUTS, target)


@pytest.fixture
def features(tmp_path):
    np.save(tmp_path / "vectors.npy", VECTORS)
    return tmp_path


def split():
    labels = np.arange(24) % 2
    return Split(labels, np.eye(2, dtype=np.float32)[labels], texts=Texts.of([[2 + k, 4, 5 + k] for k in labels]))


def trained(features, vectors, **more):
    one = built()
    starting.embed(one.body, textcnn, features, vectors)
    settings = Config(epochs=2, batch_size=8, optimizer=adamw.Config(learning_rate=0.05), vectors=vectors, **more)
    found = loop.fit(one.net, one.stages, loop.Data(split(), split(), INPUTS, TWO), settings)
    return one, found.state["embedding.weight"].numpy()


@pytest.mark.parametrize("target", [TWO, VALUE])
def test_the_embedding_starts_from_the_vectors_and_padding_stays_zero(features, target):
    one = built(target)
    before = copy.deepcopy(one.net.state_dict())
    starting.embed(one.body, textcnn, features, "off")
    assert all(torch.equal(value, before[name]) for name, value in one.net.state_dict().items())
    starting.embed(one.body, textcnn, features, "start")
    name = "embedding.weight" if target is TWO else "body.embedding.weight"
    found = one.net.state_dict()[name].numpy()
    assert np.array_equal(found[1:], VECTORS[1:]) and not found[0].any()
    assert dict(one.net.named_parameters())[name].requires_grad
    changed = {key for key, value in one.net.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {name}


def test_a_start_is_trained_on_and_a_fixed_one_never_is(features):
    _, free = trained(features, "start")
    assert not np.array_equal(free[1:], VECTORS[1:])
    for more in ({}, {"freeze": Freeze(1, 1)}, {"layer_decay": 0.5}):
        one, fixed = trained(features, "fixed", **more)
        assert np.array_equal(fixed[1:], VECTORS[1:]) and not fixed[0].any()
        assert "embedding.weight" not in dict(one.net.named_parameters())
    head = one.net.state_dict()["head.weight"]
    assert not torch.equal(head, built().net.state_dict()["head.weight"])


def test_the_weights_of_a_fixed_one_are_loaded_like_any_other(features):
    one, _ = trained(features, "fixed")
    fresh = built().net
    fresh.load_state_dict(one.net.state_dict())
    ids = torch.tensor([[2, 4, 5, 0]])
    assert torch.equal(fresh.eval()(ids), one.net.eval()(ids))


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_model_with_an_embedding_trains_what_is_above_a_fixed_one(name, tmp_path):
    module = config.plugin("models", name, "model.name")
    one = network.network(module, module.Config(), INPUTS, TWO)
    vectors = np.ones(module.embedding(one.body).weight.shape, np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    starting.embed(one.body, module, tmp_path, "fixed")
    one.net(torch.tensor([[2, 3, 4], [5, 6, 0]])).sum().backward()
    assert all(weight.grad is not None for weight in one.net.parameters())
    starting.release(one.body, module, "fixed")
    assert np.array_equal(module.embedding(one.body).weight.detach().numpy()[1:], vectors[1:])


def test_once_trained_a_fixed_one_is_a_parameter_again(features):
    one, found = trained(features, "fixed")
    starting.release(one.body, textcnn, "fixed")
    assert {name for name, _ in one.net.named_parameters()} == {name for name, _ in built().net.named_parameters()}
    assert np.array_equal(one.net.state_dict()["embedding.weight"].numpy(), found)
    starting.release(one.body, resnet, "off")


def test_what_does_not_fit_is_named(features, tmp_path):
    with pytest.raises(ConfigError, match=r"has 8 values a word .*textcnn has model\.embedding 16 .*embedding: 8"):
        other = network.network(textcnn, textcnn.Config(embedding=16), INPUTS, TWO)
        starting.embed(other.body, textcnn, features, "start")
    np.save(tmp_path / "vectors.npy", VECTORS[:, :4])
    with pytest.raises(ConfigError, match=r"has 4 values a word .*; set model\.embedding: 4$"):
        starting.embed(built().body, textcnn, tmp_path, "start")
    assert config.parse(textcnn.Config, {"embedding": 4}, "model").embedding == 4
    with pytest.raises(ConfigError, match=r"has 4 values .*transformer has model\.width .*; take vectors of another"):
        net = network.network(transformer, transformer.Config(), INPUTS, TWO)
        starting.embed(net.body, transformer, tmp_path, "start")
    with pytest.raises(ConfigError, match=r"found fixed, where resnet has no embedding"):
        starting.embed(built().body, resnet, features, "fixed")
    with pytest.raises(ConfigError, match=r"but no .*vectors\.npy; .*set features\.vectors\.file"):
        starting.embed(built().body, textcnn, tmp_path / "none", "start")
    starting.embed(built().body, types.ModuleType("none"), tmp_path / "none", "off")
