"""What every model with `units`, and every one with `narrow`, keeps to; a new one is held to it by an entry in NETS.

V tokens, E values of an embedding, R of a narrower one.
"""

import copy
import importlib
import pkgutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from pipeline import artifacts, export, models, network, shapes
from pipeline.examples import TextInputs
from pipeline.models import _units
from pipeline.targets import Target

INPUTS = TextInputs(40, 12)
TWO = Target("classes", ("a", "b"))
SMALL = {"embedding": 6, "width": 8, "layers": 2}
NETS = {
    "lstm": ("lstm", SMALL),
    "lstm, last": ("lstm", SMALL | {"pooling": "last"}),
    "gru, last, one": ("gru", SMALL | {"pooling": "last", "directions": "one"}),
    "gru, mean": ("gru", SMALL | {"pooling": "mean", "layers": 3}),
    "rnn, max": ("rnn", SMALL | {"pooling": "max"}),
    "rnn, attention, one": ("rnn", SMALL | {"directions": "one", "layers": 1}),
    "textcnn": ("textcnn", {"embedding": 6, "channels": 8, "kernels": (1, 3, 4)}),
    "transformer": ("transformer", {"width": 16, "heads": 4}),
    "transformer, learned": (
        "transformer",
        {"width": 16, "heads": 4, "layers": 3, "positions": "learned", "pooling": "attention"},
    ),
    "fasttext": ("fasttext", {"embedding": 6, "buckets": 50}),
}
MODULES = {
    found.name: importlib.import_module(f"pipeline.models.{found.name}")
    for found in pkgutil.iter_modules(models.__path__)
    if not found.name.startswith("_")
}
CUTTABLE = [name for name, (model, _) in NETS.items() if hasattr(MODULES[model], "units")]
NARROWED = [name for name, (model, _) in NETS.items() if hasattr(MODULES[model], "narrow")]
every_net = pytest.mark.parametrize("name", CUTTABLE)
EXPORTED = ["lstm", "gru, last, one", "rnn, max", "textcnn", "transformer, learned"]


def built(name, seed=0):
    """The model's file, its settings and its network, whose biases and padding are not 0."""
    model, settings = NETS[name]
    module = MODULES[model]
    config = module.Config(**settings)
    torch.manual_seed(seed)
    found = network.network(module, config, INPUTS, TWO)
    with torch.no_grad():
        for value in found.body.parameters():
            value += 0.5 * torch.randn_like(value)
    return module, config, found


