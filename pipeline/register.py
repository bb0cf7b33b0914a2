"""Registers the winner as a model that takes raw input, and decides who is champion.

The last arrow of the graph: compressed, reports → registry and receipt. `reconcile` fills a registry that
lacks what a receipt names, from the same artefacts, and decides again.
"""

import base64
import logging
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import artifacts, config, parts, stage, targets
from pipeline.config import Task, setting
from pipeline.errors import PipelineError, RegistryError
from pipeline.targets import Answer, Target
from pipeline.tracking import answers, bundle, packaging, promotion, registry, store, trained
from pipeline.tracking.promotion import Measured, Promote
from pipeline.tracking.runs import Run

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
SIZES = (1, 2, 7)  # batch sizes at which a model must answer alike
SAMPLE = 42  # examples asked at each of them
TOLERANCE = 1e-3  # between an evaluated probability and a served one; of values in standard deviations


@dataclass(frozen=True)
class Config:
    name: str | None = setting(None)  # of the registered model; null: the task's
    promote: Promote = "auto"  # never: a new version is only ever challenger

    def __post_init__(self) -> None:
        if self.name is not None and not re.fullmatch(r"[\w.-]{1,100}", self.name):
            raise ValueError(f"name: found {self.name!r}; expected up to 100 letters, digits, _ - and .")


@dataclass(frozen=True)
class Winner:
    """What evaluate chose, and what it measured of it."""

    candidate: str
    variant: str
    graph: str  # its file's name
    engine: str
    headline: str
    rows: "pd.DataFrame"  # id, split, label, answer, probability (targets.Answer), sha256, and path or text
    target: Target


def winner(task: Task) -> Winner:
    """The candidate chosen on validation, its served variant and its answers on validation and test.

    Raises: RegistryError when it has no graph that could be served.
    """
    import pandas as pd

    reports, compressed = artifacts.folder("reports", task.name), artifacts.folder("compressed", task.name)
    report = artifacts.read_json(reports / "report.json")
    chosen = report["chosen"]
    entry = artifacts.read_json(compressed / "compress.json")["candidates"].get(chosen)
    if entry is None:
        raise RegistryError(
            f"{reports}/report.json: found {chosen!r} chosen, which has no graph in {compressed}; "
            "expected a candidate that compress has written; run compress and evaluate again"
        )
    rows = pd.read_parquet(reports / "predictions.parquet")
    target = targets.recorded(artifacts.read_json(artifacts.folder("prepared", task.name) / "meta.json"))
    answered = targets.answers(rows, f"{chosen}_compressed", target)
    numbers = pd.Series([numbers for _, numbers in answered], rows.index, dtype=object)
    rows = rows.assign(answer=[text for text, _ in answered], probability=numbers)
    columns = ["id", "path", "sha256", *(["text"] if task.kind == "text" else [])]
    manifest = pd.concat(
        part[part["id"].isin(rows["id"])]
        for part in parts.each(artifacts.folder("raw", task.name) / "manifest", columns)
    )
    rows = rows[["id", "split", "label", "answer", "probability"]].merge(manifest, on="id", validate="one_to_one")
    return Winner(chosen, entry["chosen"], entry["graph"], entry["engine"], report["headline"], rows, target)


def served_files(task: Task, won: Winner) -> tuple[dict[str, Any], dict[str, Path]]:
    """The bundle's settings and files: the graph, and what turns raw input into what the graph reads."""
    meta = artifacts.read_json(artifacts.folder("prepared", task.name) / "meta.json")
    features = artifacts.folder("features", task.name)
    files = {"model.onnx": artifacts.folder("compressed", task.name) / won.candidate / won.graph}
    for name in meta["preparation"].get("files", []):
        files[name] = artifacts.folder("prepared", task.name) / name
    settings: dict[str, Any] = {
        "task": task.name,
        "kind": task.kind,
        "candidate": won.candidate,
        "variant": won.variant,
        "engine": won.engine,
        **targets.record(targets.recorded(meta)),
        "preparation": meta["preparation"],
    }
    if task.kind == "image" and meta["preparation"]["fit"] == "none":  # as batches.read cuts them to the net's size
        side = artifacts.read_json(features / "statistics.json")["input"]
        settings["preparation"] = {**meta["preparation"], "size": side, "fit": "crop"}
    if task.kind == "text" and won.candidate == "net":
        files["vocabulary.json"] = features / "vocabulary.json"
        settings["length"] = artifacts.read_json(features / "meta.json")["length"]
    elif task.kind == "text":
        files["tfidf.json"] = features / "tfidf.json"
    return settings, files


