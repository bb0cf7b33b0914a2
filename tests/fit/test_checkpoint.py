import os
import pickle

import pytest
import torch

from pipeline.fit import checkpoint


def state(epoch):
    return {"epoch": epoch, "net": {"weight": torch.full((3,), float(epoch))}, "history": [{"loss": 0.5}]}


def test_the_last_checkpoint_comes_back(tmp_path):
    assert checkpoint.load(tmp_path) is None
    for epoch in (1, 2, 3):
        checkpoint.save(tmp_path, state(epoch))
    found = checkpoint.load(tmp_path)
    assert found["epoch"] == 3 and torch.equal(found["net"]["weight"], torch.full((3,), 3.0))
    assert sorted(os.listdir(tmp_path)) == ["last.pt", "previous.pt"]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone"])
def test_a_torn_checkpoint_gives_way_to_the_one_before(tmp_path, damage):
    for epoch in (1, 2):
        checkpoint.save(tmp_path, state(epoch))
    last = tmp_path / "last.pt"
    content = bytearray(last.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    last.write_bytes(content[: {"cut": 200, "empty": 0}.get(damage, len(content))])
    if damage == "gone":
        last.unlink()
    assert checkpoint.load(tmp_path)["epoch"] == 1
    (tmp_path / "previous.pt").write_bytes(b"")
    assert checkpoint.load(tmp_path) is None


def test_a_poisoned_checkpoint_runs_no_code(tmp_path):
    import hashlib

    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "owned"),))

    payload = pickle.dumps(Payload(), protocol=2)
    (tmp_path / "last.pt").write_bytes(hashlib.sha256(payload).digest() + payload)
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.load(tmp_path)
    assert not (tmp_path / "owned").exists()
