import datetime

import pytest

from pipeline import check
from pipeline.errors import ConfigError
from pipeline.search import space, values
from pipeline.search.settings import Config

RATE = "train.optimizer.learning_rate"


def fault(project, **tune):
    """What a check says of a search."""
    return "\n".join(str(error) for error in check._faults(project(**tune), False))


def test_a_sound_search_has_no_fault(project):
    sound = {
        RATE: {"low": 1e-4, "high": 1e-1, "log": True},
        "train.batch_size": [16, 32],
        "train.optimizer.name": ["sgd", "adamw"],
        "model.dropout": {"low": 0, "high": 0.5, "step": 0.1},
        "train.epochs": {"low": 2, "high": 6},
    }
    assert fault(project, trials=5, space=sound, pruner={"name": "halving"}) == ""


BAD = [
    ({RATE: {"low": 0.1, "high": 0.01}}, {}, f"{RATE}.low: found 0.1 with high 0.01; expected less than high"),
    ({RATE: {"low": 0, "high": 0.1, "log": True}}, {}, f"{RATE}.low: found 0 with log: true; expected more than 0"),
    ({RATE: {"low": 1e-3, "high": 0.1, "log": True, "step": 0.1}}, {}, f"{RATE}.step: found 0.1; expected more than 0"),
    ({"train.optimiser.learning_rate": [0.1]}, {}, "unknown key (did you mean 'optimizer'?)"),
    ({"learning_rate": [0.1]}, {}, f"did you mean {RATE}?"),
    ({"model.depth": [1]}, {}, "model.depth: 1 is no value of it: unknown key"),
    ({"model.dropout": {"low": 0, "high": 1}}, {}, "model.dropout: 1.0 is no value of it: found 1.0; expected"),
    ({"model.dropout": [0.1, 2]}, {}, "model.dropout: 2 is no value of it: found 2; expected"),
    ({"train.epochs": {"low": 2.5, "high": 4}}, {}, "found 2.5; expected whole numbers"),
    ({"train.epochs": {"low": 2, "hihg": 4}}, {}, "train.epochs.hihg: unknown key (did you mean 'high'?)"),
    ({RATE: {"low": 1e-3, "high": 0.1}}, {"sampler": {"name": "grid"}}, "found a continuous range with sampler grid"),
    ({"train.epochs": [3]}, {"trials": 0, "pruner": {"name": "halving"}}, "tune.trials: found 0 with pruner halving"),
    ({"train.epochs": [3]}, {"trials": 0, "pruner": {"name": "hyperband"}}, "found 0 with pruner hyperband"),
    ({}, {}, "tune.space: found nothing with 5 trials"),
    ({"model.dropout": []}, {}, "model.dropout: found no value"),
    ({"model.dropout": [0.1, 0.1]}, {}, "model.dropout: found 0.1 twice"),
    ({"train.l1": [1, 1.0]}, {}, "train.l1: found 1.0 twice"),
    ({RATE: [datetime.date(2020, 1, 1)]}, {}, "expected numbers, texts, lists and mappings by names"),
    ({"train.optimizer": [{"name": "sgd", 1: 2}]}, {}, "expected numbers, texts, lists and mappings by names"),
    ({"model.dropout": {"low": 0.1, "high": 0.1}}, {}, "found 0.1 with high 0.1; expected less than high; a list has"),
    (
        {"model.dropout": {"low": 0, "high": 0.5, "step": 0.2}},
        {},
        "dropout.step: found 0.2, by which 0 never becomes 0.5",
    ),
    ({"train": {"optimizer": {"learning_rate": [0.1]}}}, {}, "by their whole path, such as train.optimizer"),
    ({"train.optimizer": {"learning_rate": [0.1]}}, {}, f"by their whole path, such as {RATE}"),
    (
        {RATE: [0.1]},
        {"pruner": {"name": "halving", "first": 4}},
        "tune.pruner: found halving from epoch 4 to epoch 1 of 4",
    ),
    ({RATE: [0.1]}, {"pruner": {"name": "median"}}, "tune.trials: found 5 with pruner median"),
    (
        {RATE: [0.1, 0.2]},
        {"trials": 9, "pruner": {"name": "median"}, "sampler": {"name": "grid"}},
        "tune.trials: found 2 with pruner median",
    ),
    (
        {RATE: [0.1]},
        {"pruner": {"name": "median", "startup": 1, "warmup": 3}},
        "tune.pruner: found median from epoch 4 to epoch 3 of 4",
    ),
    ({"train.epochs": [None, 2]}, {}, "train.epochs: None is no value of it"),
    ({"train.epochs": ["ten"]}, {}, "train.epochs: 'ten' is no value of it"),
    ({"model.dropout": {"min": 0.1, "max": 0.3}}, {}, "model.dropout.min: unknown key"),
    ({"model.dropout": 0.1}, {}, "model.dropout: found 0.1; expected a list of values, or {low: …, high: …}"),
    ({"model.name": ["cnn", "mlp"]}, {}, "a task for each model"),
    ({"train.seed": [1, 2]}, {}, "luck"),
    ({"train.optimizer": [{"name": "sgd"}], RATE: [0.1]}, {}, "found beside train.optimizer, which holds it"),
    ({"train.loss": [{"name": "focal"}]}, {"measure": "loss"}, "tune.measure: found loss with train.loss in the space"),
    ({"train.epochs": [3]}, {"sampler": {"name": "bayes"}}, "expected one of grid, random, tpe"),
    ({"train.texts.deletion": [0.1]}, {}, "images have no words"),
]