def raw_inputs(task: Task, rows: "pd.DataFrame") -> list[str]:
    """What a user would send for these examples: base64 of the files, or the texts."""
    if task.kind == "text":
        return [str(text) for text in rows["text"]]
    files = artifacts.folder("raw", task.name) / "files"
    return [base64.b64encode((files / path).read_bytes()).decode() for path in rows["path"]]


def check_served(task: Task, uri: str, rows: "pd.DataFrame", target: Target) -> None:
    """Asks the model in a fresh process at each batch size and compares with the evaluated predictions.

    Raises: RegistryError for another label or a probability that is off by more than TOLERANCE.
    """
    step = max(1, len(rows) // SAMPLE)
    sample = rows.iloc[::step][:SAMPLE]
    for size, found in zip(SIZES, answers.ask(uri, raw_inputs(task, sample), SIZES), strict=True):
        evaluated = zip(sample["id"], sample["answer"], sample["probability"], strict=True)
        for (name, *expected), served in zip(evaluated, found, strict=True):
            if not _alike(served, (expected[0], expected[1]), target):
                raise RegistryError(
                    f"{uri}: {name}: found {_told(served)} at batch size {size}; expected "
                    f"{_told((expected[0], expected[1]))}, as evaluated; nothing was registered: run evaluate again, "
                    "or report this"
                )


def _alike(served: Answer, evaluated: Answer, target: Target) -> bool:
    """Of several labels the probabilities decide: one may lie at the threshold."""
    numbers, expected = served[1], evaluated[1]
    if isinstance(numbers, dict) and isinstance(expected, dict):
        return numbers.keys() == expected.keys() and all(abs(numbers[k] - expected[k]) <= TOLERANCE for k in numbers)
    if isinstance(numbers, dict) or isinstance(expected, dict):
        return False
    return served[0] == evaluated[0] and abs(numbers - expected) <= TOLERANCE * target.std


def _told(answer: Answer) -> str:
    text, numbers = answer
    if isinstance(numbers, dict):
        return ", ".join(f"{name} {p:.4f}" for name, p in numbers.items())
    return f"{text} with {numbers:.4f}" if text else f"{numbers:.6g}"


def measured(rows: "pd.DataFrame", target: Target) -> Measured:
    """The winner's answers on the test split."""
    test = rows[rows["split"] == "test"]
    ids, labels, contents = (list(map(str, test[name])) for name in ("id", "label", "sha256"))
    given = list(zip(test["answer"], test["probability"], strict=True))
    asked = None if target.kind == "classes" else targets.record(target)
    return Measured(promotion.test_key(ids, contents, labels), ids, labels, given, asked)


def register(task: Task, run: Run, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Registers the winner unless its bundle is registered already, decides, and returns the receipt.

    known: an earlier receipt for the same artefacts, whose look at the test set is not counted again.
    Raises: RegistryError when the tracker does not answer or the served model answers otherwise than evaluated.
    """
    run_id = run.wait()
    if not run_id:
        raise RegistryError(
            f"{store.tracking_uri()}: the tracker does not answer; expected a registry; start it and run again"
        )
    own = task.section("register", Config)
    name = own.name or task.name
    won = winner(task)
    today = measured(won.rows, won.target)
    models = registry.Models(store.client(), name)
    test_rows = won.rows[won.rows["split"] == "test"]

    def compare(champion: registry.Version) -> Any:
        def ask(uri: str) -> list[Answer]:
            return answers.ask(uri, raw_inputs(task, test_rows), (32,))[0]

        return promotion.gain(today, promotion.champions_answers(champion, today, ask), won.headline)

    with tempfile.TemporaryDirectory() as folder:
        sha256 = bundle.build(Path(folder) / "bundle", *served_files(task, won))
        find = _version(task, run_id, models, won, today, Path(folder) / "bundle", sha256)
        same = known is not None and known["sha256"] == sha256
        looks = int(known["looks"]) if known is not None and same else None
        version, decision, total = promotion.apply(models, find, own.promote, compare, known_looks=looks)
    return {
        "task": task.name,
        "model_name": name,
        "version": version.number,
        "run_id": version.run_id,
        "aliases": models.aliases_of(version),
        "decision": f"{decision.alias}: {decision.reason}",
        "gain": asdict(decision.gain) | {"metric": won.headline} if decision.gain else None,
        "against": decision.against,
        "sha256": sha256,
        "candidate": won.candidate,
        "variant": won.variant,
        "looks": total,
    }


def _version(
    task: Task, run_id: str, models: registry.Models, won: Winner, today: Measured, folder: Path, sha256: str
) -> Any:
    """Logs and checks the model now, outside the lock; what it returns finds or adds its version, under the lock."""
    code = packaging.code_sha256(task.kind)
    existing = models.with_sha256(sha256, code)
    if existing is not None:
        check_served(task, existing.uri, won.rows, won.target)
        return lambda: existing
    example = raw_inputs(task, won.rows.iloc[:2])
    record = bundle.verify(folder, sha256)
    files: Mapping[str, Path] = {}
    if won.candidate == "net":
        files = trained.files(artifacts.folder("models", task.name), artifacts.folder("features", task.name))
    uri = packaging.log_model(task.kind, folder, sha256, example, asdict(today), run_id, record, files)
    check_served(task, uri, won.rows, won.target)
    return lambda: models.with_sha256(sha256, code) or models.add(uri, run_id, sha256, code)


def _record(task: str) -> Path:
    return store.state() / "registry" / f"{task}.json"


def _tracked(task: Task, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    with Run(task.name, "register", {"register": asdict(task.section("register", Config))}) as run:
        receipt = register(task, run, known)
        for key in ("model_name", "version", "sha256", "candidate", "variant", "decision", "looks"):
            run.tag(f"registered.{key}", str(receipt[key]))
        reports = artifacts.folder("reports", task.name)
        for name in ("report.json", "confusion.csv"):
            if (reports / name).exists():
                run.artifact(reports / name)
    artifacts.write_json(_record(task.name), receipt)
    log.info("%s: version %s is %s", receipt["model_name"], receipt["version"], receipt["decision"])
    return receipt


def state(task: str) -> dict[str, Any]:
    """What is registered now for the artefacts at hand: the receipt, or what `reconcile` has since found.

    Raises: RegistryError when nothing has been registered.
    """
    path = artifacts.folder("registered", task) / "receipt.json"
    if not path.is_file():
        raise RegistryError(f"{path}: missing; expected a registered model; run `danlu run {task}`")
    receipt: dict[str, Any] = artifacts.read_json(path)
    if _record(task).is_file():
        record: dict[str, Any] = artifacts.read_json(_record(task))
        if record["sha256"] == receipt["sha256"]:
            return record
    return receipt


def reconcile(task: Task) -> dict[str, Any] | None:
    """Brings the registry to what the receipt's artefacts say, and returns what is registered; None without a receipt.

    For a fresh clone, a deleted database, or a receipt that DVC's run cache brought back with an old
    parameter. The decision is made anew, on today's champion. Costs milliseconds when nothing is amiss.
    """
    if not (artifacts.folder("registered", task.name) / "receipt.json").is_file():
        return None
    known = state(task.name)
    own = task.section("register", Config)
    if registry.all_well(own.name or task.name, known["sha256"], "champion" if own.promote == "auto" else "any"):
        return known
    return _tracked(task, known)


def main(task: Task) -> None:
    with artifacts.fresh(artifacts.folder("registered", task.name)) as out:
        artifacts.write_json(out / "receipt.json", _tracked(task))


def _reconcile_from_command_line(words: Sequence[str]) -> None:
    try:
        found = reconcile(config.task(words[0]))
    except PipelineError as error:
        print(f"register {words[0]}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(found["decision"] if found else "no receipt", file=sys.stderr)


if __name__ == "__main__":
    if "--reconcile" in sys.argv:
        _reconcile_from_command_line([word for word in sys.argv[1:] if word != "--reconcile"])
    else:
        stage.run("register", main)
