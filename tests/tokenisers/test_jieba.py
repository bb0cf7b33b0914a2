import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import DataError
from pipeline.tokenisers import _words, jieba
from pipeline.tracking import packaging

SERVED = [name for name in packaging.CODE if not name.startswith("tracking/")]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_cuts_chinese_and_drops_white_space(cache: Path) -> None:
    assert jieba.build(jieba.Config(), cache=cache).cut("这本书 很好, 值得买!") == [
        "这",
        "本书",
        "很",
        "好",
        ",",
        "值得",
        "买",
        "!",
    ]


def test_hmm_finds_words_that_the_dictionary_lacks(cache: Path) -> None:
    text = "他来到了网易杭研大厦"
    assert "杭研" in jieba.build(jieba.Config(hmm=True), cache=cache).cut(text)
    assert "杭研" not in jieba.build(jieba.Config(hmm=False), cache=cache).cut(text)


def test_the_cache_is_private_and_silent(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tokeniser = jieba.build(jieba.Config(), cache=cache)
    (folder,) = cache.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.name == f"jieba-{tokeniser.versions['dictionary_sha256'][:16]}"
    assert (folder / "jieba.cache").is_file()
    assert capfd.readouterr() == ("", "")


def test_a_planted_cache_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    name = f"jieba-{_words.versions('jieba')['dictionary_sha256'][:16]}"
    (tmp_path / name).symlink_to("elsewhere")
    with pytest.raises(DataError, match="private cache"):
        jieba.build(jieba.Config(), cache=tmp_path)


def test_versions_are_those_of_the_installed_jieba() -> None:
    found = _words.versions("jieba")
    assert found["jieba"] == "0.42.1"
    assert len(found["dictionary_sha256"]) == 64


def test_a_served_model_needs_these_files_alone(tmp_path: Path) -> None:
    package = tmp_path / "pipeline"
    root = Path(_words.__file__).parents[1]
    for name in SERVED:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, package / name)
    code = (
        "import sys; from pipeline.features import cleaning, decoding; from pipeline.tokenisers import jieba\n"
        "print(jieba.build(jieba.Config()).cut(cleaning.clean('很好用')))\n"
        "assert not {'torch', 'pandas', 'mlflow'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(jieba.build(jieba.Config(), cache=tmp_path / "own").cut("很好用"))
    assert not list(tmp_path.glob("danlu-jieba-*"))
