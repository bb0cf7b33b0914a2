import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline.errors import DataError
from pipeline.examples import Split
from pipeline.fit import distilling, loop
from pipeline.initial.settings import Teacher
from pipeline.network import predict
from pipeline.optimizers import adamw
from pipeline.targets import Target
from tests.fit.toys import CONFIG, IMAGE, TWO, equal, images, toy, train

THREE = Target("classes", ("a", "b", "c"))
LABELS = Target("labels", ("a", "b", "c"))
VALUE = Target("value", ("v",), mean=10.0, std=4.0)


def nothing(outputs, targets):
    return torch.zeros(len(outputs))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_classes_are_compared_by_the_divergence_at_the_temperature(temperature):
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 3), torch.randn(5, 3)
    soft = torch.softmax(teacher, dim=1)
    loss = distilling.mixed(nothing, Teacher(file="weights/t.npy", share=1.0, temperature=temperature), THREE)
    found = loss(student, torch.cat([torch.zeros(5, 3), soft], dim=1))
    q, p = torch.softmax(teacher / temperature, 1), torch.softmax(student / temperature, 1)
    assert torch.allclose(found, temperature**2 * (q * (q / p).log()).sum(dim=1), atol=1e-4)
    assert loss(teacher, torch.cat([torch.zeros(5, 3), soft], dim=1)).abs().max() < 1e-5


def test_labels_are_compared_each_with_its_own_yes_and_no():
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 3), torch.randn(4, 3)
    loss = distilling.mixed(nothing, Teacher(file="weights/t.npy", share=1.0, temperature=2.0), LABELS)
    found = loss(student, torch.cat([torch.zeros(4, 3), torch.sigmoid(teacher)], dim=1))
    q = torch.sigmoid(teacher / 2)
    against = functional.binary_cross_entropy_with_logits(student / 2, q, reduction="none")
    least = functional.binary_cross_entropy(q, q, reduction="none")
    assert torch.allclose(found, 4 * (against - least).mean(dim=1), atol=1e-4)


def test_values_are_compared_in_standard_deviations():
    loss = distilling.mixed(nothing, Teacher(file="weights/t.npy", share=0.5), VALUE)
    assert loss(torch.tensor([[14.0]]), torch.tensor([[0.0, 6.0]])).tolist() == [2.0]


def test_the_share_divides_the_loss_between_teacher_and_targets():
    torch.manual_seed(0)
    outputs, soft = torch.randn(4, 2), torch.tensor([[0.7, 0.3]]).expand(4, 2)
    targets = torch.eye(2)[[0, 1, 0, 1]]

    def hard(outputs, targets):
        return functional.cross_entropy(outputs, targets, reduction="none")

    def mixed(share):
        teacher = Teacher(file="weights/t.npy", share=share)
        return distilling.mixed(hard, teacher, TWO)(outputs, torch.cat([targets, soft], dim=1))

    assert torch.allclose(mixed(0.25), 0.25 * mixed(1.0) + 0.75 * hard(outputs, targets))


def test_a_sure_teacher_gives_finite_gradients():
    outputs = torch.zeros(2, 2, requires_grad=True)
    for target in (TWO, Target("labels", ("a", "b"))):
        loss = distilling.mixed(nothing, Teacher(file="weights/t.npy"), target)
        loss(outputs, torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])).sum().backward()
    assert outputs.grad.isfinite().all()


def taught(teacher, hard=True):
    """How far a student's answers are from the teacher's: one that hears the teacher alone, or the labels alone."""
    split = images(64)
    answers = teacher(split)
    config = dataclasses.replace(CONFIG, epochs=40, patience=40, optimizer=adamw.Config(learning_rate=0.02))
    config = dataclasses.replace(config, images=dataclasses.replace(config.images, flips="none", shift=0.0))
    given = None
    if not hard:
        config = dataclasses.replace(config, teacher=Teacher(file="weights/t.npy", share=1.0, temperature=2.0))
        given = answers
    torch.manual_seed(3)
    net = nn.Sequential(nn.Flatten(), Scaled(), nn.Linear(64, 2))
    data = loop.Data(split, images(32, seed=1), IMAGE, TWO, teacher=given)
    loop.fit(net, [net[2]], data, config)
    return np.abs(predict(net, split, IMAGE, TWO) - answers).mean()


class Scaled(nn.Module):
    def forward(self, pixels):
        return pixels.float() / 255


def doubting(split):
    """Never surer than 0.8, and less sure of what is in between."""
    assert split.images is not None
    bright = split.images.reshape(len(split), -1).mean(axis=1)
    yes = 0.2 + 0.6 / (1 + np.exp(-(bright - bright.mean()) / 20))
    return np.stack([1 - yes, yes], axis=1).astype(np.float32)


def test_a_student_of_soft_answers_is_nearer_to_the_teacher_than_one_of_labels():
    alone, with_teacher = taught(doubting), taught(doubting, hard=False)
    assert with_teacher < 0.04 and with_teacher < alone / 3


def test_a_run_with_a_teacher_is_resumed_bit_by_bit(tmp_path):
    split = images(40)
    data = loop.Data(split, images(16, seed=1), IMAGE, TWO, teacher=doubting(split))
    config = dataclasses.replace(CONFIG, teacher=Teacher(file="weights/t.npy"))
    unbroken = train(toy(), config, data=data)
    with pytest.raises(Exception, match="stopped"):
        train(toy(), config, data=data, checkpoints=tmp_path, stop=lambda: True)
    assert equal(train(toy(), config, data=data, checkpoints=tmp_path).state, unbroken.state)
    assert not equal(train(toy(), data=data).state, unbroken.state)


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        (np.full((3, 3), 1 / 3, np.float32), r"float32 \[3, 3\]"),
        (np.full((4, 2), 0.5, np.float32), r"float32 \[4, 2\]"),
        (np.ones((4, 3), np.int64), r"int64 \[4, 3\]"),
        (np.full((4, 3), np.nan), "row 0 with what is no number"),
        (np.full((4, 3), 2.0), "values from 2 to 2"),
        (np.array([[0.5, 0.5, 0], [1, 0, 0], [0.5, 0, 0], [0, 0, 1]]), "row 2 whose sum is not 1"),
    ],
)
def test_answers_that_cannot_be_any_are_refused(answers, found):
    with pytest.raises(DataError, match=f"train.teacher: weights/t.npy: found {found}; expected float32 .4, 3., prob"):
        distilling.require(answers, 4, THREE, "weights/t.npy")


def test_answers_of_every_kind_are_taken():
    assert distilling.require(np.full((4, 3), 1 / 3), 4, THREE, "").dtype == np.float32
    distilling.require(np.ones((4, 3)), 4, LABELS, "")
    distilling.require(np.full((4, 1), 99.0), 4, VALUE, "")


def test_a_split_keeps_its_targets():
    split = Split(np.array([0]), np.eye(2, dtype=np.float32)[:1])
    assert distilling.beside(split.targets, np.array([[0.25, 0.75]])).tolist() == [[1, 0, 0.25, 0.75]]
    assert split.targets.shape == (1, 2)
