import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, r2_score

from pipeline import targets
from pipeline.errors import ConfigError
from pipeline.examples import Split
from pipeline.fit.objective import class_weights, ignorance, judge, measure, objective, told
from pipeline.fit.settings import Config
from pipeline.losses import cross_entropy, focal, huber, mae
from pipeline.targets import Target

CPU = torch.device("cpu")
CLASSES, LABELS = Target("classes", ("a", "b", "c")), Target("labels", ("a", "b", "c"))
VALUE = Target("value", ("probability",), mean=10.0, std=4.0)
ROWS = np.eye(3, dtype=np.float32)[[0, 0, 0, 0, 1, 1, 2, 2]]


def of(targets):
    targets = np.asarray(targets, np.float32)
    return Split(targets.argmax(axis=1), targets)


def test_the_usual_loss_is_by_the_target():
    outputs = torch.zeros(8, 3)
    found = objective(Config(), CLASSES, of(ROWS), CPU)(outputs, torch.from_numpy(ROWS))
    torch.testing.assert_close(found, torch.full((8,), np.log(3).item()))
    found = objective(Config(), LABELS, of(ROWS), CPU)(outputs, torch.from_numpy(ROWS))
    torch.testing.assert_close(found, torch.full((8,), np.log(2).item()))
    found = objective(Config(), VALUE, of(ROWS[:, :1]), CPU)(
        torch.tensor([[10.0], [18.0]]), torch.tensor([[10.0], [10.0]])
    )
    assert found.tolist() == [0, 4]


@pytest.mark.parametrize(
    ("loss", "target", "message"),
    [
        (mae.Config(), CLASSES, r"train\.loss\.name: found 'mae', which is for value; .* such as cross_entropy"),
        (cross_entropy.Config(), LABELS, "which is for classes; .* such as binary_cross_entropy"),
        (focal.Config(), VALUE, "which is for classes and labels; .* such as mse"),
        (huber.Config(), LABELS, "which is for value"),
    ],
)
def test_a_loss_for_another_kind_of_target_is_refused(loss, target, message):
    with pytest.raises(ConfigError, match=message):
        objective(Config(loss=loss), target, of(ROWS), CPU)


def test_balanced_classes_count_for_as_much_each_and_the_mean_stays():
    weights = class_weights("balanced", CLASSES, ROWS)
    assert weights.tolist() == pytest.approx([2 / 3, 4 / 3, 4 / 3])
    assert (ROWS @ weights).mean() == pytest.approx(1)
    assert (ROWS * weights).sum(axis=0).tolist() == pytest.approx([8 / 3] * 3)
    soft = np.array([[0.5, 0.5, 0], [1, 0, 0]], np.float32)
    assert (soft @ class_weights("balanced", CLASSES, soft)).mean() == pytest.approx(1)
    config = dataclasses.replace(Config(), class_weights="balanced")
    found = objective(config, CLASSES, of(ROWS), CPU)(torch.zeros(8, 3), torch.from_numpy(ROWS))
    assert found.numpy() == pytest.approx(np.log(3) * (ROWS @ weights))


