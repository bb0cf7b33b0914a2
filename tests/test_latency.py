import time

import pytest

from pipeline import latency


def test_every_callable_answers_the_same_examples_by_turns():
    asked = {"a": [], "b": []}
    calls = {name: asked[name].append for name in asked}
    found = latency.measure(calls, examples=[0, 1, 2], rounds=6)
    assert asked["a"] == asked["b"]
    assert len(asked["a"]) == (latency.WARM_UP + 6) * (latency.WARMING + latency.BLOCK)
    assert set(asked["a"]) == {0, 1, 2}
    assert found.keys() == {"a", "b"}


def test_rounds_are_interleaved():
    order = []
    calls = {name: lambda _, name=name: order.append(name) for name in "ab"}
    latency.measure(calls, examples=[0], rounds=100)
    longest = max(len(run) for run in "".join(order).replace("ab", "a b").replace("ba", "b a").split())
    assert longest <= 2 * (latency.WARMING + latency.BLOCK)


def test_the_slower_is_slower_and_p95_not_below_the_median():
    ticks = iter(range(10**6))
    slow = {"fast": lambda _: None, "slow": lambda _: next(ticks)}
    found = latency.measure(slow, examples=[0], rounds=100, clock=lambda: next(ticks) / 1000)
    assert found["fast"].median == pytest.approx(1)
    assert found["slow"].median == pytest.approx(2)
    assert found["slow"].p95 >= found["slow"].median


def test_a_thread_clock_leaves_out_sleep():
    found = latency.measure({"sleep": lambda _: time.sleep(0.001)}, [0], rounds=20, clock=time.thread_time)
    assert found["sleep"].median < 0.9


def test_threads_of_the_one_before_have_gone_to_sleep_when_a_block_counts(monkeypatch):
    """Each answers for a while first, where there are several threads."""
    monkeypatch.setattr(latency, "SPIN", 0.01)
    order = []
    calls = {name: lambda _, name=name: order.append((name, time.perf_counter())) for name in "ab"}
    latency.measure(calls, examples=[0], rounds=1, threads=2)
    began = [k for k in range(len(order)) if k == 0 or order[k][0] != order[k - 1][0]]
    ends = [*began[1:], len(order)]
    for first, end in zip(began, ends):
        assert order[end - latency.BLOCK][1] - order[first][1] >= 0.01
    alone = []
    latency.measure({"a": alone.append}, examples=[0], rounds=1)
    assert len(alone) == (latency.WARM_UP + 1) * (latency.WARMING + latency.BLOCK)


def test_the_processor_has_a_name():
    assert "cores" in latency.processor()
