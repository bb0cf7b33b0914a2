"""A graph once more in a fresh process, and what that process may meet."""

import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from pipeline import compress, export, graphs, network, reloading, training
from tests.conftest import TRAIN


@pytest.fixture(scope="module")
def project(trained_talk, talk, tmp_path_factory):
    """Its root, and the graphs of its network and of its linear model in `graphs`."""
    root = tmp_path_factory.mktemp("reloading") / "talk"
    shutil.copytree(trained_talk, root)
    (root / "graphs").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        loaded = network.load(root / "data/models/talk")
        export.export(loaded.net, loaded.inputs, root / "graphs/net.onnx")
        compress.linear_source(talk, root / "graphs", "cpu")
    return root


@pytest.fixture
def at(project, monkeypatch, tmp_path):
    monkeypatch.chdir(project)
    return project / "graphs"


def reload(task, candidate, graph, scratch):
    return reloading.reload(task, candidate, graph, scratch, "onnxruntime")


def doctored(path, target, change):
    model = onnx.load(path)
    change(model)
    onnx.save(model, target)
    return target


def behind(model, operator, *more, **attributes):
    """One more node behind the last, which answers."""
    (output,) = model.graph.output
    next(node for node in model.graph.node if node.output[0] == output.name).output[0] = "answer"
    model.graph.node.append(helper.make_node(operator, ["answer", *more], [output.name], **attributes))


def test_the_answers_and_the_memory_of_a_fresh_process(at, talk, tmp_path):
    data = training.data(talk, TRAIN)
    examples = graphs.of_net(data.validation, data.inputs)
    here = graphs.answers(graphs.answer(graphs.session(at / "net.onnx")), examples)
    found = reload(talk, "net", at / "net.onnx", tmp_path)
    assert found.error == "" and found.answers.shape == (240, 2) and np.array_equal(found.answers, here)
    assert 0 < found.memory < 500e6


def test_a_linear_model_answers_as_the_baseline_did(at, project, talk, tmp_path):
    found = reload(talk, "baseline", at / "fp32.onnx", tmp_path)
    expected = np.load(project / "data/baseline/talk/validation.probabilities.npy")
    np.testing.assert_allclose(found.answers, expected, atol=1e-5)


def test_bytes_that_changed_on_the_way_are_refused_by_their_digest(at, talk, tmp_path):
    """The job has the digest of what was written; here the file is another by the time that it is read."""
    job = {"task": "talk", "kind": "text", "candidate": "net", "engine": "onnxruntime", "out": "none.npy"}
    job |= {"graph": str(at / "net.onnx")}
    (tmp_path / "job.json").write_text(json.dumps(job | {"sha256": hashlib.sha256(b"others").hexdigest()}))
    command = [sys.executable, "-m", "pipeline.reloading", str(tmp_path / "job.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode and "found other bytes than were written; expected sha256" in done.stderr
    assert "Traceback" not in done.stderr and not (at / "none.npy").exists()


def test_a_file_that_is_no_graph_is_an_error_and_no_exception(at, talk, tmp_path):
    (tmp_path / "broken.onnx").write_bytes((at / "net.onnx").read_bytes()[:2000])
    found = reload(talk, "net", tmp_path / "broken.onnx", tmp_path)
    assert found.answers is None and found.memory is None
    assert found.error.startswith("it could not be loaded and asked in a fresh process: ")


def test_an_answer_that_is_no_number_is_an_error(at, talk, tmp_path):
    def spoil(model):
        model.graph.initializer.append(numpy_helper.from_array(np.array(np.nan, np.float32), "nothing"))
        behind(model, "Mul", "nothing")

    found = reload(talk, "net", doctored(at / "net.onnx", tmp_path / "nan.onnx", spoil), tmp_path)
    assert found.answers is None and "an answer is not a finite number" in found.error


def test_a_graph_that_fails_at_some_examples_is_an_error(at, talk, tmp_path):
    def spoil(model):  # the answer of one text, not of a batch
        model.graph.initializer.append(numpy_helper.from_array(np.array([1, 2], np.int64), "one"))
        behind(model, "Reshape", "one")

    found = reload(talk, "net", doctored(at / "net.onnx", tmp_path / "one.onnx", spoil), tmp_path)
    assert found.answers is None and found.error.startswith("it could not be loaded and asked")


def test_a_process_that_dies_without_a_word_is_an_error(at, talk, tmp_path, monkeypatch):
    monkeypatch.setattr(reloading.sys, "executable", "/bin/false")
    found = reload(talk, "net", at / "net.onnx", tmp_path)
    assert found.error == "it could not be loaded and asked in a fresh process: exit code 1"


def test_a_process_that_hangs_is_ended(at, talk, tmp_path, monkeypatch):
    monkeypatch.setattr(reloading, "SECONDS", 0.05)
    found = reload(talk, "net", at / "net.onnx", tmp_path)
    assert found.answers is None and found.error.startswith("it did not answer within ")


def test_graphs_of_one_name_do_not_meet(at, talk, tmp_path):
    """Of two reloads into one folder each tells of its own graph."""
    (tmp_path / "other").mkdir()
    scaled = doctored(at / "net.onnx", tmp_path / "other/net.onnx", lambda model: behind(model, "Neg"))
    first = reload(talk, "net", at / "net.onnx", tmp_path).answers
    second = reload(talk, "net", scaled, tmp_path).answers
    np.testing.assert_allclose(first, second[:, ::-1], atol=1e-5)
