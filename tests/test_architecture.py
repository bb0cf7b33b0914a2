import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline import architecture, artifacts, config, featurize, prepared
from pipeline.examples import ImageInputs, TextInputs
from tests.prepared_files import write_meta, write_split


class Layers(nn.Module):
    """[B, T] → [B, 2] with what is counted in ways of its own: a recurrent layer, attention, and a layer run twice."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 8)
        self.lstm = nn.LSTM(8, 16, batch_first=True, bidirectional=True)
        self.twice = nn.Linear(32, 32)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.head = nn.Linear(32, 2)
        self.scale = nn.Parameter(torch.ones(32))

    def forward(self, ids):
        x, _ = self.lstm(self.embedding(ids))
        x = self.twice(self.twice(x)) * self.scale
        x = x + self.attention(x, x, x)[0]
        return self.head(functional.scaled_dot_product_attention(x, x, x).mean(1))


def by_name(net, inputs):
    return {layer.name: layer for layer in architecture.layers(net, inputs)}


def test_shapes_parameters_and_multiply_adds_by_hand():
    net = Layers().train()
    found = by_name(net, TextInputs(10, 5))
    assert net.training
    assert found["embedding"] == architecture.Layer("embedding", "Embedding", (5, 8), 80, 0)
    assert found["lstm"].shape == (5, 32) and found["lstm"].multiply_adds == 2 * 5 * (4 * 16 * 8 + 4 * 16 * 16)
    assert found["twice"].multiply_adds == 2 * 5 * 32 * 32 and found["twice"].parameters == 32 * 32 + 32
    projections, scores = 4 * 5 * 32 * 32, 2 * 5 * 5 * 32
    attention = found["attention"].multiply_adds
    if "attention.out_proj" in found:
        attention += found["attention.out_proj"].multiply_adds
    assert attention == projections + scores
    assert found[""].multiply_adds == scores and found[""].parameters == 32
    total = architecture.sums(list(found.values()))
    assert total["parameters"] == sum(p.numel() for p in net.parameters())


def test_a_convolution_of_an_image():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU())

        def forward(self, images):
            return self.body(images.permute(0, 3, 1, 2).float()).mean(dim=(2, 3))

    found = by_name(Net(), ImageInputs(32, 20, 3, (0.0,) * 3, (1.0,) * 3))
    assert found["body.0"].shape == (16, 16, 10) and found["body.0"].multiply_adds == 16 * 10 * 16 * 27
    assert found["body.1"].multiply_adds == 0


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    block = {section: {} for section in config.SECTIONS} | {"kind": "image", "model": {"name": "resnet"}}
    artifacts.write_json(config.PARAMS, {"tasks": {"toy": block}})
    return tmp_path


def run(project, *words):
    command = [sys.executable, "-m", "pipeline.architecture", *words, "toy"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=100)


def test_the_command_prints_the_net_of_params_yaml_or_what_to_run_first(project):
    done = run(project)
    assert done.returncode == 2 and "run: danlu run toy --until featurize" in done.stderr
    folder = artifacts.folder("prepared", "toy")
    write_split(folder, "train", [0, 1], ["a", "b"], np.zeros((2, 32, 32, 1), np.uint8))
    write_meta(folder, "image", ["a", "b"], (32, 32, 1))
    featurize.main(config.task("toy"))
    done = run(project)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1].split()
    told = json.loads(run(project, "--json").stdout)
    assert told["layers"][-1]["name"] == "body.head" and told["layers"][-1]["shape"] == [2]
    assert last[-2:] == [f"{told['parameters']:,}", f"{told['multiply_adds']:,}"]
    assert prepared.target(folder).names == ("a", "b")
