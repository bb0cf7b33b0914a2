"""The served model is loaded in the engine in which it was measured, and asks for its package."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import artifacts, config, inference, register
from pipeline.errors import RegistryError
from pipeline.tracking import bundle, packaging, store


def bundled(engine):
    """The bundle of the project, whose graph is served by this engine."""
    path = artifacts.folder("compressed", "toy") / "compress.json"
    compressed = json.loads(path.read_text())
    compressed["candidates"]["net"]["engine"] = engine
    path.write_text(json.dumps(compressed))
    task = config.task("toy")
    won = register.winner(task)
    return bundle.build(Path("bundle"), *register.served_files(task, won)), won


def loaded(engine):
    store.quieten()
    from pipeline.tracking import served_text

    sha256, won = bundled(engine)
    model = served_text.ServedText()
    model.load_context(SimpleNamespace(artifacts={"bundle": "bundle"}, model_config={"sha256": sha256}))
    return model, won.rows


def test_openvino_answers_as_evaluated(make_project):
    pytest.importorskip("openvino")
    make_project("text")
    model, rows = loaded("openvino")
    assert model.record["engine"] == "openvino" and "openvino" in sys.modules
    found = model.predict(None, list(rows["text"]))
    assert list(found["label"]) == list(rows["answer"])
    assert list(found["probability"]) == pytest.approx(list(rows["probability"]), abs=1e-5)


def test_a_missing_engine_is_named(make_project, monkeypatch):
    make_project("text")
    monkeypatch.setattr(inference.engine("openvino"), "installed", lambda: False)
    with pytest.raises(RegistryError, match=r"found no openvino, in which this .*danlu\[openvino\]"):
        loaded("openvino")


def test_a_bundle_from_before_is_onnx_runtimes(make_project):
    make_project("text")
    _, rows = loaded("onnxruntime")
    record = json.loads(Path("bundle/danlu.json").read_text("utf-8"))
    del record["engine"]
    Path("bundle/danlu.json").write_text(json.dumps(record))
    from pipeline.tracking import served_text

    model = served_text.ServedText()
    model.load_context(SimpleNamespace(artifacts={"bundle": "bundle"}, model_config=None))
    assert list(model.predict(None, list(rows["text"]))["label"]) == list(rows["answer"])


def test_the_requirements_name_the_engines_package_alone(monkeypatch):
    monkeypatch.setattr(packaging, "version", lambda name: "1")
    for engine, package in (("onnxruntime", "onnxruntime"), ("openvino", "openvino"),
                            ("onnxruntime_cuda", "onnxruntime-gpu")):  # fmt: skip
        found = {line.split("==")[0] for line in packaging.requirements("image", {"engine": engine})}
        assert found == {"mlflow", "numpy", "pandas", "pillow", "simplejpeg", package}


def test_every_engine_travels_with_the_model():
    assert {f"engines/{name}.py" for known in inference.BY_DEVICE.values() for name in known} <= set(packaging.CODE)
