"""The processes that decode and cut: order, deadlines, deaths, errors, and that none is left behind."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import psutil
import pytest

from pipeline import workers
from pipeline.errors import DataError


def double(item: int) -> int:
    return 2 * item


def backwards(item: int) -> int:
    time.sleep(0.02 * (item % 3 == 0))
    return item


def sometimes(item: str) -> str:
    if item == "hang":
        time.sleep(60)
    if item == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def large(item: bytes) -> bytes:
    return item * 2


def full(item: int) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def refuse(item: int) -> int:
    raise DataError(f"{item}: refused")


def unpicklable(item: int) -> int:
    error = ValueError("odd")
    error.by = lambda: None  # type: ignore[attr-defined]
    raise error


@pytest.mark.parametrize("count", [0, 1, 2])
def test_results_come_in_order_for_any_number_of_workers(count):
    assert list(workers.imap(backwards, range(40), workers=count)) == list(range(40))


def test_no_item_no_process():
    assert list(workers.imap(double, [], workers=2)) == []


def test_a_hanging_and_a_deadly_item_are_lost_alone():
    items = ["a", "hang", "b", "die", "c", "d"]
    found = list(workers.imap(sometimes, items, workers=2, deadline=1.0))
    assert [result for result in found if isinstance(result, str)] == ["a", "b", "c", "d"]
    assert found[1] == workers.Lost("took more than 1 s")
    assert found[3] == workers.Lost("its process died")


def killed_once(mark: str) -> str:
    if not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return mark


@pytest.mark.parametrize("count", [1, 2])
def test_an_item_that_was_killed_with_its_process_is_tried_once_more(tmp_path, monkeypatch, count):
    monkeypatch.setattr(workers, "AHEAD", 1)
    items = [str(tmp_path / name) for name in "abcd"]
    assert list(workers.imap(killed_once, items, workers=count, deadline=20.0)) == items


def process_of(item: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("count", [1, 2])
def test_a_process_that_is_killed_while_it_waits_costs_no_item(count):
    before = {child.pid for child in psutil.Process().children()}

    def items():
        for number in range(8):
            if number == 4:
                time.sleep(0.5)
                for child in psutil.Process().children():
                    if child.pid not in before and "spawn_main" in " ".join(child.cmdline()):
                        child.kill()
                time.sleep(0.3)
            yield number

    found = list(workers.imap(process_of, items(), workers=count, deadline=20.0))
    assert all(isinstance(result, int) for result in found) and len(found) == 8


def test_items_and_results_larger_than_a_pipe_do_not_lock():
    items = [bytes(3_000_000)] * 6
    assert [len(result) for result in workers.imap(large, items, workers=2, deadline=30)] == [6_000_000] * 6


def test_an_error_is_raised_as_it_was():
    with pytest.raises(DataError, match="0: refused"):
        list(workers.imap(refuse, range(3), workers=1))


def test_a_full_disk_is_told_as_such():
    with pytest.raises(OSError, match="No space left"):
        list(workers.imap(full, range(3), workers=1))


def slow_start() -> None:
    time.sleep(60)


def test_a_process_that_does_not_start_is_an_error_even_for_a_large_item(monkeypatch):
    monkeypatch.setattr(workers, "GRACE", 1.0)
    with pytest.raises(workers.WorkerError, match="did not start: took more than 1 s"):
        list(workers.imap(large, [bytes(10_000_000)], workers=1, setup=slow_start))


def test_an_error_that_cannot_travel_is_told():
    with pytest.raises(workers.WorkerError, match="odd"):
        list(workers.imap(unpicklable, range(3), workers=1))


def test_a_consumer_that_stops_leaves_no_process():
    before = {child.pid for child in psutil.Process().children()}
    for result in workers.imap(double, range(1000), workers=2):
        if result > 10:
            break
    time.sleep(0.2)
    left = [child for child in psutil.Process().children() if child.pid not in before]
    assert not [child for child in left if "spawn_main" in " ".join(child.cmdline())]


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(
            """
            import time
            from pipeline import workers

            def slow(item):
                time.sleep(0.1)
                return item

            if __name__ == "__main__":
                for result in workers.imap(slow, range(10_000), workers=2):
                    print(result, flush=True)
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None and parent.stdout.readline()
    children = psutil.Process(parent.pid).children()
    assert len(children) >= 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive


def test_numpy_rows_travel():
    rows = [np.full(3, k, np.uint8) for k in range(5)]
    for k, result in enumerate(workers.imap(np.sum, rows, workers=1)):
        assert result == 3 * k