def texts(count=5, tokens=9):
    ids = torch.randint(1, 40, (count, tokens), generator=torch.Generator().manual_seed(1))
    ids[0, tokens // 2 + 1 :] = 0
    return ids


def answers(net):
    with torch.inference_mode():
        return torch.cat([net.eval()(ids) for ids in (texts(), texts(1, 1), texts(2, 12), torch.zeros((1, 2)).long())])


def parameters(net):
    return sum(value.numel() for value in net.parameters())


def halve(module, net):
    """Keeps every other one of all units."""
    for name in [units.name for units in module.units(net)]:
        for units in module.units(net):
            if units.name == name and units.count > 1:
                units.cut(torch.arange(0, units.count, 2))


def test_every_model_that_can_be_cut_is_tried():
    for ability, tried in (("units", CUTTABLE), ("narrow", NARROWED)):
        able = {name for name, module in MODULES.items() if hasattr(module, ability)}
        assert able == {NETS[name][0] for name in tried}
    assert {"lstm", "gru", "rnn", "textcnn", "transformer"} <= {NETS[name][0] for name in CUTTABLE}


@every_net
def test_half_of_each_group_is_cut_with_the_weights_that_go_with_it(name):
    module, _, whole = built(name)
    for k, group in enumerate(module.units(whole.body)):
        net = copy.deepcopy(whole.body)
        before, units = parameters(net), module.units(net)[k]
        assert units.name == group.name
        if units.count == 1:
            continue
        scores = units.scores()
        assert scores.shape == (units.count,) and scores.dtype is torch.float32 and (scores > 0).all()
        kept = scores.topk(units.count // 2).indices.sort().values
        units.cut(kept)
        after = {one.name: one for one in module.units(net)}
        assert parameters(net) < before and answers(net).isfinite().all()
        assert not torch.allclose(answers(net), answers(whole.body), atol=1e-4)
        if units.kind != "layers":
            assert list(after) == [one.name for one in module.units(whole.body)]
        assert after[units.name].count == len(kept)
        after[units.name].cut(torch.tensor([0]))  # a second cut, of the network as it now is
        assert answers(net).isfinite().all()
        assert {one.name: one.count for one in module.units(net)}[units.name] == 1


def outgoing(net, units, dropped):
    """Sets to 0 whatever reads the units that are dropped."""
    place, _, name = units.name.rpartition(".")
    part = net.get_submodule(place)
    readers = []
    if units.name == "pooling":
        readers = [(net.pooling.asked.weight, dropped)]
    elif units.name == "blocks":
        for k in dropped.tolist():
            last, block = net.blocks[k].inner[-1], net.blocks[k]
            for layer in (last, block.attention.write):
                layer.weight.zero_()
                layer.bias.zero_()
    elif name == "attention":
        size = part.attention.write.in_features // part.attention.heads
        readers = [(part.attention.write.weight, (dropped[:, None] * size + torch.arange(size)).flatten())]
    elif name == "inner":
        readers = [(part.inner[-1].weight, dropped)]
    elif place == "convolutions":
        readers = [(net.head.weight, dropped + sum(c.out_channels for c in net.convolutions[: int(name)]))]
    else:
        k = int(place.partition(".")[2])
        readers = [(getattr(part, name).weight_hh_l0, dropped)]
        at = dropped + (part.ahead.hidden_size if name == "back" else 0)
        if k + 1 < len(net.layers):
            readers += [(cells.weight_ih_l0, at) for cells in net.layers[k + 1].children()]
        else:
            readers += [(layer.weight, at) for layer in [net.head, getattr(net.pooling, "read", None)] if layer]
    for weights, columns in readers:
        weights[:, columns] = 0


@every_net
def test_units_that_nothing_reads_leave_without_changing_an_answer(name):
    module, _, whole = built(name)
    for k in range(len(module.units(whole.body))):
        net = copy.deepcopy(whole.body)
        units = module.units(net)[k]
        if units.count == 1:
            continue
        kept = torch.arange(units.count)[torch.arange(units.count) % 3 != 1]
        with torch.no_grad():
            outgoing(net, units, torch.arange(units.count)[torch.arange(units.count) % 3 == 1])
        expected = answers(net)
        assert not torch.allclose(expected, answers(whole.body), atol=1e-4)
        units.cut(kept)
        torch.testing.assert_close(answers(net), expected, atol=1e-5, rtol=1e-4)


@every_net
def test_a_score_is_the_norm_of_all_weights_that_the_network_loses_with_a_unit(name):
    module, _, whole = built(name)
    for k, units in enumerate(module.units(whole.body)):
        if units.kind == "layers" or units.count == 1:
            continue
        net = copy.deepcopy(whole.body)
        module.units(net)[k].cut(torch.arange(1, units.count))
        lost = sum(w.square().sum() for w in whole.body.parameters()) - sum(w.square().sum() for w in net.parameters())
        twice = 0  # the weight with which a unit of a state reads itself
        if units.name.startswith("layers"):
            cells = whole.body.get_submodule(units.name)
            twice = cells.weight_hh_l0[:: cells.hidden_size, 0].square().sum()
        torch.testing.assert_close(units.scores()[0].square(), lost + twice, atol=1e-3, rtol=1e-4)


@every_net
def test_one_list_of_units_serves_for_a_cut_of_each(name):
    module, _, first = built(name)
    _, _, second = built(name)
    for units in module.units(first.body):
        if units.count > 1 and units.kind != "layers":
            units.cut(torch.arange(1, units.count, 2))
    for name_of in [units.name for units in module.units(second.body) if units.kind != "layers"]:
        units = next(one for one in module.units(second.body) if one.name == name_of)
        if units.count > 1:
            units.cut(torch.arange(1, units.count, 2))
    assert torch.equal(answers(first.net), answers(second.net))


@every_net
def test_a_cut_network_is_trained_in_every_weight(name):
    module, _, found = built(name)
    found.net.train()
    halve(module, found.body)
    functional.cross_entropy(found.net(texts()), torch.tensor([0, 1, 1, 0, 1])).backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in found.net.parameters())
    owned = {id(value) for stage in module.stages(found.body) for value in stage.parameters()}
    assert owned == {id(value) for value in found.net.parameters()}


@every_net
def test_a_cut_network_is_saved_and_loaded_with_equal_answers(name, tmp_path):
    module, config, found = built(name)
    halve(module, found.body)
    fresh = network.network(module, config, INPUTS, TWO)
    cut = shapes.differences(fresh.net, found.net)
    save_file(found.net.state_dict(), tmp_path / "weights.safetensors")
    about = network.describe(NETS[name][0], config, INPUTS, TWO, cut=cut)
    artifacts.write_json(tmp_path / "model.json", about)
    loaded = network.load(tmp_path)
    assert torch.equal(answers(loaded.net), answers(found.net))
    assert parameters(loaded.net) < 0.7 * parameters(fresh.net)
    assert shapes.differences(found.net, loaded.net) == {}
    counts = [{one.name: one.count for one in module.units(body)} for body in (found.body, loaded.body)]
    assert counts[0] == counts[1]
    halve(module, loaded.body)
    assert answers(loaded.net).isfinite().all()


@pytest.mark.parametrize("name", EXPORTED)
def test_a_cut_network_is_exported_smaller(name, tmp_path):
    module, _, found = built(name)
    export.export(found.net, INPUTS, tmp_path / "whole.onnx")
    halve(module, found.body)
    export.export(found.net, INPUTS, tmp_path / "cut.onnx")  # which compares their answers
    assert (tmp_path / "cut.onnx").stat().st_size < 0.9 * (tmp_path / "whole.onnx").stat().st_size


@pytest.mark.parametrize("name", NARROWED)
def test_values_along_an_orthonormal_basis_change_no_answer(name):
    module, _, found = built(name)
    expected = answers(found.net)
    whole, _ = torch.linalg.qr(torch.randn(6, 6))
    module.narrow(found.body, whole)
    torch.testing.assert_close(answers(found.net), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NARROWED)
def test_embeddings_of_few_directions_are_narrower_at_the_same_answers_and_loaded_so(name, tmp_path):
    module, config, found = built(name)
    with torch.no_grad():
        for table in {module.embedding(found.body), getattr(found.body, "ngrams", module.embedding(found.body))}:
            table.weight.copy_(torch.randn(len(table.weight), 2) @ torch.eye(6)[[1, 4]] * 0.3)
    expected, before = answers(found.net), parameters(found.net)
    module.narrow(found.body, _units.basis(module.embedding(found.body).weight, np.arange(40), 2))
    torch.testing.assert_close(answers(found.net), expected, atol=1e-5, rtol=1e-4)
    assert module.embedding(found.body).embedding_dim == 2 and parameters(found.net) < before
    cut = shapes.differences(network.network(module, config, INPUTS, TWO).net, found.net)
    save_file(found.net.state_dict(), tmp_path / "weights.safetensors")
    about = network.describe(NETS[name][0], config, INPUTS, TWO, cut=cut)
    artifacts.write_json(tmp_path / "model.json", about)
    assert torch.equal(answers(network.load(tmp_path).net), answers(found.net))


def test_a_narrow_network_is_exported(tmp_path):
    module, _, found = built("lstm")
    module.narrow(found.body, _units.basis(found.body.embedding.weight, np.ones(40), 3))
    export.export(found.net, INPUTS, tmp_path / "fp32.onnx")


def test_the_basis_is_orthonormal_and_best_for_the_tokens_that_stand_most_often():
    torch.manual_seed(0)
    table, counts = torch.randn(200, 12), 1000 / np.arange(1, 201) ** 1.2
    weights = torch.from_numpy(counts).float()

    def error(basis):
        return ((table - table @ basis @ basis.T).square().sum(dim=1) * weights).sum().item()

    found = _units.basis(table, counts, 4)
    torch.testing.assert_close(found.T @ found, torch.eye(4), atol=1e-5, rtol=0)
    plain = torch.linalg.svd(table, full_matrices=False).Vh[:4].T
    assert error(found) < 0.9 * error(plain)
    weighted = torch.linalg.svd(table * weights.sqrt()[:, None], full_matrices=False)
    assert error(found) == pytest.approx(weighted.S[4:].square().sum().item(), rel=1e-4)
    assert _units.basis(table, counts, 12).shape == (12, 12)
