import numpy as np
import pytest

from pipeline import artifacts, targets, texts
from pipeline.baselines import text
from pipeline.baselines.linear import softmax
from pipeline.features import text as features
from pipeline.targets import Target
from tests.prepared_files import write_meta, write_split

CLASSES = ["a", "b", "c"]


def write(folder, classes, seed=0, documents=1000):
    """Two or three classes, each with a word of its own among noise; prepared and features in one folder."""
    random = np.random.default_rng(seed)
    for split, count in (("train", 120), ("validation", 60), ("test", 30)):
        labels = np.arange(count) % classes
        write_split(folder, split, labels, CLASSES)
        rows = [[*random.choice(list("天地玄黄宇宙洪荒日月"), 5), f"{label}词"] for label in labels]
        for start, part in ((0, rows[: count // 2]), (count // 2, rows[count // 2 :])):
            stem = folder / split / f"{start:010}"
            texts.Cut.of(part).write(stem)
            texts.write(stem, ["".join(row) for row in part], [0] * len(part))
    write_meta(folder, "text", CLASSES[:classes])
    kept = (folder / "meta.json").read_bytes()
    found = folder / "features"
    found.mkdir()
    features.featurize(folder, found, features.Config(documents=documents))
    assert (folder / "meta.json").read_bytes() == kept
    return folder, found


@pytest.mark.parametrize("classes", [2, 3])
def test_the_arrays_alone_answer_as_scikit_learn_does(tmp_path, classes):
    from sklearn.linear_model import LogisticRegression

    folders = write(tmp_path, classes)
    fitted = text.fit(*folders, text.Config())
    found = features.weights(*folders)
    reference = LogisticRegression(C=5.0, max_iter=300, tol=1e-3).fit(found["train"], np.arange(120) % classes)
    assert fitted.arrays["coefficients"].shape == (classes, found["train"].shape[1])
    np.testing.assert_allclose(fitted.probabilities["test"], reference.predict_proba(found["test"]), atol=1e-5)
    answers = fitted.probabilities["validation"].argmax(axis=1)
    assert (answers == np.arange(60) % classes).mean() > 0.95


def test_the_same_data_give_the_same_model(tmp_path):
    folders = write(tmp_path, 3)
    first, again = (text.fit(*folders, text.Config()) for _ in range(2))
    assert np.array_equal(first.arrays["coefficients"], again.arrays["coefficients"])


def test_many_texts_are_fitted_on_some_of_them(tmp_path):
    folders = write(tmp_path, 2, documents=100)
    fitted = text.fit(*folders, text.Config())
    assert fitted.record["fitted_texts"] == 100
    assert (fitted.probabilities["validation"].argmax(axis=1) == np.arange(60) % 2).mean() > 0.95


def test_a_class_that_train_lacks_is_never_the_answer(tmp_path):
    folders = write(tmp_path, 2)
    meta = artifacts.read_json(tmp_path / "meta.json")
    artifacts.write_json(tmp_path / "meta.json", {**meta, "classes": ["a", "b", "never"]})
    found = text.fit(*folders, text.Config()).probabilities["test"]
    assert found.shape == (30, 3) and found[:, 2].max() < 1e-6


def test_softmax_bears_large_numbers():
    assert softmax(np.array([[1000.0, 0.0]])).tolist() == [[1, 0]]


def asked(folder, target, label_of):
    """The same texts, asked for something else: `label_of` makes the column `label` of a class's name."""
    import pandas as pd

    for path in folder.glob("*/*.parquet"):
        if "." not in path.stem:
            table = pd.read_parquet(path)
            table.assign(label=[label_of(label) for label in table["label"]]).to_parquet(path, index=False)
    artifacts.write_json(
        folder / "meta.json", artifacts.read_json(folder / "meta.json") | {"target": targets.described(target)}
    )


def test_of_labels_a_regression_each(tmp_path):
    folders = write(tmp_path, 3)
    sets = {"a": "always|first", "b": "always|later", "c": "always"}
    asked(tmp_path, Target("labels", ("always", "first", "later", "never")), sets.__getitem__)
    fitted = text.fit(*folders, text.Config())
    found = fitted.probabilities["validation"]
    expected = np.arange(60)[:, None] % 3 == [0, 1]
    assert ((found[:, 1:3] >= 0.5) == expected).mean() > 0.95
    assert found[:, 0].min() > 0.95 and found[:, 3].max() < 0.05
    assert fitted.arrays["coefficients"].shape[0] == 4


def test_of_a_value_a_ridge_regression_in_its_own_unit(tmp_path):
    folders = write(tmp_path, 3)
    asked(tmp_path, Target("value", ("value",), 200.0, 80.0), lambda c: repr({"a": 100.0, "b": 200.0, "c": 300.0}[c]))
    found = text.fit(*folders, text.Config()).probabilities["validation"][:, 0]
    assert np.abs(found - 100 * (1 + np.arange(60) % 3)).mean() < 25
