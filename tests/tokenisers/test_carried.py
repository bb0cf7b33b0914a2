"""A served model carries the files that clean and cut, and with these alone it cuts as preparation did."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.features import cleaning
from pipeline.preparation import text as preparing
from pipeline.tokenisers import _words, bpe, char, jieba, rjieba, wordpiece
from pipeline.tracking import packaging

WORDS = "dictionaries/words.txt"
CONFIGS = [
    char.Config(),
    jieba.Config(parts_of_speech=("n", "v", "a")),
    rjieba.Config(dictionary=WORDS, stop_words="default"),
    bpe.Config(pieces=200),
    wordpiece.Config(pieces=200),
]
STEPS = cleaning.Steps(
    mojibake="repair", emoji="name", simplify="t2s", urls="mask", boilerplate=("更多*网",), repeats=2
)
RAW = "這個很好用的手機，杭研大厦！！！👍 http://a.cn è¿™ 更多新浪网 &amp; check-in 㐀"
CODE = """
import importlib, json, sys
from pathlib import Path
from pipeline.features import cleaning
def tuples(settings):
    return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
for number, record in enumerate(json.loads(Path("records.json").read_text())):
    module = importlib.import_module("pipeline.tokenisers." + record["tokeniser"]["name"])
    tokeniser = module.build(module.Config(**tuples(record["tokeniser"])), Path(str(number)))
    print(json.dumps(tokeniser.cut(cleaning.clean(sys.argv[1], cleaning.Steps(**tuples(record["clean"]))))))
assert not {"torch", "pandas", "mlflow", "numba", "PIL"} & set(sys.modules)
"""


@pytest.fixture
def _carried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(WORDS).parent.mkdir(parents=True)
    Path(WORDS).write_text("杭研大厦\n手机 0\n", "utf-8")
    root = Path(_words.__file__).parents[1]
    for name in packaging.CODE:
        if not name.startswith("tracking/"):
            (tmp_path / "pipeline" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, tmp_path / "pipeline" / name)


@pytest.mark.usefixtures("_carried")
def test_a_served_model_cuts_with_the_files_it_carries(tmp_path: Path) -> None:
    records, expected = [], []
    for number, config in enumerate(CONFIGS):
        files = Path(str(number))
        files.mkdir()
        module = preparing.tokeniser_module(config.name)
        module.train(config, [cleaning.clean(RAW, STEPS)] * 9, files)
        records.append(preparing.record(preparing.Settings(STEPS, config, files)))
        expected.append(module.build(config, files).cut(cleaning.clean(RAW, STEPS)))
    assert [len(record["files"]) for record in records] == [0, 0, 1, 1, 1]
    shutil.rmtree("dictionaries")  # the user's, which no server has
    Path("records.json").write_text(json.dumps(records))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-P", "-c", CODE, RAW], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert [json.loads(line) for line in run.stdout.splitlines()] == expected
    assert not list(tmp_path.glob("danlu-jieba-*"))


@pytest.mark.usefixtures("_carried")
def test_the_packages_asked_for_are_those_that_the_settings_use(tmp_path: Path) -> None:
    def asked(steps: cleaning.Steps, config: object) -> set[str]:
        module = preparing.tokeniser_module(config.name)  # type: ignore[attr-defined]
        module.train(config, ["很好"] * 9, tmp_path)
        record = {"preparation": preparing.record(preparing.Settings(steps, config, tmp_path))}
        found = {line.split("==")[0] for line in packaging.requirements("text", record)}
        return found - {*packaging.SERVING, "onnxruntime"}

    usual = cleaning.Steps()
    assert asked(usual, char.Config()) == set()
    assert asked(usual, jieba.Config()) == {"jieba"}
    assert asked(usual, rjieba.Config()) == {"rjieba", "jieba"}
    assert asked(cleaning.Steps(simplify="t2s"), bpe.Config()) == {"tokenizers", "opencc"}
    assert asked(STEPS, char.Config()) == {"opencc", "ftfy", "emoji"}
    assert packaging.requirements("image", {})[-2].startswith("pillow==")
