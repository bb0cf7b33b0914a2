import marshal
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import DataError
from pipeline.tokenisers import _words, jieba


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


def test_parts_of_speech_are_those_of_posseg(cache: Path, tmp_path: Path) -> None:
    text = "我喜欢这个很好的手机 和 北京"
    nouns = jieba.build(jieba.Config(parts_of_speech=("n",)), cache=cache).cut(text)
    assert nouns == ["手机", "北京"]
    assert jieba.build(jieba.Config(parts_of_speech=("v", "ns")), cache=cache).cut(text) == ["喜欢", "北京"]
    (tmp_path / _words.DICTIONARY).write_text("很好的手机 10000 zz\n", "utf-8")
    own = jieba.Config(parts_of_speech=("zz",), dictionary="dictionaries/a.txt")
    assert jieba.build(own, tmp_path, cache).cut(text) == ["很好的手机"]


TEXT = "这个很好用"
PLANTED = marshal.dumps(({TEXT: 10**9, "这": 1}, 10**9))


@pytest.mark.parametrize(
    "planted", [PLANTED, pytest.param(b"\xff" * 100, marks=pytest.mark.slow)], ids=["words", "garbage"]
)
def test_a_cache_that_lies_in_the_shared_folder_changes_nothing(tmp_path: Path, cache: Path, planted: bytes) -> None:
    """Another user's file of the name that jieba itself would load, with words of that user's, or no marshal at all."""
    expected = jieba.build(jieba.Config(), cache=cache).cut(TEXT)
    (tmp_path / "jieba.cache").write_bytes(planted)
    code = "from pathlib import Path\nfrom pipeline.tokenisers import jieba, rjieba\n"
    code += f"print(jieba.build(jieba.Config()).cut({TEXT!r}))\n"
    code += f"print(rjieba.build(rjieba.Config(), cache=Path('own')).cut({TEXT!r} + '\u3400')[:-1])"
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(_words.__file__).parents[2])}
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [str(expected)] * 2
    assert (tmp_path / "jieba.cache").read_bytes() == planted
