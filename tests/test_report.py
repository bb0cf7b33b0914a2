import re

import numpy as np
import pandas as pd
import pytest

from pipeline import artifacts, config, report
from pipeline.metrics import classes
from tests import compressed_entries
from tests.prepared_files import write_meta, write_split

CLASSES = ["好评", "<差评>"]


def figure(value):
    return {"value": value, "low": value - 0.02, "high": value + 0.02}


MODEL = {
    "name": "textcnn",
    "best_epoch": 2,
    "learning_rate": 0.1,
    "parameters": 1234,
    "multiply_adds": 5_000_000,
    "choices": {"device": "cpu (no CUDA device was found)"},
    "judged": {"train": {"loss": 0.4}, "validation": {"loss": 0.6}, "ignorant": {"loss": 0.7}},
    "layers": [{"name": "head", "kind": "Linear", "shape": [2], "parameters": 1234, "multiply_adds": 5_000_000}],
}


@pytest.fixture
def task(tmp_path, monkeypatch):
    """The artefacts of a small text task, as the stages write them."""
    monkeypatch.chdir(tmp_path)
    metrics = {name: figure(0.8) for name in classes.SHOWN} | {"praise_accuracy": figure(0.91)}
    both = {"trained": metrics, "control": metrics | {"macro_f1": figure(0.79)}, "compressed": metrics}
    candidates = {"net": {"metrics": both}, "baseline": {"metrics": both | {"control": metrics, "compressed": None}}}
    files = {
        "reports/t/report.json": {
            "classes": CLASSES,
            "chosen": "net",
            "cautions": ["the baseline is better"],
            "headline": "macro_f1",
            "candidates": candidates,
        },
        "compressed/t/compress.json": {"headline": "macro_f1", "candidates": {"net": compressed_entries.of_images()}},
        "validated/t/summary.json": {
            "read": 9,
            "kept": 6,
            "quarantined": {"duplicate": 2, "empty": 1},
            "near_pairs": 1,
            "largest_group": 2,
            "outliers": {"length": 3},
            "labels": {"changed": {"0": {"to": CLASSES[1], "rows": 5}}},
            "settings": {"max_drift": 0.25},
            "expectations": [
                {
                    "name": "unique_id",
                    "expectation": "unique",
                    "column": None,
                    "severity": "warning",
                    "success": False,
                    "unexpected": 2,
                }
            ],
        },
        "prepared/t/meta.json": {
            "leaks": 1,
            "counts": dict.fromkeys(artifacts.SPLITS, 2),
            "shares": {name: dict.fromkeys(CLASSES, 0.5) for name in artifacts.SPLITS},
            "drift": 0.017,
        },
        "registered/t/receipt.json": {
            "model_name": "t",
            "version": 3,
            "aliases": ["champion"],
            "decision": "first of its name",
        },
    }
    score = {"accuracy": 0.855, "low": 0.838, "high": 0.871, "seen": 0.0}
    naive = score | {"accuracy": 0.951, "seen": 0.77}
    files["metrics/t.leakage.json"] = {"honest": score, "naive": naive, "model": "linear SVM"}
    files["profiles/t.json"] = {"drift": {"length": 0.31}}
    for name, value in files.items():
        artifacts.write_json(artifacts.DATA / name, value)
    history = pd.DataFrame({"epoch": [1, 2], "train_loss": [0.7, 0.5], "validation_loss": [0.7, 0.6]})
    history["learning_rate"] = 0.1
    (artifacts.folder("models", "t")).mkdir(parents=True)
    artifacts.write_json(artifacts.folder("models", "t") / "model.json", MODEL)
    history.to_csv(artifacts.folder("models", "t") / "history.csv", index=False)
    answers = {"actual": [CLASSES[0]] * 2, "predicted": CLASSES}
    pd.DataFrame(answers).to_csv(artifacts.folder("reports", "t") / "confusion.csv", index=False)
    ids = {"id": ["a", "b"], "split": ["test"] * 2, "label": [CLASSES[0]] * 2}
    predictions = pd.DataFrame(ids | {"net_compressed": CLASSES, "net_compressed_probability": [0.9, 0.7]})
    predictions.to_parquet(artifacts.folder("reports", "t") / "predictions.parquet")
    write_split(artifacts.folder("prepared", "t"), "test", [0, 0], CLASSES, ids=["a", "b"])
    for start, text in enumerate(["质量很好", "<b>坏了</b>"]):
        path = artifacts.folder("prepared", "t") / "test" / f"{start:010}.texts.parquet"
        pd.DataFrame({"text": [text]}).to_parquet(path)
    return "t"


