"""rjieba against jieba: every token the same."""

import importlib.util
import itertools
import random
import re
from pathlib import Path
from types import ModuleType

import pytest

from pipeline.errors import DataError
from pipeline.tokenisers import _words, jieba, rjieba

ROOT = Path(__file__).parents[2]
NAME = "dictionaries/words.txt"


def _benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tokenising", ROOT / "benchmarks/tokenising.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


texts = _benchmark()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def pair(cache: Path, hmm: bool = True, words: Path | None = None) -> tuple[rjieba.Tokeniser, jieba.Tokeniser]:
    name = NAME if words else None
    fast = rjieba.build(rjieba.Config(hmm=hmm, dictionary=name), words, cache)
    return fast, jieba.build(jieba.Config(hmm=hmm, dictionary=name), words, cache)


def same(fast: rjieba.Tokeniser, slow: jieba.Tokeniser, lines: list[str]) -> None:
    wrong = [(line, fast.cut(line), slow.cut(line)) for line in lines if fast.cut(line) != slow.cut(line)]
    assert not wrong, f"{len(wrong)} of {len(lines)} differ, first {wrong[0]}"


@pytest.mark.parametrize("hmm", [True, False])
def test_reviews_newspaper_and_fuzz_are_cut_as_jieba_does(cache: Path, hmm: bool) -> None:
    fast, slow = pair(cache, hmm)
    same(fast, slow, texts.reviews()[::160] + texts.newspaper()[::160] + texts.fuzz(200))


@pytest.mark.slow
@pytest.mark.parametrize("hmm", [True, False])
@pytest.mark.parametrize("given", [False, True])
def test_all_reviews_the_newspaper_and_10_000_fuzz_lines(cache: Path, tmp_path: Path, hmm: bool, given: bool) -> None:
    (tmp_path / _words.DICTIONARY).write_text(texts.DICTIONARY, "utf-8")
    fast, slow = pair(cache, hmm, tmp_path if given else None)
    same(fast, slow, texts.reviews() + texts.newspaper() + texts.fuzz(10_000, seed=1))


def test_every_short_run_of_ascii_signs_is_cut_as_jieba_does(cache: Path) -> None:
    fast, slow = pair(cache)
    same(fast, slow, ["".join(run) for size in range(1, 5) for run in itertools.product("a1.-_%+好", repeat=size)])


def test_every_character_splits_a_text_as_it_does_for_jieba(cache: Path) -> None:
    fast, slow = pair(cache)
    inside = re.compile(r"[\u4E00-\u9FD5a-zA-Z0-9+#&\._%\-]")  # jieba's re_han_default
    reference = random.Random(0).sample(range(0x110000), 300)
    same(fast, slow, [f"中{chr(k)}国{chr(k)}{chr(k)}b" for k in [*range(0x250), *range(0x2000, 0x3100), *reference]])
    for k in range(0x110000):
        character = chr(k)
        if not inside.match(character) and not rjieba.OTHER_HAN.match(character) and not 0xD800 <= k < 0xE000:
            assert fast._rjieba.cut(f"中{character}国", True) == ["中", character, "国"]


def test_a_lone_surrogate_is_no_fault(cache: Path) -> None:
    fast, slow = pair(cache)
    same(fast, slow, ["很\ud800好", "\udfff"])


def test_both_dictionaries_hold_the_same_words_and_the_totals_agree(cache: Path) -> None:
    fast, slow = pair(cache)
    own = slow._jieba.tokenizer
    assert own.total - sum(own.FREQ.values()) == rjieba.COUNTED_TWICE
    assert all(fast._rjieba.has_word(word) == bool(frequency) for word, frequency in own.FREQ.items())


