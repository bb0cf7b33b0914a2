import json
from pathlib import Path

import pytest

from pipeline import config, initialise
from pipeline.errors import ConfigError, DataError
from pipeline.initialise import Columns

ROWS = [(f"这个产品很好用{k}", "好") if k % 2 else (f"质量太差了{k}", "差") for k in range(20)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def images(root: str = "pets") -> Path:
    for name in ("cats/1.png", "dogs/2.png"):
        Path(root, name).parent.mkdir(parents=True, exist_ok=True)
        Path(root, name).write_bytes(b"x")
    return Path(root)


def test_a_folder_of_images_becomes_a_task_whose_settings_load() -> None:
    line = initialise.initialise(images())
    assert line.startswith("params.yaml: added the task pets (image): 2 examples in 2 classes (cats 1, dogs 1)")
    task = config.task("pets")
    module, parsed = task.named("source", "sources")
    assert (task.kind, module.__name__, parsed.path) == ("image", "pipeline.sources.image_folder", "pets")
    assert task.raw["model"] == {"name": "resnet"} and task.raw["train"] == {}


def test_a_folder_elsewhere_is_named_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images()
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    assert initialise.look(Path("../pets"))[0]["source"]["path"] == str(tmp_path / "pets")


def test_one_text_file_a_class() -> None:
    Path("reviews").mkdir()
    for label in ("好", "差"):
        Path("reviews", f"{label}.txt").write_bytes((label + "产品\n").encode("gb18030"))
    block = initialise.look(Path("reviews"))[0]
    assert block["source"] == {"name": "text_files", "path": "reviews", "encoding": "gb18030"}
    assert block["kind"] == "text" and block["model"] == {"name": "textcnn"}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "a.csv",
            "评论,类别\n" + "".join(f"{t},{c}\n" for t, c in ROWS),
            {"text_column": "评论", "label_column": "类别"},
        ),
        ("a.csv", "n,x,y\n" + "".join(f"1,{c},{t}\n" for t, c in ROWS), {"text_column": "y", "label_column": "x"}),
        (
            "a.tsv",
            "".join(f"{c}\t{t}\n" for t, c in ROWS),
            {"text_column": "2", "label_column": "1", "header": "none"},
        ),
        (
            "a.txt",
            "".join(f"{c}\t{t}\n" for t, c in ROWS),
            {"text_column": "2", "label_column": "1", "format": "tsv", "header": "none"},
        ),
        (
            "a.jsonl",
            "".join(json.dumps({"content": t, "sentiment": c}) + "\n" for t, c in ROWS),
            {"text_column": "content", "label_column": "sentiment"},
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_tables_of_every_make_are_found_out(name: str, content: str, expected: dict[str, str], encoding: str) -> None:
    Path(name).write_bytes(content.encode(encoding))
    found = "utf-8" if content.isascii() else encoding
    assert initialise.look(Path(name))[0]["source"] == {
        "name": "text_table",
        "path": name,
        **expected,
        "encoding": found,
    }
    assert "20 examples in 2 classes (好 10, 差 10)" in initialise.initialise(Path(name), "mine")


def test_what_the_user_says_goes_first() -> None:
    Path("a.csv").write_text(
        "text,label,other\n" + "".join(f"{t},{c},{k % 3}\n" for k, (t, c) in enumerate(ROWS)), "utf-8"
    )
    block = initialise.look(Path("a.csv"), Columns(label="other"))[0]
    assert block["source"]["label_column"] == "other"


def test_comments_and_other_tasks_stay_as_they_are() -> None:
    initialise.initialise(images(), "first")
    text = "# mine\n" + Path("params.yaml").read_text("utf-8").replace("path: pets", "path: 'pets' # here")
    Path("params.yaml").write_text(text, "utf-8")
    initialise.initialise(images(), "second")
    assert Path("params.yaml").read_text("utf-8").startswith(text)
    assert list(config.load()) == ["first", "second"]


@pytest.mark.parametrize("text", ["", "tasks:\n", "# only this\n", "tasks: {}\n"])
def test_an_empty_params_file_is_filled(text: str) -> None:
    Path("params.yaml").write_text(text)
    initialise.initialise(images())
    assert list(config.load()) == ["pets"]
    written = Path("params.yaml").read_text("utf-8")
    assert "\n  pets:\n    kind: image\n" in written and written.startswith(text.partition("tasks")[0])


@pytest.mark.parametrize("name", ["pets", "Bad Name"])
def test_a_refused_name_leaves_the_file_as_it_was(name: str) -> None:
    initialise.initialise(images())
    before = Path("params.yaml").read_bytes()
    with pytest.raises(ConfigError, match=r"found such a task already.*--name|expected a lower-case letter"):
        initialise.initialise(Path("pets"), name)
    assert Path("params.yaml").read_bytes() == before and sorted(map(str, Path().iterdir())) == ["params.yaml", "pets"]


@pytest.mark.parametrize("text", ["tasks: [1]\n", "tasks: {a: 1}\n", "- 1\n", "a: [\n"])
def test_a_faulty_params_file_is_an_error_and_stays(text: str) -> None:
    Path("params.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"params\.yaml"):
        initialise.initialise(images())
    assert Path("params.yaml").read_text() == text


@pytest.mark.parametrize(
    ("folder", "name"), [("My Cats (2024)", "my-cats-2024"), ("我的图片", "images"), ("2x", "images")]
)
def test_the_suggested_name_is_allowed(folder: str, name: str) -> None:
    assert initialise.suggested_name(images(folder), "image") == name


def test_what_cannot_be_a_task_is_an_error_with_the_way_out() -> None:
    Path("one/cats").mkdir(parents=True)
    Path("one/cats/1.png").touch()
    Path("tables").mkdir()
    Path("tables/a.csv").write_text("text,label\n")
    Path("array.json").write_text('[{"text": "a"}]')
    Path("x.pdf").touch()
    for path, message in {
        "nothing": "found nothing at nothing; expected a folder",
        "one": r"found 1 examples in 1 classes \(cats 1\); expected examples of at least 2 classes",
        "tables": "run `danlu init tables/a.csv`",
        "array.json": "one JSON array; expected JSON Lines",
        "x.pdf": r"found the suffix \.pdf; expected \.csv",
    }.items():
        with pytest.raises((ConfigError, DataError), match=message):
            initialise.look(Path(path))


def test_files_in_two_encodings_are_an_error_that_names_them() -> None:
    Path("reviews").mkdir()
    Path("reviews/a.txt").write_bytes("产品质量\n".encode())
    Path("reviews/b.txt").write_bytes("产品质量\n".encode("gb18030"))
    Path("reviews/c.txt").write_bytes(b"ascii\n")
    with pytest.raises(DataError, match=r"found utf-8 in a\.txt, gb18030 in b\.txt; expected one encoding"):
        initialise.look(Path("reviews"))
