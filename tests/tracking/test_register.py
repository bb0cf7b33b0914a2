import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import config, predict, register
from pipeline.errors import ConfigError, DataError, RegistryError
from pipeline.tracking import registry, store


def run():
    register.main(config.task("toy"))
    return json.loads(Path("data/registered/toy/receipt.json").read_text("utf-8"))


def reconciled():
    command = [sys.executable, "-m", "pipeline.register", "toy", "--reconcile"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(Path(register.__file__).parents[1])})
    return register.state("toy")


def models():
    return registry.Models(store.client(), "toy")


def test_images_go_from_artefacts_to_a_champion_that_answers(image_project):
    receipt = run()
    assert receipt["aliases"] == ["champion"]
    assert (receipt["version"], receipt["looks"], receipt["candidate"]) == (1, 1, "net")
    files = [f"data/raw/toy/files/{k}.png" for k in range(4)]
    answers = predict.predict("toy", files)
    assert [answer.label for answer in answers] == ["dark", "bright"] * 2
    assert all(answer.probability == max(answer.probabilities.values()) > 0.5 for answer in answers)
    with pytest.raises(DataError, match="not an image"):
        predict.predict("toy", ["params.yaml"])


@pytest.mark.slow
def test_texts_go_from_artefacts_to_a_champion_that_answers(text_project):
    assert run()["aliases"] == ["champion"]
    Path("lines.txt").write_text("服务非常好\n\n房间很脏\n", "utf-8")
    answers = predict.predict("toy", ["房间很干净", "lines.txt"])
    assert [answer.input for answer in answers] == ["房间很干净", "服务非常好", "房间很脏"]
    with pytest.raises(DataError, match="empty once cleaned"):
        predict.predict("toy", ["\u200b"])


@pytest.mark.slow
def test_a_model_that_answers_otherwise_than_evaluated_is_not_registered(image_project):
    table = Path("data/prepared/toy/meta.json")
    table.write_text(table.read_text().replace('"crop"', '"pad"'))
    with pytest.raises(RegistryError, match=r"expected \w+ with"):
        run()
    assert models().versions() == []
    assert not Path("data/registered/toy/receipt.json").exists()


@pytest.mark.slow
def test_the_same_artefacts_are_registered_once(image_project):
    first, again = run(), run()
    assert (again["version"], again["looks"], again["sha256"]) == (1, 1, first["sha256"])


@pytest.mark.parametrize("name", ["a/b", "a:b", "it's", "x" * 101])
def test_a_name_that_a_registry_would_refuse_is_refused_before_any_work(name):
    with pytest.raises(ConfigError, match=r"params\.name: found"):
        config.parse(register.Config, {"name": name}, "params")


@pytest.mark.slow
def test_only_a_certain_gain_moves_the_champion_and_a_return_is_decided_anew(image_project, remake_images):
    remake_images(slope=-0.05)
    worst = run()
    shutil.copytree("data", "before")
    remake_images(slope=0.05)
    better = run()
    assert (better["version"], better["aliases"]) == (2, ["champion"])
    assert better["gain"]["low"] > 0
    remake_images(slope=0.06)
    equal = run()
    assert (equal["version"], equal["aliases"], equal["looks"]) == (3, ["challenger"], 3)
    shutil.rmtree("data")
    shutil.move("before", "data")  # what DVC's run cache does when a parameter is put back
    back = register.reconcile(config.task("toy"))
    assert back["version"] == worst["version"]
    assert back["aliases"] == ["challenger"]
    assert models().holder("champion").number == 2
    assert back["looks"] == 3
    moves = [(entry["alias"], entry["from"], entry["to"]) for entry in models().history()]
    assert moves == [
        ("champion", None, 1),
        ("champion", 1, 2),
        ("challenger", None, 3),
        ("challenger", 3, 1),
    ]


@pytest.mark.slow
def test_a_lost_registry_is_filled_from_the_artefacts(image_project, empty_database):
    receipt = run()
    assert registry.all_well("toy", receipt["sha256"])
    Path("mlflow.db").unlink()  # in another process than this, as after a clone: MLflow keeps databases open
    shutil.rmtree("mlruns")
    shutil.rmtree(".danlu")
    shutil.copyfile(empty_database, "mlflow.db")
    assert not registry.all_well("toy", receipt["sha256"])
    found = reconciled()
    assert (found["sha256"], found["aliases"], found["looks"]) == (receipt["sha256"], ["champion"], 1)
    assert registry.all_well("toy", receipt["sha256"])
    shutil.rmtree("mlruns")  # the database is there, the files are not
    again = reconciled()
    assert (again["version"], again["aliases"]) == (2, ["champion"])


@pytest.mark.slow
def test_never_promote_leaves_the_champion_alone(image_project):
    path = Path("params.yaml")
    path.write_text(path.read_text().replace("register: {}", "register: {promote: never, name: other}"))
    receipt = run()
    assert (receipt["model_name"], receipt["aliases"]) == ("other", ["challenger"])
    with pytest.raises(RegistryError, match="no champion"):
        predict.predict("toy", ["data/raw/toy/files/1.png"])


@pytest.mark.slow
def test_a_tampered_bundle_is_refused(image_project):
    run()
    graph = next(Path("mlruns").rglob("bundle/model.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1] + b"!")
    with pytest.raises(RegistryError, match="changed after it was registered"):
        predict.predict("toy", ["data/raw/toy/files/1.png"])


@pytest.mark.slow
def test_images_are_answered_as_bytes_and_refused_as_paths(image_project):
    import mlflow
    from mlflow.exceptions import MlflowException

    run()
    model = mlflow.pyfunc.load_model("models:/toy@champion")
    content = Path("data/raw/toy/files/1.png").read_bytes()
    as_bytes = model.predict([content, content])
    as_text = model.predict([base64.b64encode(content).decode()] * 2)
    assert as_bytes.equals(as_text)
    assert model.predict([content] * 33).shape == (33, 3)
    for bad in ("data/raw/toy/files/1.png", "/etc/passwd", "https://example.org/a.png", 3, None, ["a"]):
        with pytest.raises(MlflowException, match="row 1: found"):
            model.predict([content, bad])
