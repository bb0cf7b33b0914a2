import threading
import time

import numpy as np
import pytest

from pipeline.loader.ahead import ahead


def running():
    return [thread for thread in threading.enumerate() if thread.name == "danlu-loader"]


def doubled(job, buffer):
    buffer[:] = 2 * job
    return buffer


def buffers(count):
    return [np.zeros(3) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_come_in_order_and_hold_until_the_next(count):
    found = []
    for result in ahead(range(20), doubled, buffers(count)):
        time.sleep(0.001)
        found.append(result.tolist())
    assert found == [[2 * k] * 3 for k in range(20)]
    assert not running()


def test_no_more_is_done_than_there_are_buffers():
    done = []

    def fill(job, buffer):
        done.append(job)
        return job

    found = ahead(range(50), fill, buffers(4))
    next(found)
    until = time.monotonic() + 20
    while len(done) < 4 and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(done) == 4
    found.close()


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_is_raised_where_its_result_is_asked_for(count):
    def fill(job, buffer):
        if job == 3:
            raise OSError("the disk is gone")
        return job

    found = ahead(range(9), fill, buffers(count))
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(found)
    assert not running()


def test_an_error_of_the_jobs_themselves_is_raised_too():
    def jobs():
        yield 1
        raise ValueError("no order")

    with pytest.raises(ValueError, match="no order"):
        list(ahead(jobs(), doubled, buffers(3)))


def test_the_thread_ends_with_its_reader():
    for _ in range(20):
        for _ in ahead(range(1000), doubled, buffers(3)):
            break
    assert not running()


def test_a_reader_that_fails_ends_the_thread():
    with pytest.raises(KeyboardInterrupt):
        for _ in ahead(range(1000), doubled, buffers(3)):
            raise KeyboardInterrupt
    assert not running()
