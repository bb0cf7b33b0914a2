"""Proof by brute force, written another way than the search, that nothing near a held-out example is in train."""

import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import artifacts, config, fetch, parts, prepare, prepared, split, validate
from pipeline.features import cleaning
from pipeline.near import texts

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled tasks, prepared anew."""
    root = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "params.yaml", root)
    (root / "pipeline/sources").mkdir(parents=True)
    for lock in (ROOT / "pipeline/sources").glob("*.lock"):
        shutil.copy(lock, root / "pipeline/sources")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name in ("solar", "reviews"):
            for stage in (fetch, validate, split, prepare):
                stage.main(config.task(name))
    return root


@pytest.fixture
def sides(project: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Each example's split by id, for a task; the examples in use, in the manifest's order."""
    monkeypatch.chdir(project)

    def of(task: str) -> tuple[pd.DataFrame, np.ndarray]:
        found = {
            name: prepared.table(artifacts.folder("prepared", task), name, ["id"])["id"] for name in artifacts.SPLITS
        }
        side = {name: split for split, names in found.items() for name in names}
        manifest = parts.read(artifacts.folder("raw", task) / "manifest")
        manifest = manifest[manifest["id"].isin(set(side))].reset_index(drop=True)
        assert len(manifest) == len(side) > 2000
        return manifest, np.array([side[name] for name in manifest["id"]])

    return of


def test_no_near_duplicate_solar_cells_are_on_two_sides(sides: Any) -> None:
    manifest, side = sides("solar")
    bits, greys = [], []
    for path in manifest["path"]:
        image = Image.open(Path("data/raw/solar/files") / path).convert("L")
        small = np.array(image.resize((9, 8), Image.Resampling.LANCZOS), int)
        bits.append((np.diff(small, axis=1) > 0).ravel())
        greys.append(np.array(image.resize((64, 64), Image.Resampling.BICUBIC), float).ravel())
    signs = np.where(bits, 1, -1)
    distance = (64 - signs @ signs.T) // 2
    alike = (distance <= 8) & (np.corrcoef(greys) >= 0.99)
    np.fill_diagonal(alike, False)
    assert alike[side == "train"][:, side == "train"].sum() > 200  # there are some, within a side
    for one, other in combinations(artifacts.SPLITS, 2):
        assert not alike[side == one][:, side == other].any()


def test_no_near_duplicate_reviews_are_on_two_sides(sides: Any) -> None:
    from sklearn.feature_extraction.text import CountVectorizer

    manifest, side = sides("reviews")
    cleaned = [cleaning.clean(text) for text in manifest["text"]]
    assert len(set(cleaned)) == len(cleaned)  # and so no equal ones

    def runs(text: str) -> set[str]:
        return set(map("".join, zip(text, text[1:], text[2:], strict=False))) or {text}

    table = CountVectorizer(analyzer=runs, binary=True, dtype=np.int32).fit_transform(cleaned)
    size = np.asarray(table.sum(axis=1)).ravel()
    found = {}
    for one in artifacts.SPLITS:
        rows = np.flatnonzero(side == one)
        for some in np.array_split(rows, 1 + len(rows) // 500):
            common = (table[some] @ table.T).tocoo()
            a, b = some[common.row], common.col
            near = (5 * common.data >= 4 * (size[a] + size[b] - common.data)) & (a != b)
            for x, y in zip(a[near].tolist(), b[near].tolist(), strict=True):
                found[min(x, y), max(x, y)] = side[x] == side[y]
    assert len(found) > 20  # there are some, within a side
    assert all(found.values())
    for method in ("exact", "banded"):
        assert set(map(tuple, texts.neighbours(cleaned, jaccard=0.8, method=method).tolist())) == set(found)  # type: ignore[arg-type]
