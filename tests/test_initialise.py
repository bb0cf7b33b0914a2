import hashlib
import json
import os
import re
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline import config, initialise
from pipeline.errors import ConfigError, DataError
from pipeline.initial import published
from pipeline.initialise import Columns
from tests.initial.served import serving

ROWS = [(f"这个产品很好用{k}", "好") if k % 2 else (f"质量太差了{k}", "差") for k in range(20)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(published, "USUAL_ADDRESS", "http://127.0.0.1:1/resnet18-f37072fd.pth")  # nothing is there
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
    assert task.raw["model"] == {"name": "resnet"} and task.raw["train"] == {"init": "random"}


@pytest.mark.parametrize(("side", "words"), [(28, "at most 28 pixels a side; side: 28 trains faster"), (200, "")])
def test_of_images_smaller_than_the_usual_size_a_comment_says_so(side: int, words: str) -> None:
    for path in images().rglob("*.png"):
        Image.new("L", (side, side // 2)).save(path)
    initialise.initialise(Path("pets"))
    text = Path("params.yaml").read_text("utf-8")
    assert ("side: 96  # the images looked at have " + words in text) if words else ("prepare: {}" in text)
    assert config.task("pets").of_kind("prepare", "preparation")[1].side == 96


def test_without_published_weights_a_comment_says_why_the_start_is_random() -> None:
    initialise.initialise(images())
    line = next(line for line in Path("params.yaml").read_text("utf-8").splitlines() if "init:" in line)
    assert "init: random  # since http://127.0.0.1:1/resnet18-f37072fd.pth cannot be had now (" in line
    assert "Connection refused); else pretrained, with model: {name: torchvision, architecture: resnet18}" in line


def test_where_published_weights_can_be_had_a_task_of_images_starts_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "resnet18-f37072fd.pth").write_bytes(b"x" * 100)
    with serving(tmp_path / "server") as server:
        monkeypatch.setattr(published, "USUAL_ADDRESS", server.address("resnet18-f37072fd.pth"))
        initialise.initialise(images())
        assert [method for method, _ in server.asked] == ["HEAD"]  # no download
    task = config.task("pets")
    assert task.raw["model"] == {"name": "torchvision", "architecture": "resnet18"}
    assert task.raw["train"] == {"init": "pretrained"}
    cached = published.cache() / "resnet18-f37072fd.pth"  # and without a network, where they are cached
    cached.parent.mkdir(parents=True)
    cached.touch()
    monkeypatch.setattr(published, "USUAL_ADDRESS", "http://127.0.0.1:1/resnet18-f37072fd.pth")
    initialise.initialise(images(), "again")
    assert config.task("again").raw["train"] == {"init": "pretrained"}


def test_texts_start_as_before() -> None:
    Path("a.csv").write_text("评论,类别\n" + "".join(f"{t},{c}\n" for t, c in ROWS), "utf-8")
    initialise.initialise(Path("a.csv"), "mine")
    assert config.task("mine").raw["train"] == {} and config.task("mine").raw["model"] == {"name": "textcnn"}


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


def test_a_group_column_is_taken_and_named() -> None:
    rows = [(t, c, f"g{k // 4}") for k, (t, c) in enumerate(ROWS)]
    Path("a.csv").write_text("text,label,Patient_ID\n" + "".join(",".join(row) + "\n" for row in rows), "utf-8")
    block, found = initialise.look(Path("a.csv"))
    assert block["source"]["group_column"] == "Patient_ID"
    assert "columns: text text; label label; group Patient_ID, whose rows stay on one side" in found


@pytest.mark.parametrize("group", ["one", ""])
def test_a_group_column_that_cannot_be_shared_out_is_none(group: str) -> None:
    Path("a.csv").write_text("text,label,group\n" + "".join(f"{t},{c},{group}\n" for t, c in ROWS), "utf-8")
    assert "group_column" not in initialise.look(Path("a.csv"))[0]["source"]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_group_column_of_a_table_of_images(form: str) -> None:
    rows = {
        "path": [f"{k}.png" for k in range(20)],
        "label": ["a", "b"] * 10,
        "group": [f"p{k // 5}" for k in range(20)],
        "split": ["train", "test"] * 10,
    }
    Path("photos").mkdir()
    for name in rows["path"]:
        Path("photos", name).touch()
    table = pa.table(rows).to_pandas()
    write = {
        "csv": lambda path: table.to_csv(path, index=False),
        "jsonl": lambda path: table.to_json(path, orient="records", lines=True),
        "parquet": table.to_parquet,
    }
    write[form](Path("photos", f"labels.{form}"))
    source = initialise.look(Path("photos"))[0]["source"]
    assert (source["name"], source["group_column"], source["split_column"]) == ("image_table", "group", "split")


@pytest.mark.parametrize("odd", ["pipe", "link", "name"])
def test_what_a_run_would_refuse_is_refused(odd: str) -> None:
    images()
    if odd == "pipe":
        os.mkfifo("pets/cats/pipe")
    elif odd == "link":
        Path("pets/cats/link").symlink_to("nowhere")
    else:
        Path(os.fsdecode(b"pets/cats/\xff.png")).touch()
    with pytest.raises(ConfigError, match=r"danlu init: source\.path: found pets/cats/.*which DVC cannot hash"):
        initialise.initialise(Path("pets"))
    Path("pets/labels.csv").write_text("path,label\ncats/1.png,a\ndogs/2.png,b\n")
    with pytest.raises(ConfigError, match="which DVC cannot hash"):
        initialise.initialise(Path("pets/labels.csv"))
    assert not Path("params.yaml").exists()


def test_a_label_of_its_own_for_every_row_is_doubted() -> None:
    rows = [f"{k},第{k}个产品质量很好,{'好' if k % 2 else '差'}\n" for k in range(40)]
    Path("a.csv").write_text("编号,内容,情感\n" + "".join(rows), "utf-8")
    assert "CAUTION" not in initialise.look(Path("a.csv"))[1]
    found = initialise.look(Path("a.csv"), Columns(text="编号", label="内容"))[1]
    assert "40 examples in 40 classes" in found and "and 20 more" in found
    assert "CAUTION: nearly every example has a class of its own; are these the labels?" in found


def test_numbers_for_labels_are_taken_for_classes_and_the_setting_for_values_is_named() -> None:
    Path("b.csv").write_text("text,label\n" + "".join(f"第{k}句话,{k / 7}\n" for k in range(40)), "utf-8")
    assert "where a number is to be told, set source.target: value" in initialise.look(Path("b.csv"))[1]


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
    Path("empty").mkdir()
    Path("tables/a.csv").write_text("text,label\n")
    Path("array.json").write_text('[{"text": "a"}]')
    for name in ("x.pdf", "x.xlsx", "x.rar", "notzip.zip"):
        Path(name).write_text("x")
    for path, message in {
        "nothing": "found nothing at nothing; expected a folder",
        "one": r"found 1 example in 1 class \(cats 1\); expected examples of at least 2 classes",
        "empty": "empty: found an empty folder; expected",
        "tables": "found 1 table and no other file; .*run `danlu init tables/a.csv`",
        "array.json": "one JSON array; expected JSON Lines",
        "x.pdf": r"found the suffix \.pdf; expected a folder of images.*; save it as one of these$",
        "x.xlsx": r"found the suffix \.xlsx; expected .* a zip or tar of these.*; save the sheet as CSV$",
        "x.rar": r"found the suffix \.rar; .*; unpack it, and pack it again as zip or tar$",
        "notzip.zip": r"found the suffix \.zip; .*; its first bytes are no such archive's: get it again$",
    }.items():
        with pytest.raises((ConfigError, DataError), match=message):
            initialise.look(Path(path))


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
@pytest.mark.parametrize("mark", [";", "|", "，"])
def test_another_separator_is_named(mark: str, encoding: str) -> None:
    lines = [f"评论{mark}星", *(f"{t},的{mark}{c}" for t, c in ROWS)]
    Path("a.csv").write_bytes("\n".join(lines).encode(encoding))
    with pytest.raises(DataError, match=rf"separator seems to be '{re.escape(mark)}'; .* as CSV with commas"):
        initialise.look(Path("a.csv"))


def test_tabs_in_a_csv_file_are_read_as_tabs() -> None:
    Path("a.csv").write_text("text\tlabel\n" + "".join(f"{t},的\t{c}\n" for t, c in ROWS), "utf-8")
    block, found = initialise.look(Path("a.csv"))
    assert block["source"]["format"] == "tsv" and "20 examples in 2 classes" in found


def test_files_in_two_encodings_are_an_error_that_names_them() -> None:
    Path("reviews").mkdir()
    Path("reviews/a.txt").write_bytes("产品质量\n".encode())
    Path("reviews/b.txt").write_bytes("产品质量\n".encode("gb18030"))
    Path("reviews/c.txt").write_bytes(b"ascii\n")
    with pytest.raises(DataError, match=r"found utf-8 in a\.txt, gb18030 in b\.txt; expected one encoding"):
        initialise.look(Path("reviews"))


def zipped(path: str, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return Path(path)


PETS = {"pets/cats/1.png": b"1", "pets/dogs/2.png": b"2"}


def test_an_archive_of_class_folders_is_a_delivery_with_what_is_wrapped_around() -> None:
    line = initialise.initialise(zipped("p.zip", PETS | {"pets/LICENSE": b"MIT\n", "pets/SHA256SUMS": sums(PETS)}))
    assert "added the task p (image): 2 examples in 2 classes" in line
    task = config.task("p")
    assert task.raw["source"] == {
        "name": "delivery",
        "path": "p.zip",
        "layout": {"name": "image_folder", "path": "pets"},
        "licence_file": "pets/LICENSE",
        "checksums": "pets/SHA256SUMS",
    }
    module, parsed = task.named("source", "sources")
    assert len(list(module.read(parsed))) == 2


def sums(files: dict[str, bytes]) -> bytes:
    files = {name.removeprefix("pets/"): content for name, content in files.items()} | {"LICENSE": b"MIT\n"}
    return "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()).encode()


@pytest.mark.parametrize(
    ("files", "layout"),
    [
        ({"cats/1.png": b"", "dogs/2.png": b""}, {"name": "image_folder"}),
        ({"train/cats/1.png": b"", "train/dogs/2.png": b""}, {"name": "image_folder"}),
        (
            {"in/a.csv": ("text,label\n" + "".join(f"{t},{c}\n" for t, c in ROWS)).encode()},
            {
                "name": "text_table",
                "path": "in/a.csv",
                "text_column": "text",
                "label_column": "label",
                "encoding": "utf-8",
            },
        ),
        (
            {"x/好.txt": "好\n".encode("gb18030"), "x/差.txt": "差\n".encode("gb18030")},
            {"name": "text_files", "path": "x", "encoding": "gb18030"},
        ),
        (
            {"x/i/1.png": b"", "x/i/2.png": b"", "x/l.csv": b"image,label\ni/1.png,a\ni/2.png,b\n"},
            {
                "name": "image_table",
                "path": "x",
                "table": "l.csv",
                "path_column": "image",
                "label_column": "label",
                "encoding": "utf-8",
            },
        ),
    ],
)
def test_every_layout_is_found_in_an_archive(files: dict[str, bytes], layout: dict[str, str]) -> None:
    assert initialise.look(zipped("p.zip", files))[0]["source"] == {
        "name": "delivery",
        "path": "p.zip",
        "layout": layout,
    }


def test_names_of_chinese_windows_are_found_out() -> None:
    raw = "图片.png".encode("gb18030")
    stand_in = "x" * len(raw)
    path = zipped("p.zip", {f"a/{stand_in}": b"", f"b/{stand_in}": b""})
    path.write_bytes(path.read_bytes().replace(stand_in.encode(), raw))
    assert initialise.look(path)[0]["source"]["names"] == "gb18030"


def delivered(root: str, listed: bool = True) -> None:
    files = {f"{name}/{k}.png": f"{root}{name}{k}".encode() for name in ("cats", "dogs") for k in range(3)}
    for name, content in files.items():
        Path(root, name).parent.mkdir(parents=True, exist_ok=True)
        Path(root, name).write_bytes(content)
    if listed:
        lines = [f"{hashlib.sha256(content).hexdigest()}  {name}" for name, content in files.items()]
        Path(root, "SHA256SUMS").write_text("\n".join(lines) + "\n")


def test_folders_with_check_sums_are_the_deliveries_of_an_inbox() -> None:
    delivered("inbox/may")
    delivered("inbox/june")
    block, found = initialise.look(Path("inbox"))
    layout = {"name": "image_folder"}
    assert block["source"] == {"name": "inbox", "path": "inbox", "layout": layout, "checksums": "SHA256SUMS"}
    assert "12 examples in 2 classes (cats 6, dogs 6)" in found
    for name in ("may", "june"):
        Path("inbox", name, "LICENSE").write_text("MIT\n")
        with Path("inbox", name, "SHA256SUMS").open("a") as file:
            file.write(f"{hashlib.sha256(b'MIT' + bytes([10])).hexdigest()}  LICENSE\n")
    block, found = initialise.look(Path("inbox"))
    assert block["source"]["licence_file"] == "LICENSE" and "refused" not in found


def test_an_archive_beside_folders_of_classes_is_an_inbox() -> None:
    delivered("inbox/may")
    zipped("inbox/june.zip", {name.removeprefix("pets/"): content for name, content in PETS.items()})
    Path("inbox/july.zip.part").write_bytes(b"PK")
    Path("inbox/july.zip.sha256").write_text("0" * 64)
    Path("inbox/README.txt").write_text("x")
    block, found = initialise.look(Path("inbox"))
    assert block["source"] == {"name": "inbox", "path": "inbox", "layout": {"name": "image_folder"}}
    assert "8 examples in 2 classes (cats 4, dogs 4)" in found
    assert "june.zip brings no list; `source.checksums: SHA256SUMS` wants one" in found


def test_folders_that_may_be_classes_stay_classes_with_a_word_about_the_inbox() -> None:
    delivered("inbox/may", listed=False)
    delivered("inbox/june", listed=False)
    block, found = initialise.look(Path("inbox"))
    assert block["source"]["name"] == "image_folder" and "if inbox/june is a delivery" in found
    zipped("pets.zip", PETS).rename(images() / "old.zip")
    block, found = initialise.look(Path("pets"))
    assert block["source"]["name"] == "image_folder" and "delivery" not in found
    delivered("one/may", listed=False)
    with pytest.raises(DataError, match=r"in 1 class .*if one/may is a delivery"):
        initialise.look(Path("one"))


def test_a_folder_with_a_list_of_check_sums_is_a_delivery() -> None:
    for name, content in (PETS | {"pets/LICENSE": b"MIT\n", "pets/SHA256SUMS": sums(PETS)}).items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    assert initialise.look(Path("pets"))[0]["source"] == {
        "name": "delivery",
        "path": "pets",
        "layout": {"name": "image_folder"},
        "licence_file": "LICENSE",
        "checksums": "SHA256SUMS",
    }


def test_a_licence_beside_texts_is_no_class() -> None:
    Path("reviews").mkdir()
    for name in ("a", "b", "LICENSE"):
        Path("reviews", f"{name}.txt").write_text(f"{name}\n")
    block, found = initialise.look(Path("reviews"))
    assert block["source"]["name"] == "delivery" and "(a 1, b 1)" in found


@pytest.mark.parametrize("path", ["photos", "photos/rows.tsv"])
def test_a_table_that_names_the_images_beside_it(path: str) -> None:
    for k in range(20):
        Path(f"photos/{k // 10}").mkdir(parents=True, exist_ok=True)
        Path(f"photos/{k // 10}/{k}.jpg").touch()
    rows = [f"{'好' if k % 2 else '差'}\t{k // 10}/{k}.jpg" for k in range(20)]
    Path("photos/rows.tsv").write_text("\n".join(rows), "utf-8")
    assert initialise.look(Path(path))[0]["source"] == {
        "name": "image_table",
        "path": "photos",
        "table": "rows.tsv",
        "path_column": "2",
        "label_column": "1",
        "header": "none",
        "encoding": "utf-8",
    }


def test_class_folders_beside_a_table_without_labels_stay_class_folders() -> None:
    Path(images(), "index.csv").write_text("path,bytes\ncats/1.png,1\ndogs/2.png,1\n")
    block, found = initialise.look(Path("pets"))
    assert block["source"] == {"name": "image_folder", "path": "pets"}
    assert "index.csv is left out: found no columns of images and their labels in it" in found


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_table_of_ratings_gives_soft_labels(form: str) -> None:
    Path("photos").mkdir()
    for k in range(20):
        Path(f"photos/{k}.png").touch()
    good = [0.9, 0.5, 0.125, 1] * 5
    bad = [1 - share for share in good[:-1]] + [7]  # one wrong row is for validation to say
    rows = {"path": [f"{k}.png" for k in range(20)], "good": good, "bad": bad, "patient": [k // 4 for k in range(20)]}
    table = pa.table(rows).to_pandas()
    table.to_parquet("photos/r.parquet") if form == "parquet" else table.to_csv("photos/r.csv", index=False)
    line = initialise.initialise(Path("photos"))
    assert "19 examples in 2 classes" in line and "probabilities of the classes good, bad; group patient" in line
    module, settings = config.task("photos").named("source", "sources")
    assert settings.probability_columns == ("good", "bad") and settings.label_column is None
    assert sum(not example.refused for example in module.read(settings)) == 19


def test_a_parquet_table_needs_no_encoding() -> None:
    table = pa.table({"评论": [t for t, _ in ROWS], "类别": [c for _, c in ROWS], "split": ["train", "test"] * 10})
    pq.write_table(table, "a.parquet")
    assert initialise.look(Path("a.parquet"))[0]["source"] == {
        "name": "text_table",
        "path": "a.parquet",
        "text_column": "评论",
        "label_column": "类别",
        "split_column": "split",
    }


def test_a_folder_of_tab_lists_is_the_users_split_and_no_class() -> None:
    Path("lists").mkdir()
    for name in ("train", "dev", "test"):
        Path("lists", f"{name}.txt").write_text("".join(f"{t}\t{c}\n" for t, c in ROWS), "utf-8")
    block, found = initialise.look(Path("lists"))
    assert block["source"] == {
        "name": "text_table",
        "path": "lists",
        "text_column": "1",
        "label_column": "2",
        "format": "tsv",
        "header": "none",
        "encoding": "utf-8",
    }
    assert "60 examples in 2 classes" in found


def test_a_hostile_or_foreign_archive_is_an_error() -> None:
    Path("a.rar").write_bytes(b"Rar!\x1a\x07")
    zipped("b.zip", PETS).write_bytes(Path("b.zip").read_bytes()[:-30])
    for name, message in {"a.rar": "found a rar archive", "b.zip": "cut off or broken"}.items():
        with pytest.raises(DataError, match=message):
            initialise.look(Path(name))
