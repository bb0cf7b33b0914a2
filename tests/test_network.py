import dataclasses
import importlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline import artifacts, export, shapes
from pipeline.errors import ConfigError, DataError
from pipeline.examples import ImageInputs, TextInputs
from pipeline.fit import loop
from pipeline.models import cnn, resnet, textcnn, torchvision, transformer
from pipeline.network import Valued, describe, fewer_words, load, network
from pipeline.targets import Target
from tests.fit.toys import CONFIG, TWO, images

VALUE = Target("value", ("kelvin",), mean=3000.0, std=2.0)
SMALL_BERT = {"model_type": "bert", "vocab_size": 30, "hidden_size": 32, "num_hidden_layers": 2}
SMALL_BERT |= {"num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64}
TEXTS = {
    "fasttext": {"embedding": 8, "buckets": 50},
    "hugging_face": {"encoder": SMALL_BERT},
    "linear": {},
    "lstm": {"embedding": 8, "width": 8},
    "textcnn": {"embedding": 8, "channels": 8},
    "transformer": {"width": 8, "heads": 2},
}
WORDS, ROWS = TextInputs(40, 12), 15
GREY = ImageInputs(64, 64, 1, (0.5,), (0.25,))
PRUNED = {  # image models that torch-pruning cuts, and how many sorts of convolutions they have
    "resnet": (resnet, resnet.Config(), 1),
    "resnet18": (torchvision, torchvision.Config("resnet18"), 1),
    "mobilenet": (torchvision, torchvision.Config("mobilenet_v3_small"), 2),  # of one group, and of a group a channel
}


def test_values_keep_their_digits_where_matrices_are_computed_in_few():
    torch.manual_seed(0)
    net = Valued(nn.Linear(4, 1), VALUE)
    arrays = torch.randn(64, 4)
    exact = net(arrays)
    with torch.autocast("cpu", torch.bfloat16):
        found = net(arrays)
    assert found.dtype is torch.float32 and len(found.unique()) > 32
    torch.testing.assert_close(found, exact, atol=0.05, rtol=0)


@pytest.mark.parametrize("memory_format", ["auto", "channels_last", "contiguous"])
def test_the_first_convolution_reads_the_memory_format_asked_for(memory_format):
    inputs = ImageInputs(8, 8, 3, (0.5,) * 3, (0.25,) * 3)
    built = network(cnn, cnn.Config(channels=(4,), dense=4), inputs, TWO)
    seen = []
    first = next(layer for layer in built.net.modules() if isinstance(layer, nn.Conv2d))
    first.register_forward_pre_hook(lambda _, given: seen.append(given[0].stride()))
    grey = images(16)
    split = dataclasses.replace(grey, images=np.repeat(grey.images, 3, axis=3))
    config = dataclasses.replace(CONFIG, epochs=1, memory_format=memory_format)
    loop.fit(built.net, built.stages, loop.Data(split, split, inputs, TWO), config)
    assert set(seen) == {(192, 64, 8, 1) if memory_format == "contiguous" else (192, 1, 24, 3)}


def knowing_less(name, target=TWO):
    """The model's file, its settings, a network that knows all words and one that knows the first of them."""
    module = importlib.import_module(f"pipeline.models.{name}")
    settings = module.Config(**TEXTS[name])
    torch.manual_seed(0)
    whole = network(module, settings, WORDS, target)
    with torch.no_grad():
        for value in whole.net.state_dict().values():
            value += torch.randn(value.shape) if value.is_floating_point() else torch.randint(0, 9, value.shape)
    less = network(module, settings, WORDS, target, ROWS)
    less.net.load_state_dict(fewer_words(whole.net.state_dict(), less.net))
    return module, settings, whole.net.eval(), less.net.eval()


def texts():
    ids = torch.randint(0, WORDS.vocabulary, (9, 7), generator=torch.Generator().manual_seed(0))
    ids[0, 4:] = 0
    return ids


def save(folder, net, about):
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, folder / "weights.safetensors")
    artifacts.write_json(folder / "model.json", about)


