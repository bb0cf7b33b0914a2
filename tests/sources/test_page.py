"""Every block of docs/sources.md is one that `danlu check` accepts, and its verdicts are those of the code."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline import check, config
from pipeline.sources._delivery import Settings

PAGE = Path(__file__).parents[2].joinpath("docs/sources.md").read_text("utf-8")
FOUND = [YAML(typ="safe", pure=True).load(text) for text in re.findall(r"(?s)```yaml\n(.*?)```", PAGE)]
WHOLE, *BLOCKS = FOUND


@pytest.mark.parametrize("block", BLOCKS, ids=[f"{k}-{block['source']['name']}" for k, block in enumerate(BLOCKS)])
def test_the_block_is_one_of_its_kind(block: dict[str, Any]) -> None:
    config.named("sources", block["source"], "docs/sources.md", block["kind"])


def test_every_block_makes_a_task_with_the_lines_of_the_whole_one(tmp_path: Path) -> None:
    tasks = {f"t{k}": WHOLE["tasks"]["photos"] | block for k, block in enumerate(BLOCKS)}
    for block in tasks.values():
        block["model"] = {"name": config.MODELS[block["kind"]]}
    (tmp_path / "params.yaml").write_text(json.dumps({"tasks": WHOLE["tasks"] | tasks}))
    found = [str(error) for error in check.faults(tmp_path / "params.yaml")]
    assert all("which is missing" in line for line in found), found  # the data, which are not here


def test_the_limits_on_the_page_are_the_codes() -> None:
    found = Settings("x")
    assert f"`max_bytes` unpacked ({found.max_bytes // 10**9} GB)" in PAGE
    assert f"`max_entries` ({found.max_entries // 10**6} million)" in PAGE
    assert f"`max_ratio` bytes a byte of archive ({found.max_ratio:g})" in PAGE
    assert f"`max_depth` folders ({found.max_depth})" in PAGE