@pytest.mark.parametrize(("given", "tune", "said"), BAD)
def test_a_search_that_cannot_be_is_told_before_any_work(project, given, tune, said):
    assert said in fault(project, space=given, **{"trials": 5, **tune})


def test_a_measure_that_the_target_lacks_is_told():
    with pytest.raises(ConfigError, match="found 'r2'; expected auto or one of loss, accuracy, macro_f1"):
        values.check_measure(Config(trials=5, measure="r2"), "classes", "tune")


def test_losses_of_several_kinds_are_not_compared():
    assert values.measure(Config(space={"train.optimizer": []}), "classes") == "loss"
    assert values.measure(Config(space={"train.loss.name": []}), "classes") == "macro_f1"
    assert values.measure(Config(space={"train.class_weights": []}), "value") == "mae"
    assert [values.direction(name) for name in ("loss", "mae", "macro_f1", "r2")] == ["minimize"] * 2 + ["maximize"] * 2


def test_a_field_that_takes_whole_numbers_alone_is_searched_in_those(project):
    task = project()
    given = {
        "train.epochs": {"low": 2, "high": 9},
        "model.dropout": {"low": 0, "high": 0.5},
        "train.batch_size": {"low": 8, "high": 32, "step": 8},
    }
    epochs, dropout, width = space.read(task, given, 0).dimensions
    assert (epochs.whole, dropout.whole, width.whole) == (True, False, True)
    assert (epochs.count, dropout.count, width.count) == (8, None, 4)
    assert [width.value(k) for k in range(4)] == [8, 16, 24, 32]
    assert "IntDistribution" in str(width.distribution) and "FloatDistribution" in str(dropout.distribution)


def test_a_grid_holds_every_combination_once_and_its_order_comes_from_the_seed(project):
    given = {"train.epochs": {"low": 2, "high": 5}, "model.dropout": [0.0, 0.3], "train.optimizer": [{"name": "sgd"}]}
    grid = space.read(project(), given, 3)
    assert grid.points == 8
    found = [grid.point(number) for number in range(8)]
    assert len({tuple(point.items()) for point in found}) == 8
    assert {(point["train.epochs"], point["model.dropout"]) for point in found} == {
        (epochs, dropout) for epochs in (2, 3, 4, 5) for dropout in (0.0, 0.3)
    }
    assert found == [space.read(project(), given, 3).point(k) for k in range(8)]
    assert found != [space.read(project(), given, 4).point(k) for k in range(8)]
    assert found[0]["train.optimizer"] == '{"name": "sgd"}'


def test_a_grid_of_steps_stays_within_its_range(project):
    given = {"model.dropout": {"low": 0, "high": 0.3, "step": 0.1}, "train.l1": {"low": 0, "high": 0.6, "step": 0.2}}
    grid = space.read(project(), given, 0)
    assert grid.points == 16
    for path, distribution in grid.distributions.items():
        assert all(distribution._contains(grid.point(number)[path]) for number in range(16))
    assert {grid.point(number)["model.dropout"] for number in range(16)} >= {0.0, 0.3}


def test_of_a_tasks_own_values_those_in_the_space_are_its_part(project):
    given = {
        RATE: {"low": 1e-3, "high": 0.1},
        "train.epochs": {"low": 2, "high": 8, "step": 2},
        "train.batch_size": {"low": 24, "high": 64, "step": 8},
        "train.l1": {"low": 0.1, "high": 1.0},
        "model.dropout": [0.0, 0.2],
        "train.gradient_norm": [None, 5.0],
        "train.average": [{"kind": "ema"}],
        "train.schedule": [{"name": "step"}, {"name": "cosine"}],
        "model.widths": [[8], [16]],
    }
    task = project(train={"gradient_norm": None, "batch_size": 36, "optimizer": {"learning_rate": 0.01}})
    within = space.read(task, given, 0)
    own = values.own(task, within)
    plain = {RATE: 0.01, "train.epochs": 4, "model.dropout": 0.2, "train.gradient_norm": None}
    assert own == plain | {"train.schedule": '{"name": "cosine"}', "model.widths": "[16]"}
    assert all(distribution._contains(distribution.to_internal_repr(own[path]))
               for path, distribution in within.distributions.items() if path in own)  # fmt: skip


def test_a_trial_is_the_task_with_its_values_and_the_rest_as_it_was(project):
    task = project(train={"optimizer": {"name": "sgd", "momentum": 0.5}})
    given = {RATE: {"low": 1e-3, "high": 0.1}, "train.schedule": [{"name": "step"}, {"name": "constant"}]}
    within = space.read(task, given, 0)
    tried = values.of(within.overlaid(task, {RATE: 0.01, "train.schedule": '{"name": "constant"}'}))
    assert tried["train"]["optimizer"]["momentum"] == 0.5
    assert tried["train"]["optimizer"]["learning_rate"] == 0.01
    assert tried["train"]["schedule"]["name"] == "constant"
    assert task.raw["train"]["optimizer"] == {"name": "sgd", "momentum": 0.5}
    own = values.of(task)["train"]
    assert {key for key in own if own[key] != tried["train"][key]} == {"optimizer", "schedule"}