def test_the_page_restates_every_figure_and_needs_no_network(task):
    page = report.render([report.describe(task, "text")])
    for words in ("9 read, 6 kept, 3 in quarantine, 1 dropped", "0.800 (0.780–0.820)", "v3 @champion", "质量很好"):
        assert words in page
    for words in (
        "at most 1.7 points",
        "1,234 parameters, 5.0 million multiply-adds",
        "It overfits",
        "Caution: the baseline is better.",
        "device cpu (no CUDA device was found).",
        "11.9× smaller than fp32",
        "21.4× as fast as eager PyTorch, batch 1",
        "praise_accuracy",
        "11.9× smaller than fp32. On 494 validation examples",
        "../docs/t/index.html",
        "../examined/t/index.html",
        "0.951",
        "77 %",
        '<td class="wrong">0.310</td>',
        "length 3",
        "Label 0 is read as &lt;差评&gt;: 5 rows",
    ):
        assert words in page
    assert "<b>坏了" not in page and "&lt;b&gt;坏了" in page
    assert not re.search(r"(?:src|href)=\"https?://|url\(https?:|@import", page)
    assert page == report.render([report.describe(task, "text")])


def test_the_control_stands_beside_what_it_is_compared_with(task):
    headings = re.findall(r"<th>((?:net|baseline), \w+)", report.render([report.describe(task, "text")]))
    assert headings == [
        "baseline, trained",
        "net, trained",
        "net, control",
        "net, compressed",
    ]  # trained once: no control
    rows = report.candidate_rows(artifacts.read_json(artifacts.DATA / "reports/t/report.json"), ["macro_f1"])
    assert [row["cells"] for row in rows if "control" in row["name"]] == [["0.790 (0.770–0.810)"]]


def test_compression_of_the_registered_candidate_comes_first_and_the_other_is_folded(task):
    path = artifacts.folder("compressed", task) / "compress.json"
    both = {"headline": "macro_f1", "candidates": compressed_entries.of_texts()}
    artifacts.write_json(path, both)
    page = report.render([report.describe(task, "text")])
    assert '<h3 style="margin-top: 22px">Compression of the net</h3>' in page
    assert "<summary>Compression of the baseline: fp32 is chosen</summary>" in page
    reported = artifacts.read_json(artifacts.DATA / "reports/t/report.json")
    assert reported["chosen"] == "net" and page == report.render([report.describe(task, "text")])
    assert "embedding_int4 + dynamic_int8" in page and "0.96× as fast as fp32; at least" in page


def test_what_augmentation_does_to_texts_and_what_vectors_cover(task):
    page = report.render([report.describe(task, "text")])
    assert "What augmentation does" not in page and "Word vectors" not in page
    rows = [{"original": [["好", False], ["<b>", True]], "augmented": [["好", False], ["棒", True]]}]
    artifacts.write_json(artifacts.folder("models", task) / "augmented.json", rows)
    about = {"file": "vectors/v.txt", "dimension": 300, "types": 0.918, "tokens": 0.96, "bad_lines": 2}
    vectors = about | {"bad": ["line 7: 2 values where there are 300"]}
    artifacts.write_json(artifacts.folder("features", task) / "meta.json", {"vectors": vectors})
    page = report.render([report.describe(task, "text")])
    for words in ("What augmentation does", "好 <mark>&lt;b&gt;</mark>", "好 <mark>棒</mark>", "91.8 %", "line 7: 2"):
        assert words in page


