"""The user's commands: `danlu init | check | config | run | model | predict | export | summary | ui`."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from flows import train
from pipeline import artifacts


def _init(asked: argparse.Namespace) -> int:
    from pipeline.initialise import Columns, initialise

    said = Columns(text=asked.text, label=asked.label, encoding=asked.encoding)
    print(initialise(Path(asked.path), asked.name, said=said))
    return 0


def _check(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "pipeline.check", *arguments]).returncode


def _model(asked: argparse.Namespace) -> int:
    if code := train.check():
        return code
    command = [sys.executable, "-m", "pipeline.architecture", *(["--json"] if asked.json else []), asked.task]
    return subprocess.run(command).returncode


def _run(asked: argparse.Namespace) -> int:
    return train.run(asked.task, asked.until, asked.jobs)


def _predict(asked: argparse.Namespace) -> int:
    from pipeline.predict import main

    main([asked.task, *(["--json"] if asked.json else []), *asked.inputs])
    return 0


def _export(asked: argparse.Namespace) -> int:
    from pipeline import config, plain

    if code := train.check():
        return code
    out = Path(asked.out) if asked.out else None
    print(plain.export(config.task(asked.task), out, asked.format, asked.split or artifacts.SPLITS))
    if doubt := train.behind(asked.task, "prepare"):
        print(f"{artifacts.folder('prepared', asked.task)}: {doubt}", file=sys.stderr)
    return 0


def _summary(asked: argparse.Namespace) -> int:
    from flows import table
    from flows.summary import summary

    found = summary()
    if asked.json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
    else:
        print(table.text(table.figure_rows(found["tasks"])))
    return 0


def _ui(asked: argparse.Namespace) -> int:
    from flows import ui

    return ui.serve(asked.mlflow_port, asked.prefect_port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("danlu", description="From one's own data to a small, checked, registered model.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    init = commands.add_parser("init", help="look at a folder or file and write its task into params.yaml")
    init.add_argument("path", metavar="FOLDER_OR_FILE")
    init.add_argument("--name", help="the task's name; made from the path when left out")
    init.add_argument("--text", metavar="COLUMN", help="the column of a table that holds the text")
    init.add_argument("--label", metavar="COLUMN", help="the column of a table that holds the label")
    init.add_argument("--encoding", help="of text files, such as gb18030; found out when left out")
    init.set_defaults(act=_init)

    check = commands.add_parser("check", help="check params.yaml whole")
    check.set_defaults(act=lambda asked: _check())

    config = commands.add_parser("config", help="print a task's settings with every default filled in")
    config.add_argument("task", metavar="TASK")
    config.set_defaults(act=lambda asked: _check("--show", asked.task))

    run = commands.add_parser("run", help="bring every task, or one, up to date")
    train.add_arguments(run)
    run.set_defaults(act=_run)

    model = commands.add_parser("model", help="print a network's layers, shapes, parameters and multiply-adds")
    model.add_argument("task", metavar="TASK")
    model.add_argument("--json", action="store_true")
    model.set_defaults(act=_model)

    predict = commands.add_parser("predict", help="answer from the registered model")
    predict.add_argument("task", metavar="TASK")
    predict.add_argument("inputs", nargs="+", metavar="FILE_OR_TEXT")
    predict.add_argument("--json", action="store_true")
    predict.set_defaults(act=_predict)

    export = commands.add_parser("export", help="write the prepared data as plain images or tables")
    export.add_argument("task", metavar="TASK")
    export.add_argument("--out", metavar="FOLDER", help="a new folder; data/exported/TASK when left out")
    export.add_argument("--format", metavar="WORD", help="png or jpeg; of texts csv, jsonl or parquet")
    export.add_argument("--split", action="append", choices=artifacts.SPLITS, help="this split alone; may be repeated")
    export.set_defaults(act=_export)

    summary = commands.add_parser("summary", help="the headline figures of every task")
    summary.add_argument("--json", action="store_true", help="every figure, for scripts")
    summary.set_defaults(act=_summary)

    ui = commands.add_parser("ui", help="the MLflow and Prefect pages, on this machine alone")
    ui.add_argument("--mlflow-port", type=int, default=5000, help="the port to try first (5000)")
    ui.add_argument("--prefect-port", type=int, default=4200, help="the port to try first (4200)")
    ui.set_defaults(act=_ui)
    return parser


def _from_here(asked: argparse.Namespace) -> None:
    """Makes the user's paths absolute, since `settings.apply` changes to the project's root."""
    for name in ("path", "out"):
        if getattr(asked, name, None):
            setattr(asked, name, os.path.abspath(getattr(asked, name)))
    if "inputs" in asked:
        asked.inputs = [os.path.abspath(word) if _is_file(word) else word for word in asked.inputs]


def _is_file(word: str) -> bool:
    try:
        return os.path.isfile(word)
    except ValueError:  # a NUL character
        return False


def main(words: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(words)
    _from_here(asked)
    return train.guarded(lambda: asked.act(asked))


if __name__ == "__main__":
    sys.exit(main())
