"""Official fastText on tokenised texts, plain and quantised, in an interpreter that has fasttext.

Argument: a folder with train.txt, validation.txt and test.txt in fastText's own format. Settings are chosen by macro-F1
on validation. Prints as its last line, in JSON, for "plain", "quantised" and "smallest" {"bytes", "settings",
"validation", "accuracy", "macro_f1"}, the last two on test.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import exchange
import fasttext
import numpy as np

RATES, EPOCHS, DIMENSIONS = (0.1, 0.3, 0.5), (5, 10, 25), (10, 50)
FIXED = {"wordNgrams": 2, "minCount": 2, "bucket": 200_000, "thread": 1, "seed": 1, "verbose": 0}
KEPT = (2_000, 10_000, 50_000)  # words and pairs of words that stay when quantised


def read(path: Path) -> tuple[list[str], np.ndarray]:
    """Texts and their labels."""
    pairs = [line.split(" ", 1) for line in path.read_text("utf-8").splitlines()]
    return [text for _, text in pairs], np.array([label for label, _ in pairs])


def answers(model: Any, texts: list[str]) -> np.ndarray:
    """The likeliest label; by its compiled part, since the Python one does not work with numpy 2."""
    found = [model.f.predict(f"{text}\n", 1, 0.0, "strict") for text in texts]
    return np.array([pairs[0][1] if pairs else "" for pairs in found])


def score(model: Any, path: Path) -> tuple[float, float]:
    """Accuracy and macro-F1."""
    texts, labels = read(path)
    found = answers(model, texts)
    return float(np.mean(found == labels)), exchange.macro_f1(labels, found)


def described(model: Any, path: Path, folder: Path, settings: dict[str, Any], validation: float) -> dict[str, Any]:
    model.save_model(str(path))
    accuracy, macro_f1 = score(model, folder / "test.txt")
    told = {"bytes": path.stat().st_size, "settings": settings, "validation": validation}
    return told | {"accuracy": accuracy, "macro_f1": macro_f1}


def main() -> None:
    folder = Path(sys.argv[1])
    train, validation = (str(folder / f"{split}.txt") for split in ("train", "validation"))
    found = []
    for rate, epochs, dimension in itertools.product(RATES, EPOCHS, DIMENSIONS):
        settings = {"lr": rate, "epoch": epochs, "dim": dimension}
        model = fasttext.train_supervised(train, **settings, **FIXED)
        found.append((score(model, Path(validation))[1], settings))
    best, settings = max(found, key=lambda pair: pair[0])
    plain = fasttext.train_supervised(train, **settings, **FIXED)
    told = {"plain": described(plain, folder / "plain.bin", folder, settings, best)}
    quantised = []
    for kept in KEPT:
        model = fasttext.load_model(str(folder / "plain.bin"))
        model.quantize(
            train, cutoff=kept, retrain=True, qnorm=True, epoch=settings["epoch"], lr=settings["lr"], thread=1
        )
        scored = score(model, Path(validation))[1]
        about = settings | {"cutoff": kept}
        quantised.append(described(model, folder / f"{kept}.ftz", folder, about, scored))
    told["quantised"] = max(quantised, key=lambda one: (one["validation"], -one["bytes"]))
    told["smallest"] = min(quantised, key=lambda one: one["bytes"])
    print(json.dumps(told))


if __name__ == "__main__":
    main()
