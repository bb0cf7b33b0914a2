"""The one profile that choices read."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pipeline import export, graphs, profiling
from pipeline.budget import Device
from pipeline.examples import ImageInputs, Split

IMAGES = ImageInputs(8, 8, 1, (0.5,), (0.25,))
DEVICE = Device(batch_sizes=(1, 4), rounds=10)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 2)

    def forward(self, images):
        return self.head(images.flatten(1).float() / 255)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("profiling")
    found = {name: folder / f"{name}.onnx" for name in ("a", "b")}
    for path in found.values():
        export.export(Net(), IMAGES, path)
    return found


def examples(count=30):
    labels = np.arange(count) % 2
    split = Split(labels, np.eye(2, dtype=np.float32)[labels], images=export.sample(IMAGES, count))
    return graphs.of_net(split, IMAGES)


def eager(feed):
    return torch.from_numpy(feed["images"]).float().mean(dim=(1, 2)).numpy()


def profile(files, kept, device=DEVICE, call=eager):
    known = {name: ("onnxruntime", path) for name, path in files.items()}
    return profiling.profile({"eager": call}, examples(), known, device, kept)


def test_every_variant_has_a_median_and_a_p95_of_every_batch_size(files, tmp_path):
    found = profile(files, tmp_path)
    assert found.keys() == {"eager", "a", "b"}
    for sizes in found.values():
        assert sizes.keys() == {"1", "4"}
        assert all(0 < taken["median"] <= taken["p95"] for taken in sizes.values())


def test_a_kept_profile_is_read_and_not_measured_again(files, tmp_path):
    found = profile(files, tmp_path)
    (path,) = tmp_path.iterdir()
    assert profile(files, tmp_path, call=lambda feed: pytest.fail("it was measured again")) == found
    path.write_text(path.read_text().replace("median", "middle"))
    assert "middle" in profile(files, tmp_path)["a"]["1"]


def test_another_profile_is_taken_for_other_bytes_names_or_devices(files, tmp_path):
    profile(files, tmp_path)
    profile(dict(reversed(files.items())), tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / "graphs").mkdir()
    other = tmp_path / "graphs/a.onnx"
    export.export(Net(), IMAGES, other)
    kept = tmp_path / "kept"
    profile(files, kept)
    profile(files | {"a": other}, kept)
    profile({"a": files["b"], "c": files["a"]}, kept)
    profile(files, kept, replace(DEVICE, batch_sizes=(1, 8)))
    profile(files, kept, replace(DEVICE, rounds=11))
    assert len(list(kept.iterdir())) == 5


def test_the_slower_is_told_to_be_slower(files, tmp_path):
    def slow(feed):
        ended = time.thread_time() + 0.002
        while time.thread_time() < ended:
            pass
        return eager(feed)

    found = profile(files, tmp_path, call=slow)
    assert found["eager"]["1"]["median"] > max(2, 5 * found["a"]["1"]["median"])


def test_threads_are_set_while_it_is_measured_and_as_before_afterwards(files, tmp_path):
    threads, seen = torch.get_num_threads(), set()

    def call(feed):
        seen.add(torch.get_num_threads())
        return eager(feed)

    profile(files, tmp_path, replace(DEVICE, threads=2), call)
    assert seen == {2} and torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("count", "size", "batches"), [(30, 1, 30), (30, 4, 7), (3, 8, 1), (1000, 1, 200), (1000, 8, 25)]
)
def test_batches_are_of_the_size_asked_for_and_spread_over_the_split(count, size, batches):
    found = profiling.batches_of(examples(count), size)
    assert len(found) == batches and {len(feed["images"]) for feed in found} == {size}
    first, last = export.sample(IMAGES, count)[0], export.sample(IMAGES, count)[-1]
    assert np.array_equal(found[0]["images"][0], first) and np.array_equal(found[-1]["images"][-1], last)
