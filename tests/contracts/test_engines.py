"""What every file of pipeline/engines/ keeps to; a new engine is found and held to it without a line here."""

import importlib
import pkgutil
import threading
import time

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pipeline import engines, export, inference
from pipeline.compression import bf16, dynamic_int8
from pipeline.examples import ImageInputs, TextInputs

NAMES = sorted(found.name for found in pkgutil.iter_modules(engines.__path__))
IMAGES, TEXTS = ImageInputs(16, 16, 1, (0.5,), (0.25,)), TextInputs(200, 12)


class Eyes(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolutions = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU())
        self.head = nn.Linear(32, 3)

    def forward(self, images):
        return self.head(self.convolutions(images.permute(0, 3, 1, 2).float() / 255).mean(dim=(2, 3)))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(200, 32, padding_idx=0)
        self.mix = nn.Linear(32, 64)
        self.head = nn.Linear(64, 3)

    def forward(self, ids):
        return self.head(torch.relu(self.mix(self.embedding(ids))).amax(dim=1))


@pytest.fixture(scope="module")
def graphs_of(tmp_path_factory):
    """By name: a graph's file, the network it came from, and a batch of 8."""
    torch.manual_seed(0)
    folder, found = tmp_path_factory.mktemp("graphs"), {}
    for name, net, inputs in (("images", Eyes(), IMAGES), ("ids", Words(), TEXTS)):
        export.export(net.eval(), inputs, folder / f"{name}.onnx")
        found[name] = folder / f"{name}.onnx", net, export.sample(inputs, 8)
    return found


@pytest.fixture(params=NAMES)
def engine(request):
    module = importlib.import_module(f"pipeline.engines.{request.param}")
    if not module.installed():
        pytest.skip(f"{request.param} is not installed")
    return module


def test_each_is_known_for_one_device():
    assert sorted(name for names in inference.BY_DEVICE.values() for name in names) == NAMES


@pytest.mark.parametrize("name", ["images", "ids"])
def test_fp32_answers_as_the_network_at_every_batch_size(engine, graphs_of, name):
    path, net, batch = graphs_of[name]
    answer = engine.load(path, 1)
    with torch.inference_mode():
        expected = net(torch.from_numpy(batch)).numpy()
    for size in (1, 2, 7, 8, 1):
        found = answer({name: batch[:size]})
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected[:size], atol=1e-4)
    np.testing.assert_allclose(answer({name: batch[::2]}), expected[::2], atol=1e-4)  # not contiguous in memory


def test_an_answer_stays_when_the_next_one_comes(engine, graphs_of):
    path, _, batch = graphs_of["ids"]
    answer = engine.load(path, 1)
    first = answer({"ids": batch[:2]})
    kept = first.copy()
    answer({"ids": batch[2:4]})
    np.testing.assert_array_equal(first, kept)


def test_a_graph_marked_alone_answers_each_row_without_the_others(engine, graphs_of, tmp_path):
    """It measures ranges over all that it is given; in one batch a row's answer depends on the other's."""
    model = onnx.load(graphs_of["ids"][0])
    export.save(model, tmp_path / "fp32.onnx")
    dynamic_int8.compress(tmp_path / "fp32.onnx", tmp_path / "alone.onnx", dynamic_int8.Config(), [])
    alone = engine.load(tmp_path / "alone.onnx", 1)
    unmarked = onnx.load(tmp_path / "alone.onnx")
    assert unmarked.metadata_props[-1].value == "alone"
    del unmarked.metadata_props[:]
    export.save(unmarked, tmp_path / "together.onnx")
    together = engine.load(tmp_path / "together.onnx", 1)
    ids = np.array([[5, 9, 0, 0], [150, 20, 7, 199]])
    rows = np.concatenate([alone({"ids": row[None][:, : np.count_nonzero(row)]}) for row in ids])
    np.testing.assert_array_equal(alone({"ids": ids}), rows)
    assert np.abs(together({"ids": ids}) - rows).max() > 1e-6


def test_one_thread_is_the_caller_alone(engine, graphs_of):
    """By whose CPU time latency is measured."""
    path, _, batch = graphs_of["images"]
    answer, large = engine.load(path, 1), np.tile(batch, (32, 1, 1, 1))
    answer({"images": large})
    own, every = time.thread_time(), time.process_time()
    for _ in range(20):
        answer({"images": large})
    assert time.thread_time() - own > 0.9 * (time.process_time() - every)


def test_threads_of_a_server_do_not_disturb_each_other(engine, graphs_of):
    path, net, batch = graphs_of["images"]
    answer = engine.load(path)
    with torch.inference_mode():
        expected = net(torch.from_numpy(batch)).numpy()
    worst = [0.0] * 4

    def ask(k):
        for turn in range(50):
            row = (k + turn) % 8
            away = np.abs(answer({"images": batch[row : row + 1]}) - expected[row]).max()
            worst[k] = max(worst[k], float(away))

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(worst) < 1e-4


@pytest.mark.parametrize("name", [name for known in inference.BY_DEVICE.values() for name in known[1:]])
def test_what_an_engine_beside_the_first_cannot_run_is_a_runtime_error(name, graphs_of, tmp_path):
    """By which the stage leaves that variant out and says why."""
    engine = inference.engine(name)
    if not engine.installed():
        pytest.skip(f"{name} is not installed")
    model = onnx.load(graphs_of["ids"][0])
    model.opset_import.append(onnx.helper.make_opsetid("nobody", 1))
    model.graph.node[-1].domain, model.graph.node[-1].op_type = "nobody", "Unheard"
    export.save(model, tmp_path / "odd.onnx")
    with pytest.raises(RuntimeError):
        engine.load(tmp_path / "odd.onnx", 1)


def test_bf16_weights_are_answered_as_bf16_allows(engine, graphs_of, tmp_path):
    path, net, batch = graphs_of["images"]
    bf16.compress(path, tmp_path / "bf16.onnx", bf16.Config(), [])
    with torch.inference_mode():
        expected = net(torch.from_numpy(batch)).numpy()
    found = engine.load(tmp_path / "bf16.onnx", 1)({"images": batch})
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
