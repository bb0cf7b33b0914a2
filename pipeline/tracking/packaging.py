"""Logs a bundle as an MLflow model from code, with the few files of the pipeline that answering needs."""

import hashlib
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline import inference
from pipeline.tracking import bundle as manifest
from pipeline.tracking import serving, store, trained

CODE = (
    "__init__.py",
    "errors.py",
    "targets.py",
    "engines/__init__.py",
    "engines/onnxruntime.py",
    "engines/onnxruntime_cuda.py",
    "engines/openvino.py",
    "features/__init__.py",
    "features/cleaning.py",
    "features/colours.py",
    "features/decoding.py",
    "features/jpeg.py",
    "features/reading.py",
    "features/resizing.py",
    "features/rewriting.py",
    "features/terms.py",
    "rowwise.py",
    "tokenisers/__init__.py",
    "tokenisers/_pieces.py",
    "tokenisers/_stop_words.py",
    "tokenisers/_words.py",
    "tokenisers/bpe.py",
    "tokenisers/char.py",
    "tokenisers/jieba.py",
    "tokenisers/rjieba.py",
    "tokenisers/wordpiece.py",
    "tracking/__init__.py",
    "tracking/bundle.py",
    "tracking/serving.py",
)
SERVING = ("mlflow", "numpy", "pandas")  # what any served model needs beside its engine
PACKAGE = Path(__file__).parents[1]


def served_file(kind: str) -> Path:
    return PACKAGE / "tracking" / f"served_{kind}.py"


def requirements(kind: str, record: Mapping[str, Any]) -> list[str]:
    """The packages, with their versions here, that a model of this bundle needs; no other."""
    images = ["pillow", "simplejpeg"]
    own = images
    if kind == "text":
        own = [name for name in record["preparation"]["versions"] if not name.endswith("sha256")]
    package = inference.package(inference.engine(serving.engine(record)))
    return [f"{name}=={version(name)}" for name in (*SERVING, package, *own)]


def code_sha256(kind: str) -> str:
    """One word for the code that answers."""
    total = hashlib.sha256(b"with the trained weights and their hashes")
    for path in [PACKAGE / name for name in CODE] + [served_file(kind)]:
        total.update(path.read_bytes() + b"\0")
    return total.hexdigest()


def log_model(
    kind: str,
    bundle: Path,
    sha256: str,
    example: Sequence[str],
    measured: Mapping[str, Any],
    run_id: str,
    record: Mapping[str, Any],
    files: Mapping[str, Path],
) -> str:
    """Logs the model into a run and returns its URI.

    example: at least two raw inputs (one row alone would fix the batch size in what readers copy).
    record: what the bundle's manifest says.
    measured: the test predictions, kept beside the bundle for later comparisons.
    files: of the trained network, for those who go on from it; none where no network is served.
    """
    import mlflow

    from pipeline import artifacts

    store.quieten()
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / "code" / "pipeline"
        for name in CODE:
            (code / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PACKAGE / name, code / name)
        artifacts.write_json(Path(folder) / "measured.json", measured)
        beside = {"bundle": str(bundle), "measured": str(Path(folder) / "measured.json")}
        if files:
            beside[trained.FOLDER] = str(Path(folder) / trained.FOLDER)
            manifest.build(Path(beside[trained.FOLDER]), {"bundle": sha256}, files)
        # recorded, not filtered: MLflow puts a filter of its own before anyone's for its advice on type hints
        with mlflow.start_run(run_id=run_id), warnings.catch_warnings(record=True):
            info = mlflow.pyfunc.log_model(
                name="model",
                python_model=str(served_file(kind)),
                artifacts=beside,
                code_paths=[str(code)],
                input_example=list(example),
                pip_requirements=requirements(kind, record),
                model_config={"sha256": sha256},
                metadata={"kind": kind, "sha256": sha256},
            )
    return str(info.model_uri)
