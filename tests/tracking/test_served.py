"""The served models in this process, without a server: what they read, and what they refuse."""

import base64
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from pipeline import config, register, targets
from pipeline.errors import RegistryError
from pipeline.features import cleaning
from pipeline.targets import Target
from pipeline.tokenisers import bpe, char, jieba, rjieba, wordpiece
from pipeline.tracking import bundle, serving, store


def loaded(kind):
    """The served model of the project's artefacts, and the evaluated rows."""
    store.quieten()
    from pipeline.tracking import served_image, served_text

    task = config.task("toy")
    won = register.winner(task)
    sha256 = bundle.build(Path("bundle"), *register.served_files(task, won))
    model = served_image.ServedImage() if kind == "image" else served_text.ServedText()
    model.load_context(SimpleNamespace(artifacts={"bundle": "bundle"}, model_config={"sha256": sha256}))
    return model, won.rows


@pytest.mark.parametrize("candidate", ["net", "baseline"])
def test_raw_texts_are_answered_as_evaluated_at_every_batch_size(make_project, candidate):
    make_project("text", candidate)
    model, rows = loaded("text")
    for size in (1, 2, 7, 16):
        found = pd.concat([model.predict(None, list(rows["text"][k : k + size])) for k in range(0, len(rows), size)])
        assert list(found["label"]) == list(rows["answer"])
        assert list(found["probability"]) == pytest.approx(list(rows["probability"]), abs=1e-5)
    assert all(sum(row.values()) == pytest.approx(1) for row in found["probabilities"])


STEPS = cleaning.Steps(emoji="name", simplify="t2s", urls="mask", boilerplate=("很满意",), repeats=2)
WORDS = "dictionaries/words.txt"


@pytest.mark.parametrize(
    "tokeniser",
    [
        pytest.param(char.Config(), marks=pytest.mark.slow),
        pytest.param(jieba.Config(parts_of_speech=("n", "v", "a", "d")), marks=pytest.mark.slow),
        rjieba.Config(dictionary=WORDS, stop_words=WORDS),
        bpe.Config(pieces=100, minimum_count=1),
        pytest.param(wordpiece.Config(pieces=100), marks=pytest.mark.slow),
    ],
)
def test_every_tokeniser_is_served_as_it_was_trained(make_project, tmp_path, tokeniser):
    (tmp_path / WORDS).parent.mkdir(parents=True)
    (tmp_path / WORDS).write_text("很好看\n物流很快\n", "utf-8")
    make_project("text", "net", tokeniser=tokeniser, steps=STEPS)
    shutil.rmtree(tmp_path / "dictionaries")
    model, rows = loaded("text")
    found = model.predict(None, list(rows["text"]))
    assert list(found["label"]) == list(rows["answer"])
    assert list(found["probability"]) == pytest.approx(list(rows["probability"]), abs=1e-5)
    assert model.read("書很好看！！！ http://a.cn 很满意", 0)[1] == "书很好看!! url"


@pytest.mark.parametrize("bad", ["", " \u3000\n", "\u200b\ufeff", None, 3, "长" * 1_000_001])
def test_a_text_with_nothing_to_read_is_refused_by_its_row(make_project, bad):
    make_project("text", "net")
    model, _ = loaded("text")
    with pytest.raises(MlflowException, match=r"row 1: found|invalid elements") as caught:
        model.predict(None, ["很好", bad])
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_another_jieba_or_dictionary_is_refused(make_project):
    make_project("text", "net")
    meta = Path("data/prepared/toy/meta.json")
    record = json.loads(meta.read_text("utf-8"))
    record["preparation"]["versions"]["dictionary_sha256"] = "0" * 64
    meta.write_text(json.dumps(record))
    with pytest.raises(RegistryError, match="dictionary_sha256: found"):
        loaded("text")


def test_raw_images_are_answered_as_evaluated(make_project):
    make_project("image")
    model, rows = loaded("image")
    contents = [Path("data/raw/toy/files", path).read_bytes() for path in rows["path"]]
    texts = [base64.b64encode(content).decode() for content in contents]
    urls = [f"data:image/png;base64,{text}" for text in texts]
    for given in (contents, texts, urls, pd.DataFrame({"any": texts})):
        found = model.predict(None, given)
        assert list(found["label"]) == list(rows["answer"])
        assert list(found["probability"]) == pytest.approx(list(rows["probability"]), abs=1e-6)


@pytest.mark.parametrize(
    "bad",
    ["data/raw/toy/files/1.png", "/etc/passwd", "https://example.org/a.png", "file:///a.png", "", "QQ==", b"", 3, None],
)
def test_what_is_not_an_image_is_refused_by_its_row(make_project, bad):
    make_project("image")
    model, _ = loaded("image")
    with pytest.raises(MlflowException, match="row 1: found") as caught:
        model.predict(None, [Path("data/raw/toy/files/1.png").read_bytes(), bad])
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_probabilities_of_extreme_logits_stay_finite():
    import numpy as np

    assert serving.softmax(np.array([[1e4, -1e4], [0, 0]], np.float32)).tolist() == [[1, 0], [0.5, 0.5]]


def test_the_table_says_what_the_model_was_asked_for():
    import numpy as np

    outputs = np.array([[0.0, -3.0, 3.0], [-9.0, -9.0, -9.0]], np.float32)
    labels = serving.table(outputs, targets.record(Target("labels", ("a", "b", "c"))))
    assert labels["labels"].tolist() == [["a", "c"], []]
    assert labels["probabilities"][0] == pytest.approx({"a": 0.5, "b": 1 / (1 + np.exp(3)), "c": 1 / (1 + np.exp(-3))})
    values = serving.table(np.array([[1.5], [-2.0]], np.float32), targets.record(Target("value", ("value",))))
    assert values.to_dict("list") == {"value": [1.5, -2.0]}
    classes = serving.table(np.array([[0.0, 2.0]], np.float32), {"classes": ["a", "b"]})
    assert list(classes.columns) == ["label", "probability", "probabilities"] and classes["label"][0] == "b"
