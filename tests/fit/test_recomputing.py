import dataclasses

import pytest
import torch

from pipeline import config
from pipeline.config import parse
from pipeline.errors import ConfigError, TrainingError
from pipeline.examples import TextInputs
from pipeline.fit.finding import Found
from pipeline.fit.recomputing import parts, recompute
from pipeline.fit.settings import Average, Config
from tests.fit.toys import CONFIG, Brightness, equal, toy, train


class Counted(Brightness):
    def __init__(self):
        super().__init__()
        self.calls = 0
        inner = self.body[1].forward

        def forward(x):
            self.calls += torch.is_grad_enabled()
            return inner(x)

        self.body[1].forward = forward


@pytest.mark.parametrize("setting", [{}, {"accumulate": 3}, {"average": Average("ema", 0.9)}])
def test_weights_are_the_same_bit_by_bit_and_each_stage_runs_twice(setting):
    config = dataclasses.replace(CONFIG, **setting)
    torch.manual_seed(0)
    plain = Counted()
    kept = train(plain, config)
    torch.manual_seed(0)
    other = Counted()
    again = train(other, dataclasses.replace(config, recompute="stages"))
    assert equal(kept.state, again.state)
    assert other.calls == 2 * plain.calls > 0
    assert again.choices["recompute"] == "stages (as train.recompute says)"


def test_less_is_kept_for_the_backward_pass():
    layers = [torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.BatchNorm1d(32), torch.nn.GELU()) for _ in range(6)]
    inputs = torch.randn(64, 32, requires_grad=True)

    def kept():
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            x = inputs
            for layer in layers:
                x = layer(x)
        return sum(sizes)

    plain = kept()
    recompute(layers)
    assert kept() < plain / 2


class Hungry(Brightness):
    """Finds no memory unless its first stage is recomputed."""

    def forward(self, images):
        if self.training and "partial" not in str(self.body[1].forward):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(images)


def test_it_is_the_last_resort_where_the_memory_is_short(tmp_path, caplog):
    torch.manual_seed(0)
    found = train(Hungry(), dataclasses.replace(CONFIG, batch_size=4), checkpoints=tmp_path)
    assert found.found.parts == 2 and found.found.recompute  # its batch norm needs two examples
    assert found.choices["recompute"] == "stages (the memory was too small for what they keep)"
    assert found.choices["accumulate"] == "2 (the memory was too small for fewer parts)"
    with pytest.raises(TrainingError, match="too small for a batch in 2 parts"):
        train(Hungry(), dataclasses.replace(CONFIG, batch_size=4, recompute="off"), checkpoints=tmp_path / "off")


class Unnormed(Hungry):
    def __init__(self):
        super().__init__()
        self.body[2] = torch.nn.Identity()


def test_without_a_norm_each_example_is_tried_by_itself_first(tmp_path):
    found = train(Unnormed(), dataclasses.replace(CONFIG, batch_size=5), checkpoints=tmp_path)
    assert found.found.parts == 5 and found.found.recompute


def test_what_is_computed_twice_is_not_compiled(tmp_path, monkeypatch):
    """As Dynamo could not trace it."""
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda net, mode: compiled.append(mode) or net)
    config = dataclasses.replace(CONFIG, batch_size=4, compile="default")
    found = train(Hungry(), config, checkpoints=tmp_path)
    assert compiled == ["default"] and found.found.recompute
    assert found.choices["compile"] == "off (what is computed twice cannot be compiled)"
    again = train(toy(), dataclasses.replace(CONFIG, recompute="stages", epochs=1))
    assert again.choices["compile"] == "off (what is computed twice cannot be compiled)"
    assert compiled == ["default"]
    with pytest.raises(ConfigError, match=r"compile: found default with recompute: stages; expected off or auto"):
        parse(Config, {"compile": "default", "recompute": "stages"}, "train")


def saved(net, ids):
    """Bytes that are kept for the backward pass."""
    sizes = {}

    def keep(tensor):
        sizes[tensor.data_ptr()] = tensor.nbytes
        return tensor

    own = {value.data_ptr() for value in net.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        net(ids)
    return sum(size for place, size in sizes.items() if place not in own)


def test_blocks_in_a_list_that_is_never_called_are_recomputed_themselves():
    def block():
        return torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.GELU(), torch.nn.Linear(32, 32), torch.nn.GELU())

    layers = torch.nn.ModuleList([block(), torch.nn.LayerNorm(32), block()])
    net = torch.nn.Sequential(*layers)
    inputs = torch.randn(64, 32, requires_grad=True)
    before = saved(net, inputs)
    recompute([layers])
    assert saved(net, inputs) < before / 2


@pytest.mark.parametrize("name", ["linear", "fasttext", "textcnn"])
def test_a_model_without_anything_to_recompute_says_so(name):
    module = config.plugin("models", name, "model.name")
    inputs = TextInputs(12, 50)
    net = module.build(module.Config(), inputs=inputs, outputs=2)
    assert parts(module.stages(net)[:-1]) == []
    found = Found(8, 1.0, 1, recompute=True).reasons(Config(recompute="stages"), module.stages(net))
    assert found["recompute"] == "off (no stage but the head keeps more than its inputs)"
