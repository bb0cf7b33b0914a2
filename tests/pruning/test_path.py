import json
from dataclasses import asdict

import pytest

from pipeline.pruning import path
from pipeline.pruning.path import Group, Level, Sensitivity

WHOLE = Level(0.0, 0, 0.9, 0.30, 1.0, 1000)


def level(ratio, loss, ms, size=1000):
    return Level(ratio, round(100 * (1 - ratio)), 0.9, loss, ms, size)


def time(one):
    return one.latency_ms


CHEAP = Group("cheap", "channels", 100, [level(0.25, 0.30, 0.9), level(0.5, 0.31, 0.8), level(0.75, 0.9, 0.7)])
DEAR = Group("dear", "channels", 100, [level(0.25, 0.5, 0.9), level(0.5, 0.7, 0.7), level(0.75, 1.5, 0.5)])


def test_what_costs_nothing_goes_first():
    assert path.choose([DEAR, CHEAP], WHOLE, 0.1, time) == {"cheap": 75}
    assert path.choose([DEAR, CHEAP], WHOLE, 0.2, time) == {"cheap": 50}


def test_then_what_loses_least_for_a_millisecond_even_by_a_larger_step():
    """After cheap's half: dear's half loses 0.4 for 0.3 ms, its quarter 0.2 for 0.1, cheap's rest 0.59 for 0.1."""
    assert path.choose([DEAR, CHEAP], WHOLE, 0.3, time) == {"cheap": 50, "dear": 50}


def test_more_than_there_is_takes_all_and_ends():
    assert path.choose([DEAR, CHEAP], WHOLE, 0.99, time) == {"cheap": 25, "dear": 25}


def test_what_saves_nothing_measurable_is_never_cut():
    idle = Group("idle", "channels", 100, [level(0.25, 0.1, 1.0), level(0.5, 0.1, 1.2)])
    assert path.choose([idle], WHOLE, 0.5, time) == {}


def test_the_cost_may_be_bytes():
    rows = Group("vocabulary", "rows", 100, [level(0.5, 0.31, 1.0, 600)])
    assert path.choose([rows], WHOLE, 0.3, lambda one: one.bytes) == {"vocabulary": 50}


@pytest.mark.parametrize("saving", [0.05, 0.2, 0.35, 0.5])
def test_a_greater_saving_keeps_no_more_of_anything(saving):
    less = path.choose([DEAR, CHEAP], WHOLE, saving, time)
    more = path.choose([DEAR, CHEAP], WHOLE, saving + 0.15, time)
    assert all(more.get(name, 100) <= kept for name, kept in less.items())


def test_a_sensitivity_is_read_as_it_was_written():
    found = Sensitivity("macro_f1", WHOLE, [CHEAP, DEAR])
    assert path.read(json.loads(json.dumps(asdict(found)))) == found
