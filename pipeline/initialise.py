"""Looks at a folder or a file of a user's own data and writes the block of a task into params.yaml."""

import io
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import artifacts, config, recognition, tabular, targets
from pipeline.errors import ConfigError, DataError
from pipeline.examples import Example
from pipeline.initial import published
from pipeline.recognition import EXPECTED
from pipeline.sources import _place
from pipeline.tabular import Block, Columns
from pipeline.tally import Tally

NOTHING = Columns()
LOOKED_AT = 100  # images whose size is read
MANY_CLASSES = 20  # fewer may each have an example or two to begin with


def initialise(path: Path, name: str | None = None, params: Path = config.PARAMS, said: Columns = NOTHING) -> str:
    """Adds the task that a folder or file gives and returns what was found, a line or two for the user.

    Raises: ConfigError, DataError.
    """
    block, found = look(path, said)
    name = name or suggested_name(path, block["kind"])
    if block["kind"] == "image":
        block |= start(published.USUAL_ADDRESS)
    add(params, name, block)
    return f"{params}: added the task {name} ({block['kind']}): {found}; `danlu run {name}` runs it"


def start(address: str) -> Block:
    """The sections model and train with published weights where they can be had now, else with a remark why not."""
    from ruamel.yaml.comments import CommentedMap

    if not (reason := published.out_of_reach(address)):
        return {"model": {"name": "torchvision", "architecture": published.USUAL}, "train": {"init": "pretrained"}}
    train = CommentedMap(init="random")
    later = f"else pretrained, with model: {{name: torchvision, architecture: {published.USUAL}}}"
    train.yaml_add_eol_comment(f"since {address} cannot be had now ({reason}); {later}", "init")
    return {"train": train}


def look(path: Path, said: Columns = NOTHING) -> tuple[Block, str]:
    """The block for the data at `path`, and what was found there, in words."""
    path = _from_root(path)
    try:
        _place.check_inside(str(path))
    except ValueError as error:
        raise ConfigError(f"danlu init: {error}") from None
    if not path.exists():
        raise ConfigError(f"danlu init: found nothing at {path}; {EXPECTED}")
    _place.hashable(path, "danlu init: source")
    source, remark = recognition.source(path, said)
    if source["path"] != str(path):  # a table's folder
        _place.hashable(Path(source["path"]), "danlu init: source")
    module, settings = config.named("sources", source, "danlu init")
    tally, sides = Tally(), list[int]()
    kind = module.KIND or settings.kind
    for example in module.read(settings):
        tally.add(example.id, example.label, example.refused)
        if kind == "image" and tally.total <= LOOKED_AT and (side := _side(example)):
            sides.append(side)
    if len(tally.labels) < 2:
        way_out = "; ".join(filter(None, ["add them, or correct the path", remark]))
        raise DataError(f"{path}: found {tally}; expected examples of at least 2 classes; {way_out}")
    found = "; ".join(filter(None, [str(tally), tabular.words(source), _doubt(tally), remark]))
    return _block(kind, source) | _small(sides), found


def _side(example: Example) -> int | None:
    """The longer side of an image in pixels, as its header has it, or None where that cannot be read."""
    from PIL import Image

    if example.refused or example.content is None:
        return None
    content = io.BytesIO(example.content) if isinstance(example.content, bytes) else example.content
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(content) as image:
            return max(image.size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _small(sides: Sequence[int]) -> Block:
    """The section prepare, with a remark where all the images are smaller than the usual size."""
    from ruamel.yaml.comments import CommentedMap

    from pipeline.preparation import image

    usual, largest = image.Config().side, max(sides, default=0)
    if not 0 < largest < usual:
        return {}
    prepare = CommentedMap(side=usual)
    remark = f"the images looked at have at most {largest} pixels a side; side: {max(8, largest)} trains faster"
    prepare.yaml_add_eol_comment(remark, "side")
    return {"prepare": prepare}


def _doubt(tally: Tally) -> str:
    """A remark where what is taken for labels can hardly be any."""
    classes = len(tally.labels)
    if classes < MANY_CLASSES or classes * 2 <= tally.examples:
        return ""
    doubt = "CAUTION: nearly every example has a class of its own; are these the labels? (--text, --label name columns)"
    numbers = all(targets.number(label) is not None for label in tally.labels)
    return f"{doubt}; where a number is to be told, set source.target: value" if numbers else doubt


def _from_root(path: Path) -> Path:
    """The path relative to the project's root where it lies inside, else absolute."""
    whole, root = os.path.abspath(path), os.getcwd()
    return Path(os.path.relpath(whole, root) if whole.startswith(root + os.sep) else whole)


def _block(kind: str, source: Mapping[str, Any]) -> Block:
    block: Block = {section: {} for section in config.SECTIONS}
    return block | {"kind": kind, "source": dict(source), "model": {"name": config.MODELS[kind]}}


def suggested_name(path: Path, kind: str) -> str:
    """A task name made of the file's or folder's; `images` or `texts` where that leaves nothing."""
    stem = path.resolve().stem if path.is_file() else path.resolve().name
    name = re.sub(r"[^a-z0-9_-]+", "-", stem.lower()).strip("-_")[:40]
    return name if re.match(r"[a-z]", name) else f"{kind}s"


def add(params: Path, name: str, block: Block) -> None:
    """Writes the block into params.yaml, or makes that file; what else stands there keeps its order and comments.

    Raises: ConfigError for a name that is taken or not allowed; the file is then as it was.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.util import load_yaml_guess_indent

    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096
    text = params.read_text("utf-8") if params.exists() else ""
    try:
        existing, indent, offset = load_yaml_guess_indent(text, yaml=yaml)
    except YAMLError as error:
        raise ConfigError(f"{params}: not valid YAML: {' '.join(str(error).split())[:300]}") from None
    settings: Any = CommentedMap() if existing is None else existing
    if not isinstance(settings, dict) or not isinstance(settings.get("tasks") or {}, dict):
        raise ConfigError(f"{params}: found no mapping `tasks:`; expected `tasks: {{name: …}}`; correct it")
    if not settings.get("tasks"):
        settings["tasks"] = CommentedMap()
    if name in settings["tasks"]:
        raise ConfigError(f"{params}: tasks.{name}: found such a task already; expected a new name; say --name NAME")
    settings["tasks"][name] = block
    yaml.indent(mapping=2, sequence=indent or 4, offset=2 if offset is None else offset)
    with artifacts.whole(params) as building:
        with building.open("w", encoding="utf-8") as file:
            file.write(text if existing is None else "")  # comments alone, which no mapping carries
            yaml.dump(settings, file)
        config.load(building)
