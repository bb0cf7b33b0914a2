"""What every file of pipeline/models/ keeps to, for every kind of target; a new model is found and held to it without a
line here, or with one in SETTINGS where it cannot be built as it is, or is too large for that.

O outputs, B examples of a batch.
"""

import functools
import importlib
import pkgutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline import compression, config, distributed, export, graphs, models, network, targets, variants
from pipeline.errors import ConfigError
from pipeline.examples import ImageInputs, Split, TextInputs
from pipeline.fit import objective
from pipeline.fit.settings import Config
from pipeline.targets import Target
from tests import graph_bytes

SMALL_BERT = {"model_type": "bert", "vocab_size": 30, "hidden_size": 32, "num_hidden_layers": 2}
SMALL_BERT |= {"num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64}
SETTINGS = {"hugging_face": {"encoder": SMALL_BERT}}  # by model: what differs here from its defaults
STEPS, RATE = 50, 3e-3
RATES = {"linear": 3e-2, "fasttext": 2e-2}  # of those without a hidden layer, whose answers move little a step
MODELS = sorted(found.name for found in pkgutil.iter_modules(models.__path__) if not found.name.startswith("_"))
SCHEMES = sorted(found.name for found in pkgutil.iter_modules(compression.__path__) if not found.name.startswith("_"))
KINDS = {
    "classes": Target("classes", ("a", "b", "c")),
    "labels": Target("labels", ("a", "b", "c")),
    "value": Target("value", ("share",), mean=3.0, std=0.5),
}
ANSWERS = {  # of the three sorts of examples in a batch
    "classes": np.eye(3, dtype=np.float32),
    "labels": np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0]], np.float32),
    "value": np.array([[2.4], [3.0], [3.6]], np.float32),
}
INPUTS = {"image": ImageInputs(32, 40, 1, (0.4,), (0.2,)), "text": TextInputs(50, 16)}
module_of = {name: importlib.import_module(f"pipeline.models.{name}") for name in MODELS}
IMAGES = [name for name in MODELS if module_of[name].KIND == "image"]
TEXTS = [name for name in MODELS if module_of[name].KIND == "text"]
every_model = pytest.mark.parametrize("name", MODELS)
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(name, kind="classes", inputs=None, seed=0):
    module = module_of[name]
    settings = config.parse(module.Config, SETTINGS.get(name, {}), "model")
    torch.manual_seed(seed)
    return network.network(module, settings, inputs or INPUTS[module.KIND], KINDS[kind])


def batch(name, size=6):
    """Arrays of which each third looks different, and their sorts."""
    random = np.random.default_rng(0)
    sorts = np.arange(size) % 3
    if module_of[name].KIND == "image":
        images = random.integers(0, 60, (size, 32, 40, 1)) + 60 * sorts[:, None, None, None]
        return torch.from_numpy(images.astype(np.uint8)), sorts
    ids = random.integers(10, 50, (size, 9))
    ids[:, 2] = 2 + sorts
    return torch.from_numpy(ids), sorts


def loss_of(kind, sorts):
    """The loss that training takes for this kind if none is named, as a function of outputs [B, O]."""
    wanted = ANSWERS[kind][sorts]
    found = objective.objective(Config(), KINDS[kind], Split(sorts, wanted), torch.device("cpu"))
    return lambda outputs: found(outputs, torch.from_numpy(wanted)).mean()


def right(kind, outputs, sorts):
    """Whether each answer is the right one: of values, the nearest of the three."""
    answers = targets.read(outputs, kind)
    if kind == "classes":
        return (answers.argmax(axis=1) == sorts).all()
    if kind == "labels":
        return ((answers > 0.5) == (ANSWERS[kind][sorts] > 0.5)).all()
    return (np.abs(answers - ANSWERS[kind].T).argmin(axis=1) == sorts).all()


