import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import artifacts

ROOT = Path(__file__).parents[1]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "out"
    with artifacts.fresh(target) as building:
        (building / "a").write_text("1")
        assert not target.exists()
    with pytest.raises(RuntimeError), artifacts.fresh(target) as building:
        (building / "b").write_text("2")
        raise RuntimeError
    assert [p.name for p in target.iterdir()] == ["a"]
    with artifacts.fresh(target) as building:
        assert list(building.iterdir()) == []
    assert list(target.iterdir()) == []


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "deep" / "x.json"
    artifacts.write_json(path, {"b": 1, "a": "中"})
    assert artifacts.read_json(path) == {"a": "中", "b": 1}
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        artifacts.write_json(path, float("nan"))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


@pytest.mark.parametrize("call", [True, False])
@pytest.mark.parametrize("shape", [(700, 64, 64), (5,), (0,), (0, 3)])
def test_a_mapped_array_has_all_its_bytes_on_the_disk(tmp_path, monkeypatch, call, shape):
    if not call:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    path = tmp_path / "x.npy"
    array = artifacts.mapped(path, np.int32, shape)
    assert array.shape == shape and array.dtype == np.int32 and not array.any()
    found = path.stat()
    assert found.st_blocks * 512 >= 4 * array.size and found.st_size == 128 + 4 * array.size
    array[...] = 7
    array.flush()
    assert (np.load(path) == np.full(shape, 7, np.int32)).all()


def test_a_file_system_that_cannot_allocate_is_written_to(tmp_path, monkeypatch):
    def unable(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unable, raising=False)
    assert artifacts.mapped(tmp_path / "x.npy", np.uint8, (3_000_000,)).shape == (3_000_000,)
    assert (tmp_path / "x.npy").stat().st_blocks * 512 >= 3_000_000


FULL = """
import sys
from pathlib import Path
import numpy as np
from pipeline import artifacts, stage

def work():
    artifacts.mapped(Path(sys.argv[1]) / "greys.npy", np.uint8, (1000, 64, 64))[:] = 1

stage.run_over_all("report", work)
"""
SMALL = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" -c "$3" "$1"'


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0,
    reason="no small disk without rights to mount one",
)
def test_a_full_disk_is_a_message_and_no_signal(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = ["unshare", "-rm", "sh", "-c", SMALL, "sh", str(small), sys.executable, FULL]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("\n") == 1 and f"report: {small}: found No space left" in ended.stderr
    assert "4.1 MB of greys.npy" in ended.stderr and "run again" in ended.stderr


def test_no_other_file_maps_what_it_makes():
    """Such a file would be sparse: see `artifacts.mapped`."""
    for path in (ROOT / "pipeline").rglob("*.py"):
        text = path.read_text("utf-8")
        assert path.name == "artifacts.py" or not re.search(r"open_memmap|memmap\([^)]*w\+", text), path
