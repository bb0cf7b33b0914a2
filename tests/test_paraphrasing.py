import json
import sys

import numpy as np
import pyarrow as pa
import pytest

from pipeline import artifacts, featurize, paraphrasing, prepared
from pipeline.config import Task
from pipeline.errors import DataError
from pipeline.features import cleaning
from pipeline.features.paraphrases import Config
from pipeline.fit import rewording
from pipeline.fit.settings import Texts
from pipeline.preparation import text as preparation
from pipeline.texts import Cut
from pipeline.tokenisers import rjieba
from tests.prepared_files import write_meta, write_split

TEXTS = {
    "train": ["房间很干净", "不好，太小了", "书很好看", "房间很干净", "质量不好"],
    "validation": ["酒店很旧", "屏幕很好"],
    "test": ["键盘太小", "好看"],
}
SCRIPT = """
import json, sys
with open("asked.txt", "a", encoding="utf-8") as asked:
    for line in sys.stdin:
        text = json.loads(line)["text"]
        asked.write(text + "\\n")
        print(json.dumps({"texts": [f"ＯＫ，{text}  非常", "" if "书" in text else "客房很清洁"]}))
"""


@pytest.fixture
def task(tmp_path, monkeypatch):
    """A text project as prepare leaves it, cut by prepare's own code, and a command of the user's."""
    monkeypatch.chdir(tmp_path)
    folder = artifacts.folder("prepared", "t")
    settings = preparation.Settings(cleaning.Steps(), rjieba.Config(), folder)
    for split, lines in TEXTS.items():
        write_split(folder, split, np.arange(len(lines)) % 2, ["bad", "good"])
        half = len(lines) // 2
        for start, part in ((0, lines[:half]), (half, lines[half:])):
            stem = folder / split / f"{start:010}"
            preparation.shard(preparation.Job(pa.array(part), (None,) * len(part), stem, settings))
    write_meta(folder, "text", ["bad", "good"])
    meta = artifacts.read_json(folder / "meta.json") | {"preparation": preparation.record(settings)}
    artifacts.write_json(folder / "meta.json", meta)
    (tmp_path / "dictionaries").mkdir()
    (tmp_path / "dictionaries/own.py").write_text(SCRIPT, "utf-8")
    command = [sys.executable, "dictionaries/own.py"]
    features = {"minimum_count": 1, "paraphrases": {"command": command, "copies": 2, "patience": 60}}
    return Task("t", "text", {"features": features})


def asked(folder):
    path = folder / "asked.txt"
    return path.read_text("utf-8").splitlines() if path.exists() else []


def test_train_texts_alone_are_given_and_what_comes_is_cut_as_the_split_is(task, tmp_path):
    featurize.main(task)
    out = artifacts.folder("features", "t")
    assert asked(tmp_path) == list(dict.fromkeys(prepared.cleaned(artifacts.folder("prepared", "t"), "train")))
    assert not {text for split in ("validation", "test") for text in TEXTS[split]} & set(asked(tmp_path))
    found = Cut.read(out / "paraphrases")
    assert len(found.offsets) - 1 == 10
    assert found.words(0) == rjieba.build(rjieba.Config()).cut("ok,房间很干净 非常")
    assert found.words(5) == [] and found.words(1) == found.words(3) == found.words(7)
    assert artifacts.read_json(out / "paraphrases.json") == {"copies": 2, "texts": 10, "none": 1, "same": 0}
    words = rewording.load(out, Texts(paraphrase=0.5))
    assert words and words.copies == 2 and words.paraphrases
    assert words.paraphrases.lengths[[4, 5]].tolist() == [len(found.words(4)), 0]


def test_what_was_answered_is_not_asked_again_but_by_another_command(task, tmp_path):
    folder, out = artifacts.folder("prepared", "t"), tmp_path / "out"
    out.mkdir()
    config = task.of_kind("features", "features")[1].paraphrases
    first = paraphrasing.write(folder, out, config)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert paraphrasing.write(folder, out, config) == first and len(asked(tmp_path)) == 4
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    kept = next((artifacts.STATE / "paraphrases").iterdir())
    kept.write_bytes(kept.read_bytes()[:-7])  # as a kill leaves it
    paraphrasing.write(folder, out, config)
    assert len(asked(tmp_path)) == 5
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (tmp_path / "dictionaries/own.py").write_text(SCRIPT + "\n", "utf-8")
    paraphrasing.write(folder, out, config)
    assert len(asked(tmp_path)) == 9


def test_a_command_that_dies_half_way_leaves_no_features_and_what_it_answered(task, tmp_path):
    good = (tmp_path / "dictionaries/own.py").read_text("utf-8")
    dying = good.replace(
        "        text = json",
        "        if '书' in json.loads(line)['text']: sys.exit('out of memory')\n        text = json",
    )
    (tmp_path / "dictionaries/own.py").write_text(dying, "utf-8")
    with pytest.raises(DataError, match=r"ended with 1 after 2 lines \(out of memory\)"):
        featurize.main(task)
    assert not artifacts.folder("features", "t").exists()
    kept = next((artifacts.STATE / "paraphrases").iterdir()).read_text().splitlines()
    assert [json.loads(line)[0] for line in kept] == asked(tmp_path) == ["房间很干净", "不好,太小了"]


def test_without_a_command_nothing_is_asked(task, tmp_path):
    featurize.main(Task("t", "text", {"features": {"minimum_count": 1}}))
    assert not list(artifacts.folder("features", "t").glob("paraphrases*")) and not asked(tmp_path)
    assert Config().command == ()