def test_weights_by_name_and_of_labels():
    assert class_weights("none", CLASSES, ROWS) is None
    given = class_weights({"b": 3.0}, CLASSES, ROWS)
    assert given[1] / given[0] == pytest.approx(3) and (ROWS @ given).mean() == pytest.approx(1)
    assert class_weights("balanced", LABELS, ROWS).tolist() == [1, 3, 3]
    random = np.random.default_rng(0)
    edges = np.stack([np.ones(1000), np.zeros(1000), np.arange(1000) == 0, np.arange(1000) > 0], axis=1)
    assert class_weights("balanced", LABELS, random.permutation(edges)).tolist() == [1, 1, 100, 0.01]
    config = Config(class_weights={"b": 5.0})
    found = objective(config, LABELS, of(ROWS), CPU)(torch.zeros(8, 3), torch.from_numpy(ROWS))
    assert found.numpy() == pytest.approx(np.log(2) * np.where(ROWS[:, 1] > 0, 7 / 3, 1))
    with pytest.raises(ConfigError, match=r"train\.class_weights: found the class 'd'; expected some of a, b, c"):
        class_weights({"d": 1.0}, CLASSES, ROWS)
    with pytest.raises(ConfigError, match=r"train\.class_weights\.b: found 0; expected a number above 0"):
        class_weights({"b": 0}, CLASSES, ROWS)


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        (CLASSES, {"loss": focal.Config(gamma=2.0)}),
        (CLASSES, {"class_weights": {"c": 10.0}}),
        (CLASSES, {"loss": cross_entropy.Config(label_smoothing=0.2)}),
        (LABELS, {"class_weights": "balanced"}),
        (VALUE, {"loss": huber.Config(delta=0.5)}),
    ],
)
def test_answers_are_judged_by_the_loss_that_is_trained(target, settings):
    """What the network's outputs would cost, their answers are found to cost."""
    config, random = Config(**settings), np.random.default_rng(0)
    outputs = random.normal(9 if target is VALUE else 0, 2, (len(ROWS), target.outputs)).astype(np.float32)
    wanted = random.normal(9, 2, outputs.shape).astype(np.float32) if target is VALUE else ROWS
    split = of(wanted)
    expected = objective(config, target, split, CPU)(torch.from_numpy(outputs), torch.from_numpy(wanted)).mean()
    found = judge(target, targets.read(outputs, target.kind), split, measure(config, target, split))
    assert found["loss"] == pytest.approx(float(expected), rel=1e-4)
    assert found["loss"] != pytest.approx(judge(target, targets.read(outputs, target.kind), split)["loss"], rel=0.01)
    assert measure(Config(), target, split) is None


def test_who_knows_the_shares_alone_has_their_entropy_or_the_variance():
    shares = ROWS.mean(axis=0)
    assert ignorance(CLASSES, of(ROWS)) == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-6)
    values = np.array([[8.0], [12.0]], np.float32)
    assert ignorance(VALUE, of(values)) == pytest.approx(4 / VALUE.std**2)


def test_a_validation_split_is_judged_by_its_kind():
    random = np.random.default_rng(0)
    found = random.dirichlet(np.ones(3), 8).astype(np.float32)
    row = judge(CLASSES, found, of(ROWS))
    assert row["loss"] == pytest.approx(-np.log((found * ROWS).sum(axis=1)).mean())
    assert row["accuracy"] == (found.argmax(axis=1) == ROWS.argmax(axis=1)).mean()
    several = (random.random((8, 3)) < 0.5).astype(np.float32)
    row = judge(LABELS, found, of(several))
    expected = f1_score(several, found >= 0.5, average="macro", zero_division=0)
    assert row["macro_f1"] == pytest.approx(expected)
    assert row["exact"] == ((found >= 0.5) == several).all(axis=1).mean()
    values = random.normal(10, 4, (8, 1)).astype(np.float32)
    row = judge(VALUE, values + 1, of(values))
    assert row["loss"] == pytest.approx(1 / 16) and row["mae"] == pytest.approx(1)
    assert row["r2"] == pytest.approx(r2_score(values, values + 1))
    said = told({"epoch": 3, "train_loss": 0.5, "validation_loss": 1, "seconds": 2, "learning_rate": 0.1})
    assert said == "epoch 3: train loss 0.5000, validation loss 1.0000, 2.0 s"


@pytest.mark.parametrize("kind", ["classes", "labels"])
@pytest.mark.parametrize("gamma", [0, 1e-6, 0.25, 0.5, 1, 2, 10])
def test_the_slopes_of_a_focal_loss_are_finite_however_sure_the_answer_is(kind, gamma):
    logits = torch.tensor([[0.0, 0.0], [90.0, -90.0], [1e4, -1e4], [-1e4, 1e4], [17.0, 0.0]], requires_grad=True)
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.9, 0.1], [1.0, 0.0], [1.0, 0.0]])
    losses = focal.build(focal.Config(gamma=gamma), kind)(logits, targets)
    losses.sum().backward()
    assert losses.isfinite().all() and logits.grad.isfinite().all()
    assert losses.detach()[1].sum() < 1e-30 and losses[3].max() > 1e3
    half = 0.5**gamma * np.log(2)
    assert losses.detach()[0].numpy() == pytest.approx(half, abs=1e-6)
