import numpy as np
import pytest

from pipeline import artifacts, featurize, train, training, tune
from pipeline.config import Task
from pipeline.errors import ConfigError
from pipeline.fit import reworded
from pipeline.fit.settings import Config, Texts
from pipeline.search import values as search_values
from tests.features.test_text import prepare
from tests.fit.test_rewording import INPUTS, VOCABULARY, known, split

LINES = {name: ["房间 很 干净 。 书 好", "不 好 ; 房间 小", "书 很 好 看", "房间 很 小 。 差"] * 6
         for name in ("train", "validation", "test")}  # fmt: skip


def plain(row, side):
    return [token for token, _ in row[side]]


def test_eight_texts_of_train_as_they_are_and_as_they_are_trained_on():
    config = Config(texts=Texts(deletion=0.3, unknown=0.2))
    rows = reworded.table(split(), INPUTS, known(), VOCABULARY, config)
    assert len(rows) == 8 and rows == reworded.table(split(), INPUTS, known(), VOCABULARY, config)
    assert rows != reworded.table(split(), INPUTS, known(), VOCABULARY, Config(texts=config.texts, seed=1))
    original = [[VOCABULARY[k] for k in row[row > 0]] for row in split().texts.padded(np.array([0, 47]), 12)]
    assert [plain(rows[0], "original"), plain(rows[7], "original")] == original
    assert any("<unk>" in plain(row, "augmented") for row in rows)
    for row in rows:  # what is not marked is the same on both sides
        same = [[token for token, changed in row[side] if not changed] for side in ("original", "augmented")]
        assert same[0] == same[1]
        assert len(plain(row, "augmented")) <= len(plain(row, "original"))


def test_tokens_that_were_put_in_and_left_out_are_marked():
    row = reworded._row(["a", "b", "c", "d"], ["a", "c", "x", "d"])
    assert row["original"] == [("a", False), ("b", True), ("c", False), ("d", False)]
    assert row["augmented"] == [("a", False), ("c", False), ("x", True), ("d", False)]


@pytest.fixture
def task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    prepare(artifacts.folder("prepared", "talk"), LINES)
    (tmp_path / "dictionaries").mkdir()
    (tmp_path / "dictionaries/own.txt").write_text("房间\t书\n书\t房间\n", "utf-8")
    sections = {
        "features": {
            "vectors": {"dimension": 16},
            "synonyms": {"source": "dictionary", "file": "dictionaries/own.txt", "label": 1000},
        },
        "tune": {},
        "model": {"name": "textcnn", "embedding": 16, "channels": 16},
        "train": {
            "epochs": 2,
            "batch_size": 8,
            "vectors": "start",
            "texts": {"shuffle": 0.5, "synonyms": 0.5, "insertion": 0.2, "swap": 0.2, "deletion": 0.2, "unknown": 0.1},
        },
    }
    return Task("talk", "text", sections)


def test_the_stage_trains_with_all_of_it_and_writes_the_table(task):
    for one in (featurize, tune, train):
        one.main(task)
    rows = artifacts.read_json(artifacts.folder("models", "talk") / reworded.FILE)
    assert len(rows) == 8 and all(row["original"] and row["augmented"] for row in rows)
    assert any(changed for row in rows for _, changed in row["augmented"])
    none = Task("talk", "text", {**task.raw, "train": {"epochs": 1}})
    for one in (tune, train):
        one.main(none)
    assert not (artifacts.folder("models", "talk") / reworded.FILE).exists()


def test_other_vectors_or_synonyms_are_another_run(task):
    featurize.main(task)
    values = search_values.of(task)
    first = training.fingerprint(task, values)
    folder = artifacts.folder("features", "talk")
    for name in ("vectors.npy", "synonyms.npy"):
        before = (folder / name).read_bytes()
        np.save(folder / name, np.load(folder / name)[:-1])
        assert training.fingerprint(task, values) != first
        (folder / name).write_bytes(before)
    assert training.fingerprint(task, values) == first


def test_synonyms_that_featurize_was_not_told_to_find_are_an_error(task):
    other = Task("talk", "text", {**task.raw, "features": {"vectors": {"dimension": 16}}})
    for one in (featurize, tune):
        one.main(other)
    with pytest.raises(ConfigError, match=r"train\.texts\.synonyms: found a share"):
        train.main(other)