@pytest.mark.parametrize("hmm", [True, False])
def test_a_users_words_are_those_of_jieba(cache: Path, tmp_path: Path, hmm: bool) -> None:
    (tmp_path / _words.DICTIONARY).write_text("\ufeff" + texts.DICTIONARY.replace("\n", "\r\n\n"), "utf-8")
    fast, slow = pair(cache, hmm, tmp_path)
    assert slow._jieba.tokenizer.FREQ["好用"] > 0 and slow._jieba.tokenizer.FREQ["产品质量"] == 7
    assert fast.cut("李小福是创新办主任也是云计算方面的专家") == [
        *("李小福", "是", "创新办", "主任", "也", "是", "云计算", "方面", "的", "专家")
    ]
    odd = ["呜呜呜......", "装装装win xp", "好好好小", "c++和c语言", "他喜欢中国科学院", "2-3-4天", "a好 吃"]
    same(fast, slow, odd + texts.reviews()[::320] + texts.fuzz(200, seed=2))


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))])
def test_random_dictionaries_of_words_known_and_unknown(cache: Path, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    known = [word for word in _words.Jieba(hmm=True, cache=cache, words=None).base.FREQ if len(word) > 1]
    lines = texts.fuzz(150, seed=seed) + texts.reviews()[seed::200]
    words = draw.sample(known, 30)
    for line in lines[::3]:
        start = draw.randrange(max(1, len(line) - 3))
        words.append(line[start : start + draw.randrange(1, 5)].strip() or "好")
    entries = [f"{word} {draw.choice([0, 1, 5, 1000, 10**6])}" if draw.random() < 0.7 else word for word in words]
    (tmp_path / _words.DICTIONARY).write_text("\n".join(entries), "utf-8")
    same(*pair(cache, True, tmp_path), lines + words)


def test_one_tokenisers_words_do_not_reach_another(cache: Path, tmp_path: Path) -> None:
    (tmp_path / _words.DICTIONARY).write_text("杭研 0\n很好 0\n", "utf-8")
    plain, other = jieba.build(jieba.Config(), cache=cache), pair(cache, True, tmp_path)
    text = "他来到了网易杭研大厦，很好"
    before = plain.cut(text)
    assert "杭研" in before and all("杭研" not in each.cut(text) for each in other)
    assert plain.cut(text) == before


def test_stop_words_are_left_out_after_cutting(tmp_path: Path, cache: Path) -> None:
    text = "这是我的手机，的确不好"
    assert rjieba.build(rjieba.Config(stop_words="default"), None, cache).cut(text) == ["手机", "的确", "不好"]
    (tmp_path / _words.STOP_WORDS).write_text("手机\n\n 我 \n", "utf-8")
    own = rjieba.Config(stop_words="dictionaries/stops.txt")
    assert rjieba.build(own, tmp_path, cache).cut(text) == ["这", "是", "的", "，", "的确", "不好"]


def test_the_users_files_are_copied_beside_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(NAME).parent.mkdir(parents=True)
    config = rjieba.Config(dictionary=NAME, stop_words="dictionaries/stops.txt")
    with pytest.raises(DataError, match=r"words\.txt: No such file.*expected a UTF-8 file"):
        rjieba.train(config, iter(()), tmp_path)
    Path(NAME).write_bytes("云计算".encode("gb18030"))
    with pytest.raises(DataError, match="is not UTF-8"):
        rjieba.train(config, iter(()), tmp_path)
    Path(NAME).write_text("云计算 5\n", "utf-8")
    Path("dictionaries/stops.txt").write_text("的\n", "utf-8")
    rjieba.train(config, iter(()), tmp_path)
    assert (tmp_path / "dictionary.txt").read_text("utf-8") == "云计算 5\n"
    assert rjieba.build(config, tmp_path).cut("云计算的") == ["云计算"]


@pytest.mark.parametrize("path", ["words.txt", "/etc/passwd", "dictionaries/../../x", "dictionaries/a/b.txt"])
def test_a_users_file_lies_where_dvc_sees_it_change(path: str) -> None:
    with pytest.raises(ValueError, match=r"dictionary: found .*expected a file in dictionaries"):
        rjieba.Config(dictionary=path)
    with pytest.raises(ValueError, match="stop_words"):
        jieba.Config(stop_words=path)
