"""One shard of texts: what it holds, that workers and kills do not show in it, and that nothing is cut twice."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipeline import cache, parts, texts, workers
from pipeline.features import cleaning
from pipeline.preparation import text
from pipeline.tokenisers import bpe, char, rjieba

ROOT = Path(__file__).parents[2]
LINES = [f"第{k}条评论：质量&amp;价格都很好！　见check-in {k}.5%，ＯＫ" + "很" * (k % 3) for k in range(120)]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def settings(tokeniser=None, steps=None):
    return text.Settings(steps or cleaning.Steps(), tokeniser or char.Config(), Path())


def job(lines, stem, made=None, of=None):
    return text.Job(pa.array(lines, pa.string()), tuple(made or [None] * len(lines)), Path(stem), of or settings())


def jobs(folder, of=None):
    Path(folder).mkdir()
    return [job(LINES[start : start + 20], f"{folder}/{start:010}", of=of) for start in range(0, len(LINES), 20)]


def contents(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(Path(folder).iterdir())}


def test_a_shard_holds_the_cleaned_texts_and_their_tokens():
    assert text.shard(job(LINES, "one", of=settings(rjieba.Config()))) == len(LINES)
    cut, (cleaned, _) = texts.Cut.read(Path("one")), texts.read(Path("one"))
    tokeniser = rjieba.build(rjieba.Config())
    assert cleaned == [cleaning.clean(line) for line in LINES]
    assert [cut.words(row) for row in range(len(LINES))] == [tokeniser.cut(line) for line in cleaned]
    assert cut.codes.dtype == np.uint16 and cut.types == sorted(set(cut.types))
    assert {path.name for path in Path().iterdir()} >= {f"one{suffix}" for suffix in texts.SUFFIXES}


def test_a_tokeniser_learns_of_train_alone():
    lines = [["质量很好"] * 9, ["从没见过"] * 9, ["退款太慢"] * 9]
    rows = [{"id": f"{side}:{k}", "text": line} for side, part in enumerate(lines) for k, line in enumerate(part)]
    parts.write_frame(pd.DataFrame(rows), Path("accepted"))
    Path("out").mkdir()
    found = np.repeat(np.arange(3, dtype=np.int8), 9)
    text.settings(text.Config(tokeniser=bpe.Config()), Path("accepted"), found, Path(), {}, Path("out"))
    learnt = set(json.dumps(json.loads(Path("out/tokeniser.json").read_text("utf-8")), ensure_ascii=False))
    assert learnt >= set("质量很好") and not learnt & set("从没见过退款太慢")


def test_each_step_of_cleaning_is_counted_by_the_texts_that_it_changes():
    lines = ["很好", "A&lt;", "ＢＣ", "不\u200b好", "ｄ"]
    text.shard(job(lines[:3], "a"))
    text.shard(job(lines[3:], "b"))
    found = text.changed([Path("a"), Path("b")])
    assert {name: found[name] for name in ("entities", "invisible", "normalise", "lower")} == {
        "entities": 1,
        "invisible": 1,
        "normalise": 2,
        "lower": 2,
    }


def test_the_number_of_workers_does_not_show(tmp_path):
    found = []
    for count in (0, 1, 2, 4):
        assert list(workers.imap(text.shard, jobs(f"w{count}"), workers=count)) == [20] * 6
        found.append(contents(f"w{count}"))
    assert found[0] == found[1] == found[2] == found[3] and len(found[0]) == 24


@pytest.mark.parametrize("rows", [np.arange(120), np.random.default_rng(0).permutation(120)])
def test_what_earlier_shards_hold_is_not_cut_again(monkeypatch, rows):
    text.shard(job(LINES[:50], "old"))
    lines = [LINES[row] for row in rows]
    made = [cache.Place(Path("old"), row) if row < 50 else None for row in rows.tolist()]
    asked = []
    with monkeypatch.context() as patch:
        patch.setattr(char.Tokeniser, "cut_all", lambda self, of: asked.extend(of) or [self.cut(line) for line in of])
        patch.setattr(text, "AT_ONCE", 16)
        assert text.shard(job(lines, "mixed", made)) == 70
    assert sorted(asked) == sorted(cleaning.clean(line) for line in LINES[50:])
    text.shard(job(lines, "anew"))
    assert all(Path(f"mixed{suffix}").read_bytes() == Path(f"anew{suffix}").read_bytes() for suffix in texts.SUFFIXES)


def test_the_key_follows_settings_and_what_a_tokeniser_has_learnt(tmp_path):
    first = text.key(settings(rjieba.Config()))
    assert first == text.key(settings(rjieba.Config()))
    assert first != text.key(settings(rjieba.Config(hmm=False)))
    assert first != text.key(settings(rjieba.Config(), cleaning.Steps(lower=False)))
    Path("tokeniser.json").write_text("{}")
    learnt = text.key(settings(rjieba.Config()))
    Path("tokeniser.json").write_text("{1}")
    assert len({first, learnt, text.key(settings(rjieba.Config()))}) == 3


def test_the_record_can_be_written_as_json():
    found = json.loads(json.dumps(text.record(settings(rjieba.Config()))))
    assert found["tokeniser"]["name"] == "rjieba" and {"rjieba", "jieba", "dictionary_sha256"} <= set(found["versions"])


@pytest.mark.parametrize(("length", "expected"), [(10, 4096), (300, 4096), (1000, 8192), (10_000, 131_072)])
def test_longer_texts_make_shards_of_fewer(length, expected):
    table = pd.DataFrame({"id": [str(k) for k in range(300)], "text": ["a" * length] * 300})
    parts.write_frame(table, Path("accepted"))
    found = text.settings(text.Config(), Path("accepted"), np.zeros(300), Path(), {}, Path())
    assert text.row_bytes(found) == expected
    assert text.key(found) == text.key(settings(rjieba.Config()))


def test_no_text_is_an_empty_shard():
    assert text.shard(job([], "none")) == 0
    assert texts.read(Path("none")) == ([], []) and texts.Cut.read(Path("none")).types == []


KILLED = """
import sys
from tests.preparation.test_text import jobs
from pipeline import workers
from pipeline.preparation import text
if __name__ == "__main__":
    for number, _ in enumerate(workers.imap(text.shard, jobs(sys.argv[1]), workers=2)):
        print(number, flush=True)
"""


@pytest.mark.parametrize("shards", [0, 2])
def test_a_killed_run_leaves_nothing_that_shows_in_the_next(shards):
    """The parent is killed; its workers end, and the same jobs over what it left give the same bytes."""
    Path("script.py").write_text(KILLED)
    run = [sys.executable, "script.py", "killed"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True) as process:
        for _ in range(shards):
            assert process.stdout is not None and process.stdout.readline()
        if not shards:
            time.sleep(0.5)
        os.killpg(process.pid, signal.SIGKILL)
    shutil.move("killed", "left") if Path("killed").exists() else Path("left").mkdir()
    for each in jobs("again"):
        for path in Path("left").glob(f"{each.stem.name}.*"):  # half-made files are written over
            shutil.copy(path, each.stem.parent)
        text.shard(each)
    for each in jobs("fresh"):
        text.shard(each)
    assert contents("again") == contents("fresh")
