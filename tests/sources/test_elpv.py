from collections import Counter
from pathlib import Path

from pipeline.sources import elpv

LOCK = str(Path(elpv.__file__).with_suffix(".lock"))


def test_every_cell_has_its_class_and_the_probabilities_behind_it() -> None:
    examples = list(elpv.read(elpv.Config(LOCK)))
    counts = Counter(example.label for example in examples)
    assert counts == {"mono_ok": 705, "mono_defect": 369, "poly_ok": 1098, "poly_defect": 452}
    for example in examples:
        assert example.probabilities is not None and abs(sum(example.probabilities.values()) - 1) < 1e-9
        assert max(example.probabilities, key=lambda name: example.probabilities[name]) == example.label
        assert isinstance(example.content, Path) and example.content.is_file()


def test_the_licence_is_told() -> None:
    assert elpv.describe(elpv.Config(LOCK))["licence"] == "CC-BY-NC-SA-4.0"