@pytest.mark.parametrize("target", [TWO, VALUE], ids=["classes", "value"])
@pytest.mark.parametrize("name", TEXTS)
def test_words_behind_the_rows_are_unknown_and_the_others_as_they_were(name, target):
    _, _, whole, less = knowing_less(name, target)
    ids = texts()
    assert (ids >= ROWS).any() and (ids < ROWS).any()
    with torch.inference_mode():
        expected = whole(torch.where(ids < ROWS, ids, 1))
        torch.testing.assert_close(less(ids), expected, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(whole(ids), expected, atol=1e-3)
    sizes = [sum(value.numel() for value in net.state_dict().values()) for net in (whole, less)]
    assert sizes[1] < sizes[0]


@pytest.mark.parametrize("name", TEXTS)
def test_a_network_of_fewer_words_is_loaded_with_equal_answers(name, tmp_path):
    _, settings, _, less = knowing_less(name, VALUE)
    save(tmp_path, less, describe(name, settings, WORDS, VALUE, rows=ROWS))
    loaded = load(tmp_path)
    assert loaded.inputs == WORDS
    with torch.inference_mode():
        assert torch.equal(loaded.net(texts()), less(texts()))


@pytest.mark.parametrize("name", ["fasttext", "textcnn"])
def test_the_graph_of_fewer_words_takes_the_ids_of_all(name, tmp_path):
    _, _, whole, less = knowing_less(name)
    export.export(whole, WORDS, tmp_path / "whole.onnx")
    export.export(less, WORDS, tmp_path / "less.onnx")  # which compares their answers to any ids
    assert (tmp_path / "less.onnx").stat().st_size < (tmp_path / "whole.onnx").stat().st_size


@pytest.mark.parametrize(("inputs", "rows"), [(WORDS, 2), (WORDS, 41), (GREY, 20)])
def test_rows_that_the_inputs_do_not_have_are_refused(inputs, rows):
    module = textcnn if inputs is WORDS else cnn
    with pytest.raises(ConfigError, match=f"rows: found {rows}; expected more than 2 tokens"):
        network(module, module.Config(), inputs, TWO, rows)


def test_fewer_words_fewer_units_and_a_narrower_embedding_are_loaded_together(tmp_path):
    _, settings, _, less = knowing_less("textcnn", VALUE)
    body = less.body.body
    for units in textcnn.units(body):
        units.cut(torch.arange(units.count // 2))
    textcnn.narrow(body, torch.eye(8)[:, :3])
    fresh = network(textcnn, settings, WORDS, VALUE, ROWS)
    about = describe("textcnn", settings, WORDS, VALUE, rows=ROWS, cut=shapes.differences(fresh.net, less))
    save(tmp_path, less, about)
    loaded = load(tmp_path)
    assert loaded.body.embedding.weight.shape == (ROWS, 3) and loaded.stages[0] is loaded.body.embedding
    with torch.inference_mode():
        assert torch.equal(loaded.net(texts()), less(texts()))


def prune(body, ratio=0.5):
    """Half the channels of each group, by torch-pruning."""
    import torch_pruning

    pruner = torch_pruning.pruner.MagnitudePruner(
        body.eval(),
        torch.zeros(1, GREY.channels, GREY.height, GREY.width),
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=ratio,
        round_to=8,
        ignored_layers=[layer for layer in body.modules() if isinstance(layer, nn.Linear) and layer.out_features == 2],
    )
    pruner.step()


@pytest.mark.parametrize("name", PRUNED)
def test_an_image_network_that_torch_pruning_has_cut_is_loaded_with_equal_answers(name, tmp_path):
    module, settings, convolutions = PRUNED[name]
    torch.manual_seed(0)
    whole, fresh = (network(module, settings, GREY, TWO) for _ in range(2))
    prune(whole.body)
    cut = shapes.differences(fresh.net, whole.net)
    save(tmp_path, whole.net, describe(module.__name__.rpartition(".")[2], settings, GREY, TWO, cut=cut))
    loaded = load(tmp_path)
    arrays = torch.from_numpy(export.sample(GREY, 3))
    with torch.inference_mode():
        assert torch.equal(loaded.net(arrays), whole.net.eval()(arrays))
    groups = {layer.groups > 1 for layer in loaded.net.modules() if isinstance(layer, nn.Conv2d)}
    assert len(groups) == convolutions
    assert shapes.differences(whole.net, loaded.net) == {}
    export.export(loaded.net, GREY, tmp_path / "cut.onnx")
    weights = sum(value.numel() for value in fresh.net.parameters())
    assert (tmp_path / "cut.onnx").stat().st_size < 0.6 * 4 * weights


def test_a_network_whose_modules_have_versions_is_loaded_whole_and_cut(tmp_path):
    settings = torchvision.Config("mnasnet0_5")
    whole, fresh = (network(torchvision, settings, GREY, TWO) for _ in range(2))
    arrays = torch.from_numpy(export.sample(GREY))
    for k in range(2):
        cut = shapes.differences(fresh.net, whole.net)
        assert bool(cut) is bool(k)
        save(tmp_path, whole.net, describe("torchvision", settings, GREY, TWO, cut=cut or None))
        with torch.inference_mode():
            assert torch.equal(load(tmp_path).net(arrays), whole.net.eval()(arrays))
        prune(whole.body)


def test_nothing_is_said_of_a_network_that_is_as_its_settings_have_it():
    about = describe("cnn", cnn.Config(), GREY, TWO)
    assert about.keys() == {"name", "kind", "config", "inputs", "target"}
    fresh, other = (network(cnn, cnn.Config(), GREY, TWO).net for _ in range(2))
    assert shapes.differences(fresh, other.train()) == {}


@pytest.fixture
def cut_transformer(tmp_path):
    """A folder with a network of three blocks, of which one was removed."""
    settings = transformer.Config(width=8, heads=2, layers=3)
    built, fresh = (network(transformer, settings, WORDS, TWO) for _ in range(2))
    units = {one.name: one for one in transformer.units(built.body)}
    units["blocks.2.attention"].cut(torch.tensor([1]))
    units["blocks"].cut(torch.tensor([0, 2]))
    cut = shapes.differences(fresh.net, built.net)
    save(tmp_path, built.net, describe("transformer", settings, WORDS, TWO, cut=cut))
    return tmp_path


def test_layers_that_were_removed_are_not_built_again(cut_transformer):
    loaded = load(cut_transformer)
    assert [block.attention.heads for block in loaded.body.blocks] == [2, 1]
    assert len(loaded.stages) == 5
    told = json.loads((cut_transformer / "model.json").read_text("utf-8"))["cut"]
    assert told["blocks.1.attention"] == {"heads": 1}
    assert told["blocks.1.attention.read"] == {"out_features": 12}


@pytest.mark.parametrize(
    ("where", "attributes", "found"),
    [
        ("blocks.1.attention", {"haeds": 1}, "blocks.1.attention.haeds = 1"),
        ("blocks.1.attention", {"training": 1}, "blocks.1.attention.training = 1"),
        ("blocks.1.attention", {"heads": "1"}, "blocks.1.attention.heads = '1'"),
        ("blocks.7", {"heads": 1}, "blocks.7.heads = 1"),
    ],
)
def test_a_description_of_another_network_is_refused(cut_transformer, where, attributes, found):
    about = json.loads((cut_transformer / "model.json").read_text("utf-8"))
    artifacts.write_json(cut_transformer / "model.json", about | {"cut": {where: attributes}})
    with pytest.raises(DataError, match=f"model.json: found {found}, which its network does not have; expected"):
        load(cut_transformer)


def test_weights_of_another_network_are_refused(cut_transformer):
    state = load_file(cut_transformer / "weights.safetensors")
    del state["head.bias"]
    save_file(state, cut_transformer / "weights.safetensors")
    with pytest.raises(DataError, match=r"model.json: found .*Missing key.*head.bias.*write both files again"):
        load(cut_transformer)
