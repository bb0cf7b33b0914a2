"""What a fold's process sees: its own split, and nothing that another fold or the held-out rows could tell it."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import artifacts, featurize, folds, parts, prepare, prepared, split
from pipeline.config import Task
from pipeline.folding import workspace
from tests.folding import project

THREE = folds.Config(folds=3)
PLANTED = "魑魅"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project.inside(tmp_path, monkeypatch)
    (tmp_path / "dictionaries").mkdir()
    (tmp_path / "params.yaml").touch()
    (tmp_path / "dvc.yaml").touch()
    return tmp_path


def parted(task: Task) -> tuple[folds.Rows, np.ndarray]:
    rows = folds.read(task)
    return rows, folds.drawn(rows, THREE, "rows")


def walked(root: Path, task: Task, number: int) -> dict[str, object]:
    """What a fold learns of its train part: the files of data/features, by their names."""
    rows, found = parted(task)
    sided = folds.fold(rows, found, number, 1 / 9, THREE, "rows")
    folder = root / f".danlu/folds/toy/{number}"
    workspace.make(folder, "toy", sided)
    os.chdir(folder)
    try:
        for stage in (split, prepare, featurize):
            stage.main(task)
        counts = [len(prepared.table(artifacts.folder("prepared", "toy"), side)) for side in artifacts.SPLITS]
        assert counts == [int((sided == side).sum()) for side in (0, 1, 2)]  # nothing is dropped as a leak
        names = sorted(artifacts.folder("features", "toy").glob("*.json"))
        return {path.name: artifacts.read_json(path) for path in names}
    finally:
        os.chdir(root)


def test_a_word_of_one_part_alone_is_unknown_where_that_part_is_tested(root: Path) -> None:
    task = project.task(project.TEXT)
    rows = project.texts(90)
    project.write(rows)
    planted = np.flatnonzero(parted(task)[1] == 0)
    for row in planted:
        rows[row]["text"] += PLANTED
    project.write(rows)
    assert np.array_equal(np.flatnonzero(parted(task)[1] == 0), planted)
    for number in range(3):
        learnt = walked(root, task, number)
        terms = learnt["tfidf.json"]["word"] + learnt["tfidf.json"]["character"]  # type: ignore[index]
        known = [PLANTED[0] in learnt["vocabulary.json"], any(PLANTED[0] in term for term in terms)]  # type: ignore[operator]
        assert known == [number != 0] * 2


def test_statistics_of_the_channels_are_those_of_each_folds_train_part(root: Path) -> None:
    task = project.task(project.IMAGE)
    project.write(project.images(60))
    means = []
    for number in range(3):
        found = walked(root, task, number)["statistics.json"]
        folder = root / f".danlu/folds/toy/{number}/data/prepared/toy"
        pixels = np.concatenate([image[:] for image in prepared.images(folder, "train")])
        assert found["mean"] == pytest.approx([pixels.mean() / 255])  # type: ignore[index]
        means.append(found["mean"][0])  # type: ignore[index]
    assert len(set(means)) == 3


def test_the_folder_has_the_users_files_and_the_folds_own_split(root: Path) -> None:
    rows = project.texts(60)
    for k in (4, 5):
        rows[k]["split"] = "test"
    project.write(rows, [("t:4", "t:6"), ("t:7", "t:8")])
    given, found = parted(project.task(project.TEXT))
    sided = folds.fold(given, found, 0, 1 / 9, THREE, "rows")
    folder = root / ".danlu/folds/toy/0"
    (root / ".danlu/paraphrases").mkdir(parents=True)
    (root / ".danlu/paraphrases/command.jsonl").write_text("answered\n")
    workspace.make(folder, "toy", sided)
    (folder / ".danlu/paraphrases/command.jsonl").write_text("the fold's own\n")
    assert (root / ".danlu/paraphrases/command.jsonl").read_text() == "answered\n"
    assert {path.name for path in folder.iterdir()} == {
        ".danlu",
        "data",
        "dictionaries",
    }  # neither params.yaml nor dvc.yaml
    table = parts.read(folder / "data/validated/toy/accepted", ["id", "split"]).set_index("id")["split"]
    assert not {"t:4", "t:5", "t:6"} & set(table.index) and len(table) == 57
    for name, side in table.items():
        assert artifacts.SPLITS[sided[int(str(name)[2:])]] == side
    left = pd.read_parquet(folder / "data/validated/toy/neighbours.parquet")
    assert left.values.tolist() == [["t:7", "t:8"]]
    workspace.make(folder, "toy", sided)  # as after a kill
    assert parts.read(root / "data/validated/toy/accepted", ["id", "split"])["split"].notna().sum() == 2
