import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pipeline.errors import ConfigError, DataError
from pipeline.initial import published
from tests.initial.served import serving

CONTENT = b"tensors" * 1000
NAME = f"net-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """With one published file, for a user whose own cache is empty."""
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / NAME).write_bytes(CONTENT)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with serving(tmp_path / "server") as found:
        yield found


def left():
    return [path.name for path in published.cache().iterdir()]


def test_weights_are_fetched_once_into_torchs_own_cache(server, monkeypatch):
    path = published.fetched(server.address(NAME))
    assert path.read_bytes() == CONTENT and path.parent == Path(torch.hub.get_dir()) / "checkpoints"
    assert published.fetched(server.address(NAME)) == path
    assert server.asked == [("GET", f"/{NAME}")]
    assert left() == [NAME]


def test_a_file_put_into_the_project_is_taken_without_a_network(server):
    Path("weights").mkdir()
    Path("weights", NAME).write_bytes(CONTENT)
    assert published.fetched(f"http://127.0.0.1:1/{NAME}") == Path("weights", NAME)
    assert published.out_of_reach(f"http://127.0.0.1:1/{NAME}") == ""


def test_without_a_network_one_line_says_where_to_put_the_file(server):
    with pytest.raises(DataError) as error:
        published.fetched(f"http://127.0.0.1:1/{NAME}")
    assert "\n" not in str(error.value)
    assert f"fetch http://127.0.0.1:1/{NAME} elsewhere and put it to weights/{NAME}" in str(error.value)
    assert "Connection refused" in str(error.value)
    assert left() == []


def test_what_is_not_what_was_published_is_not_kept(server, tmp_path):
    (tmp_path / "server" / NAME).write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(DataError, match=rf"{NAME}: found sha256 .{{8}}…; expected {published.digest(NAME)}…"):
        published.fetched(server.address(NAME))
    assert left() == []


def test_a_download_that_breaks_off_is_not_kept(server):
    server.short = 100
    with pytest.raises(DataError, match="broke off after 100 of 7,000 bytes"):
        published.fetched(server.address(NAME))
    assert left() == []
    server.short = None
    assert published.fetched(server.address(NAME)).read_bytes() == CONTENT


def test_a_cached_file_that_has_changed_is_an_error_that_names_it(server):
    path = published.fetched(server.address(NAME))
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match=f"delete {path} and run again"):
        published.fetched(server.address(NAME))


def test_a_killed_download_leaves_nothing_that_counts_and_the_next_one_tidies_up(server):
    server.short, server.hangs = 5000, True
    script = f"from pipeline.initial import published; published.fetched({server.address(NAME)!r})"
    environment = {**os.environ, "PYTHONPATH": str(Path(published.__file__).parents[2])}
    child = subprocess.Popen([sys.executable, "-c", script], env=environment)
    while not server.asked or not published.cache().is_dir() or not left():
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert NAME not in left() and published.cached(server.address(NAME)) is None
    server.short, server.hangs = None, False
    assert published.fetched(server.address(NAME)).read_bytes() == CONTENT
    assert left() == [NAME]


def test_a_probe_asks_for_no_contents_and_says_why_not(server):
    assert published.out_of_reach(server.address(NAME)) == ""
    assert [method for method, _ in server.asked] == ["HEAD"]
    assert published.out_of_reach(server.address("other-12345678.pth")) == "Not Found"
    assert published.out_of_reach(f"http://127.0.0.1:1/{NAME}") == "[Errno 111] Connection refused"


def test_every_published_architecture_names_its_digest_and_one_is_known_without_torchvision():
    from torchvision import models

    names = models.list_models(module=models)
    assert all(len(published.digest(published.address(name))) >= 8 for name in names)
    assert published.address(published.USUAL) == published.USUAL_ADDRESS
    for name in set(names) - {"googlenet", "inception_v3"}:  # which scale what they are given anew
        transforms = models.get_model_weights(name).DEFAULT.transforms()
        found = published.scaling(published.address(name))
        assert found == (tuple(transforms.mean), tuple(transforms.std)), name
    with pytest.raises(ConfigError, match="does not publish"):
        published.address("nothing")
