import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline import config
from pipeline.errors import ConfigError, DataError
from pipeline.tokenisers import _pieces, bpe, wordpiece

WORDS = [
    "质量",
    "很好",
    "价格",
    "不错",
    "iphone6s",
    "check-in",
    "喜欢",
    "这个产品",
    "，",
    "!",
    " ",
    "123",
    "服务态度",
    "𠀀",
]


def corpus(count: int = 400, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(WORDS, k=draw.randrange(1, 12))) for _ in range(count)]


@pytest.mark.parametrize("module", [bpe, wordpiece])
def test_pieces_put_together_are_the_text(module: Any, tmp_path: Path) -> None:
    module.train(module.Config(pieces=200), corpus(), tmp_path)
    tokeniser = module.build(module.Config(pieces=200), tmp_path)
    for text in corpus(50, seed=1):
        pieces = tokeniser.cut(text)
        assert "".join(piece.removeprefix("##") for piece in pieces) == text.replace(" ", "")
    assert tokeniser.cut_all(corpus(9)) == [tokeniser.cut(text) for text in corpus(9)]
    assert tokeniser.cut("") == tokeniser.cut(" ") == [] and tokeniser.cut("鑫") == ["<unk>"]
    assert tokeniser.cut("\ud800很好") == tokeniser.cut("很好")
    assert set(tokeniser.versions) == {"tokenizers"}


def test_bpe_joins_characters_and_wordpiece_leaves_chinese_ones_alone(tmp_path: Path) -> None:
    bpe.train(bpe.Config(pieces=200), corpus(), tmp_path)
    assert bpe.build(bpe.Config(), tmp_path).cut("服务态度，12") == ["服务态度", "，", "1", "2"]
    wordpiece.train(wordpiece.Config(pieces=200), corpus(), tmp_path)
    found = wordpiece.build(wordpiece.Config(), tmp_path).cut("服务iphone")
    assert found[:2] == ["服", "务"] and found[2].startswith("i") and all(p.startswith("##") for p in found[3:])


def test_a_text_cannot_name_a_special_token(tmp_path: Path) -> None:
    wordpiece.train(wordpiece.Config(), [*corpus(), "<unk> ##a"], tmp_path)
    assert wordpiece.build(wordpiece.Config(), tmp_path).cut("<unk>")[0] == "<"


@pytest.mark.parametrize("module", [bpe, wordpiece])
def test_equal_texts_in_any_order_and_any_process_give_an_equal_file(module: Any, tmp_path: Path) -> None:
    texts = corpus(1500)
    module.train(module.Config(pieces=300), texts, tmp_path)
    expected = (tmp_path / _pieces.FILE).read_bytes()
    for threads, order in (("1", -1), ("4", 1)):
        (tmp_path / "texts.json").write_text(json.dumps(texts[::order]))
        name = module.__name__
        code = f"import json; from pathlib import Path; from {name} import Config, train\n"
        code += "train(Config(pieces=300), json.loads(Path('texts.json').read_text()), Path('.'))"
        environment = {
            **os.environ,
            "RAYON_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": str(threads != "1").lower(),
        }
        environment["PYTHONPATH"] = str(Path(_pieces.__file__).parents[2])
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
        assert hashlib.sha256((tmp_path / _pieces.FILE).read_bytes()).digest() == hashlib.sha256(expected).digest()


def test_a_sample_is_bounded_and_does_not_depend_on_the_order() -> None:
    texts = [f"{k}" * 10 for k in range(10, 100)]
    few = _pieces.sample(iter(texts), 300)
    assert sum(map(len, few)) <= 300 and len(few) == 15
    assert few == _pieces.sample(texts[::-1], 300) == _pieces.sample(few, 300)
    assert sorted(_pieces.sample(texts, 10**6)) == sorted(texts)


@pytest.mark.parametrize("module", [bpe, wordpiece])
def test_a_users_file_is_used_as_it_is(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    own = tmp_path / "dictionaries/own.json"
    own.parent.mkdir(parents=True)
    chosen = module.Config(file="dictionaries/own.json")
    for content, message in ((b"{}", "tokenizer.json of Hugging Face"), (b"\xff", "is not UTF-8")):
        own.write_bytes(content)
        with pytest.raises(DataError, match=message):
            module.train(chosen, iter(()), tmp_path / "out")
    module.train(module.Config(pieces=200), corpus(), own.parent)
    (own.parent / _pieces.FILE).rename(own)
    module.train(chosen, iter(()), tmp_path / "out")
    assert (tmp_path / "out" / _pieces.FILE).read_bytes() == own.read_bytes()
    other = {bpe: wordpiece, wordpiece: bpe}[module]
    with pytest.raises(DataError, match=r"found a tokenizer of (BPE|WordPiece); expected"):
        other.train(other.Config(file="dictionaries/own.json"), iter(()), tmp_path / "out")


@pytest.mark.parametrize("module", [bpe, wordpiece])
def test_no_text_to_learn_from_is_an_error(module: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no text to train a tokeniser on"):
        module.train(module.Config(), [" ", ""], tmp_path)


@pytest.mark.parametrize("module", [bpe, wordpiece])
def test_impossible_settings_are_named(module: Any) -> None:
    for section, message in (
        ({"pieces": 3}, "pieces: found 3"),
        ({"minimum_count": 0}, "minimum_count"),
        ({"pices": 9}, "did you mean 'pieces'"),
    ):
        with pytest.raises(ConfigError, match=message):
            config.parse(module.Config, section, "s")


@pytest.mark.parametrize("module", [bpe, wordpiece])
def test_a_long_line_of_one_thing_ends(module: Any, tmp_path: Path) -> None:
    module.train(module.Config(pieces=200), corpus(), tmp_path)
    tokeniser = module.build(module.Config(), tmp_path)
    for unit in ("好", "a", "1", "质量很好，"):
        assert tokeniser.cut(unit * 20_000)