def test_a_task_that_has_not_been_run_is_named_and_stops_nothing(task):
    block = {section: {} for section in config.SECTIONS} | {"kind": "text"}
    artifacts.write_json(config.PARAMS, {"tasks": {"t": block, "other": block}})  # YAML too
    report.main()
    page = (artifacts.DATA / "report/index.html").read_text("utf-8")
    assert "danlu run other" in page and "danlu run t<" not in page
    assert "v3 @champion" in page


def test_a_class_may_be_called_none(task):
    folder = artifacts.folder("reports", "t")
    table = pd.DataFrame({"actual": ["None", "NA"], "predicted": ["None", "None"]})
    table.to_csv(folder / "confusion.csv", index=False)
    written = artifacts.read_json(folder / "report.json")
    artifacts.write_json(folder / "report.json", written | {"classes": ["None", "NA"]})
    rows = report.describe("t", "text")["confusion"]
    assert [[cell["count"] for cell in row["cells"]] for row in rows] == [[1, 0], [1, 0]]


def test_what_augmentation_did_is_shown_where_train_drew_it(task):
    assert "what training saw" not in report.render([report.describe(task, "text")])
    (artifacts.folder("models", task) / "augmented.png").write_bytes(b"a picture")
    page = report.render([report.describe(task, "text")])
    assert "what training saw" in page and 'src="data:image/png;base64,YSBwaWN0dXJl"' in page


def test_mistakes_come_first(task):
    rows = report.sample_rows(task, "text", "net")
    assert [row["right"] for row in rows] == [False, True]


def test_pictures_are_the_prepared_pixels(task):
    folder = artifacts.folder("prepared", task)
    write_split(folder, "test", [0, 0], CLASSES, np.zeros((2, 4, 4, 1), np.uint8), ["a", "b"])
    write_meta(folder, "image", CLASSES, (4, 4, 1))
    assert all(row["image"].startswith("iVBOR") for row in report.sample_rows(task, "image", "net"))


def test_a_network_that_is_hardly_smaller_is_not_called_so():
    assert report._times_smaller(1.049) == "" and report._times_smaller(4) == "4.0× smaller than fp32"


def test_a_missing_figure_is_a_dash():
    assert report.interval_text(None) == "–"


def test_cross_validation_has_a_table_a_chart_and_a_link_to_the_suspects(task):
    assert "Cross-validation" not in report.render([report.describe(task, "text")])
    figures = {"value": 0.81, "low": 0.71, "high": 0.91, "folds": [0.8, None, 0.82]}
    measured = {"macro_f1": figures, "accuracy": figures | {"value": 0.875}}
    found = {"folds": 3, "headline": "macro_f1", "order": ["net"], "candidates": {"net": measured, "chosen": measured}}
    found["optimistic"] = False
    found["difference"] = {"macro_f1": {"value": -0.02, "low": -0.05, "high": 0.01}}
    artifacts.write_json(artifacts.DATA / "metrics/t.folds.json", found)
    artifacts.write_json(artifacts.folder("suspects", task) / "summary.json", {"rows": 0})
    page = report.render([report.describe(task, "text")])
    for words in (
        "Cross-validation: 3 folds",
        "0.810 (0.710–0.910)",
        "0.875 (0.710–0.910)",
        "macro_f1 of each fold",
        "fold by fold: macro_f1 -0.020 (-0.050 to +0.010).",
    ):
        assert words in page
    assert "../suspects/" not in page and "Optimistic: the search has chosen" not in page
    artifacts.write_json(artifacts.DATA / "metrics/t.folds.json", found | {"optimistic": True})
    assert "Optimistic: the search has chosen" in report.render([report.describe(task, "text")])
    said = {"rows": 9, "words": "about 7 of 90 labels are probably wrong (7.8 %)"}
    artifacts.write_json(artifacts.folder("suspects", task) / "summary.json", said)
    page = report.render([report.describe(task, "text")])
    assert '<a href="../suspects/t/index.html">About 7 of 90 labels' in page
    artifacts.write_json(artifacts.DATA / "metrics/t.folds.json", {"folds": 0})
    assert "Cross-validation" not in report.render([report.describe(task, "text")])
