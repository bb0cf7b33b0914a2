"""Each kind of bad image gets its verdict, within 5 s and 512 MB, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.features import decoding
from pipeline.validation.image import Config
from tests import bad_images
from tests.bad_images import KINDS, PLACES

ROOT = Path(__file__).parents[2]
SECONDS, MEGABYTES = 5, 512
# Forks one child a kind from a process that has loaded all code, so that its memory is the decoder's own.
CHILD = f"""
import json, os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from pipeline.features import decoding, resampling
from tests.bad_images import KINDS

def verdict(kind):
    content, found = kind.make(), dict()
    calls = dict(decode=lambda: decoding.decode(content))
    for quality in ("exact", "fast"):
        calls[quality] = lambda quality=quality: decoding.pixels(content, size=16, quality=quality)
    for name, call in calls.items():
        try:
            result = call()
        except decoding.Undecodable as error:
            found[name] = error.reason
        else:
            found[name] = None
            if name == "decode":
                found |= dict(conversions=result.conversions, size=result.image.size, one=result.one_colour)
            else:
                assert result.shape == (16, 16, 3), result.shape
    return found

for kind in KINDS:
    read, write = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm({SECONDS})
        os.write(write, json.dumps(verdict(kind)).encode())
        os._exit(0)
    _, status, usage = os.wait4(child, 0)
    os.close(write)
    body = os.read(read, 1 << 16)
    os.close(read)
    print(json.dumps([kind.name, status, usage.ru_maxrss // 1024, json.loads(body or b"null")]))
"""


@pytest.fixture(scope="module")
def found():
    run = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=200, cwd=ROOT)
    assert run.returncode == 0, run.stderr[-2000:]
    return {name: (status, memory, body) for name, status, memory, body in map(json.loads, run.stdout.splitlines())}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_kind_gets_its_verdict(kind, found):
    status, memory, body = found[kind.name]
    assert status == 0, f"status {status}: hung for {SECONDS} s, crashed, or another error"
    assert memory <= MEGABYTES
    if kind.refused:
        assert body["decode"] in kind.refused
        assert body["exact"] in kind.refused and body["fast"] in kind.refused
        return
    assert body["decode"] is body["exact"] is body["fast"] is None
    assert set(kind.conversions) <= set(body["conversions"])
    if not kind.conversions:
        assert not body["conversions"] or body["conversions"] == ["exif_broken"]
    small = min(body["size"]) < Config().min_side
    assert kind.validation == ("too_small" if small else "one_colour" if body["one"] else "")


@pytest.mark.parametrize("place", PLACES)
def test_each_place_and_name_gets_its_verdict(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, reason = PLACES[place]
    path = make(tmp_path)
    if reason is None:
        content = decoding.read(path, decoding.Limits())
        assert decoding.decode(content).image.size == bad_images.SIZE
        assert not (tmp_path / "owned").exists()
        return
    with pytest.raises(decoding.Undecodable) as caught:
        decoding.read(path, decoding.Limits())
    assert caught.value.reason == reason
