import resource
import time

import numpy as np
import psutil
import pytest
import torch

from pipeline import memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        torch.distributed.DistBackendError("NCCL error: unhandled cuda error\nCuda failure 2 'out of memory'"),
    ],
)
def test_a_lack_of_memory_is_told_in_many_words(error):
    assert memory.exhausted(error)
    assert not memory.exhausted(RuntimeError("shapes differ"))
    assert not memory.exhausted(ValueError("out of memory"))


def held(bytes_):
    """Takes so many bytes and gives them back."""
    np.ones(bytes_ // 8).sum()


def test_what_an_attempt_takes_is_seen_below_the_peak_of_before(monkeypatch):
    held(400 << 20)
    assert memory._peak() - psutil.Process().memory_info().rss > 300 << 20
    tried = []

    def attempt(size):
        tried.append(size)
        block = np.ones((size << 20) // 8)
        time.sleep(0.05)
        del block

    monkeypatch.setattr(memory, "free", lambda: 300 << 20)
    assert memory.largest(attempt, 100_000, torch.device("cpu")) == 128  # 2 × 128 MiB are more than 0.8 × 300
    assert tried == [16, 32, 64, 128]


def test_a_new_peak_is_seen_to_the_byte(monkeypatch):
    monkeypatch.setattr(memory, "LOOKS", 100.0)
    more = memory._peak() - psutil.Process().memory_info().rss + (64 << 20)
    with memory._taken() as taken:
        held(more)
    assert more - (16 << 20) < taken[0] < more + (64 << 20)


def test_a_containers_limit_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    monkeypatch.setattr(memory, "OWN", tmp_path / "own")
    without = memory.free()
    assert without > 1 << 20
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    for folder, limit in ((inner, "max"), (inner.parent, str(5 << 20))):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{6 << 20}\n")
        (folder / "memory.stat").write_text(f"anon 7\ninactive_file {2 << 20}\n")
    (tmp_path / "own").write_text("0::/outer/inner\n")
    assert memory.free() == 1 << 20
    (inner / "memory.max").write_text(f"{1 << 20}\n")
    assert memory.free() == 0
    (tmp_path / "own").write_text("0::/\n")
    assert memory.free() > 1 << 20
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
