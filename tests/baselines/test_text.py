import json

import numpy as np
import pytest
from scipy import sparse

from pipeline.baselines import text
from pipeline.baselines.linear import softmax


def write(folder, classes, seed=0):
    """Two or three classes, each with a term of its own among noise."""
    random = np.random.default_rng(seed)
    for split, count in (("train", 120), ("validation", 60), ("test", 30)):
        labels = np.arange(count) % classes
        x = random.random((count, 20)) * (random.random((count, 20)) < 0.3)
        x[np.arange(count), labels] += 1
        sparse.save_npz(folder / f"{split}.tfidf.npz", sparse.csr_matrix(x.astype(np.float32)))
        np.save(folder / f"{split}.labels.npy", labels)
    (folder / "meta.json").write_text(json.dumps({"classes": ["a", "b", "c"][:classes]}))


@pytest.mark.parametrize("classes", [2, 3])
def test_the_arrays_alone_answer_as_scikit_learn_does(tmp_path, classes):
    from sklearn.linear_model import LogisticRegression

    write(tmp_path, classes)
    fitted = text.fit(tmp_path, tmp_path, text.Config())
    train, test = (sparse.load_npz(tmp_path / f"{split}.tfidf.npz") for split in ("train", "test"))
    labels = np.load(tmp_path / "train.labels.npy")
    reference = LogisticRegression(C=5.0, max_iter=300, tol=1e-3).fit(train, labels)
    assert fitted.arrays["coefficients"].shape == (classes, 20)
    np.testing.assert_allclose(fitted.probabilities["test"], reference.predict_proba(test), atol=1e-5)
    answers = fitted.probabilities["validation"].argmax(axis=1)
    assert (answers == np.load(tmp_path / "validation.labels.npy")).mean() > 0.95


def test_the_same_data_give_the_same_model(tmp_path):
    write(tmp_path, 3)
    first, again = (text.fit(tmp_path, tmp_path, text.Config()) for _ in range(2))
    assert np.array_equal(first.arrays["coefficients"], again.arrays["coefficients"])


def test_a_class_that_train_lacks_is_never_the_answer(tmp_path):
    write(tmp_path, 2)
    (tmp_path / "meta.json").write_text(json.dumps({"classes": ["a", "b", "never"]}))
    found = text.fit(tmp_path, tmp_path, text.Config()).probabilities["test"]
    assert found.shape == (30, 3) and found[:, 2].max() < 1e-6


def test_softmax_bears_large_numbers():
    assert softmax(np.array([[1000.0, 0.0]])).tolist() == [[1, 0]]