@functools.cache
def overfitted(name, kind):
    net = build(name, kind).net
    arrays, sorts = batch(name)
    loss_at = loss_of(kind, sorts)
    optimizer = torch.optim.AdamW(net.parameters())
    for k in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATES.get(name, RATE) * (1 - k / STEPS)
        optimizer.zero_grad()
        loss_at(net(arrays)).backward()
        optimizer.step()
    return net.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The graph of an overfitted network, by model and kind. Labels are classes to a graph: logits."""

    @functools.cache
    def graph(name, kind):
        path = tmp_path_factory.mktemp(f"{name}-{kind}") / "fp32.onnx"
        export.export(overfitted(name, kind), INPUTS[module_of[name].KIND], path)
        return path

    return graph


def answers_of(graph):
    run = graphs.session(graph)
    return lambda arrays: graphs.answer(run)({run.get_inputs()[0].name: arrays})


@every_kind
@every_model
def test_one_row_of_finite_numbers_an_example(name, kind):
    net = build(name, kind).net.eval()
    arrays, _ = batch(name)
    for size in (1, 2, 6):
        outputs = net(arrays[:size])
        assert outputs.shape == (size, KINDS[kind].outputs)
        assert outputs.dtype == torch.float32
        assert outputs.isfinite().all()


@every_model
def test_the_same_seed_gives_the_same_network_and_another_seed_another(name):
    arrays, _ = batch(name)
    first, again, other = (build(name, seed=seed).net.eval()(arrays) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@every_kind
@every_model
def test_every_parameter_gets_a_gradient(name, kind):
    net = build(name, kind).net
    arrays, sorts = batch(name)
    loss_of(kind, sorts)(net(arrays)).backward()
    for parameter, value in net.named_parameters():
        assert value.grad is not None and value.grad.abs().sum() > 0, parameter


@every_kind
@every_model
def test_one_batch_can_be_overfitted(name, kind):
    arrays, sorts = batch(name)
    before, after = (net.eval()(arrays).detach().numpy() for net in (build(name, kind).net, overfitted(name, kind)))
    assert right(kind, after, sorts)
    assert not right(kind, before, sorts)


@every_kind
@every_model
def test_saved_and_loaded_weights_give_equal_answers(name, kind, tmp_path):
    net = overfitted(name, kind)
    save_file(net.state_dict(), tmp_path / "weights.safetensors")
    other = build(name, kind, seed=1).net.eval()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    arrays, _ = batch(name)
    assert torch.equal(net(arrays), other(arrays))


@every_kind
@every_model
def test_an_answer_does_not_depend_on_the_rest_of_the_batch(name, kind):
    net = overfitted(name, kind)
    arrays, _ = batch(name)
    with torch.inference_mode():
        alone = torch.cat([net(arrays[k : k + 1]) for k in range(len(arrays))])
        torch.testing.assert_close(net(arrays), alone, atol=1e-4, rtol=1e-4)


@every_kind
@every_model
def test_its_stages_have_every_weight_once_and_end_with_the_head(name, kind):
    built = build(name, kind)
    owned = [id(p) for stage in built.stages for p in stage.parameters()]
    assert len(owned) == len(set(owned))
    assert set(owned) == {id(p) for p in built.net.parameters()}
    head = built.stages[-1]
    assert any(head is layer for layer in built.net.modules())
    assert KINDS[kind].outputs in {len(p) for p in head.parameters()}
    assert all(any(True for _ in stage.parameters()) for stage in built.stages)


@every_model
def test_its_stages_follow_where_batch_norms_are_made_to_count_over_all_ranks(name):
    built = build(name)
    weights = [[id(p) for p in stage.parameters()] for stage in built.stages]
    net, stages = distributed.converted(built.net, built.stages)
    norms = [part for part in net.modules() if isinstance(part, _BatchNorm)]
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert [[id(p) for p in stage.parameters()] for stage in stages] == weights
    inside = {part for stage in stages for part in stage.modules()}
    assert inside >= set(norms) and not any(type(part) in (nn.BatchNorm1d, nn.BatchNorm2d) for part in inside)


@every_kind
@every_model
def test_the_exported_graph_serves_the_same_numbers_at_any_batch_size(name, kind, exported):
    net, answer = overfitted(name, kind), answers_of(exported(name, "value" if kind == "value" else "classes"))
    if kind == "labels":
        net = overfitted(name, "classes")  # the same graph: how its logits are read is what differs
    for size in (1, 2, 7):
        arrays = export.sample(INPUTS[module_of[name].KIND], size)
        with torch.inference_mode():
            expected = net(torch.from_numpy(arrays)).numpy()
        found = answer(arrays)
        assert found.shape == (size, KINDS[kind].outputs)
        np.testing.assert_allclose(targets.read(found, kind), targets.read(expected, kind), atol=1e-4, rtol=0)


@pytest.mark.parametrize("scheme", SCHEMES)
@every_model
def test_its_graph_is_compressed_and_goes_on_answering(name, scheme, exported, tmp_path):
    graph, module = exported(name, "classes"), config.plugin("compression", scheme, "compress.schemes")
    if hasattr(module, "installed") and not module.installed():
        pytest.skip(f"{scheme} lacks its package")
    arrays, sorts = batch(name, 12)
    arrays = arrays.numpy()
    reader = "images" if module_of[name].KIND == "image" else "ids"
    feeds = [{reader: arrays[k : k + 1]} for k in range(len(arrays))]
    module.compress(graph, tmp_path / "int8.onnx", module.Config(), feeds)
    answer = answers_of(tmp_path / "int8.onnx")
    for size in (1, 2, 7):
        assert np.isfinite(answer(export.sample(INPUTS[module_of[name].KIND], size))).all()
    ranging = not graphs.operators(graph).keys().isdisjoint(variants.RANGING)
    if scheme == ("dynamic_int8" if ranging else "static_int8"):  # what compress.schemes: auto takes
        assert graphs.quantised(tmp_path / "int8.onnx")
        before, after = (graph_bytes.weight_bytes(path)["float32"] for path in (graph, tmp_path / "int8.onnx"))
        assert after < 0.95 * before  # how much less a text network's, is a matter of tests/compression/
        if reader == "images":
            assert (tmp_path / "int8.onnx").stat().st_size < 0.6 * graph.stat().st_size
        learnt, _ = batch(name)
        assert right("classes", answer(learnt.numpy()), sorts[:6])


@every_model
def test_a_misspelt_setting_is_refused(name):
    with pytest.raises(ConfigError, match="unknown key"):
        config.parse(module_of[name].Config, {"widht": 3}, "model")


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize(("side", "channels"), [(32, 3), (64, 1), (112, 1)])
def test_images_of_every_size_in_grey_and_colour(name, side, channels):
    net = build(name, inputs=ImageInputs(side, side, channels, (0.5,) * channels, (0.2,) * channels)).net.eval()
    assert net(torch.zeros(2, side, side, channels, dtype=torch.uint8)).shape == (2, 3)


@pytest.mark.parametrize("name", TEXTS)
def test_padding_never_changes_an_answer(name):
    net = overfitted(name, "classes")
    ids, _ = batch(name)
    for padding in (1, 7, 40):
        padded = functional.pad(ids, (0, padding))
        torch.testing.assert_close(net(padded), net(ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", TEXTS)
def test_texts_of_one_token_and_of_none(name):
    net = build(name).net.eval()
    assert net(torch.tensor([[3], [4]])).isfinite().all()
    assert net(torch.tensor([[0]])).isfinite().all()
