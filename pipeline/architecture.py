"""What a network is made of: `danlu model TASK` prints its layers, their shapes, parameters and multiply-adds.

`python -m pipeline.architecture [--json] TASK`. Shapes and counts are those of one example.
"""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import artifacts, config
from pipeline.config import Task
from pipeline.errors import DataError, PipelineError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pipeline.network import Inputs


@dataclass(frozen=True)
class Layer:
    """A module that computes something of its own, or holds weights of its own."""

    name: str  # dotted, from the network on
    kind: str  # the module's class
    shape: tuple[int, ...]  # of what it gives for one example, without the batch's axis
    parameters: int
    multiply_adds: int


def layers(net: "nn.Module", inputs: "Inputs") -> list[Layer]:
    """In the order in which they are first run; a layer that runs several times counts them all.

    Multiply-adds are those of products of matrices, convolutions and attention, which are nearly all that is computed.
    """
    from torch import Tensor, nn
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    names = {module: name for name, module in net.named_modules()}
    shapes: dict[str, tuple[int, ...]] = {}
    steps: dict[str, int] = {}  # of recurrent layers, one kernel whose products are not counted
    counter = FlopCounterMode(display=False)

    def note(module: nn.Module, given: Any, found: Any) -> None:
        first = found if isinstance(found, Tensor) else found[0]
        shapes.setdefault(names[module], tuple(first.shape[1:]))
        if isinstance(module, nn.RNNBase):
            steps[names[module]] = steps.get(names[module], 0) + given[0].shape[1 if module.batch_first else 0]

    hooks = [module.register_forward_hook(note) for module in names]
    trained = net.training
    try:
        with sdpa_kernel(SDPBackend.MATH), counter:  # with gradients: attention's fast path would not be counted
            net.eval()(_one(inputs).to(next(net.parameters()).device))
    finally:
        net.train(trained)
        for hook in hooks:
            hook.remove()
    counted = counter.get_flop_counts()
    products = {name: sum(counted.get(f"{type(net).__name__}.{name}", {}).values()) // 2 for name in shapes if name}
    products[""] = sum(counted.get("Global", {}).values()) // 2
    found = []
    for name, shape in shapes.items():
        module = net.get_submodule(name)
        inner = _within(name, shapes)
        elsewhere = {p for other in inner for p in net.get_submodule(other).parameters()}
        weights = [p for p in module.parameters() if p not in elsewhere]
        own = products[name] - sum(products[other] for other in inner)
        if name in steps:
            own = steps[name] * sum(weight.numel() for weight in weights if weight.ndim == 2)
        if weights or own or not list(module.children()):
            found.append(Layer(name, type(module).__name__, shape, sum(p.numel() for p in weights), own))
    return found


def _one(inputs: "Inputs") -> "Tensor":
    """One example: an image, or a text of the greatest length."""
    import torch

    from pipeline.examples import ImageInputs

    if isinstance(inputs, ImageInputs):
        return torch.zeros(1, inputs.height, inputs.width, inputs.channels, dtype=torch.uint8)
    return torch.ones(1, inputs.length, dtype=torch.int64)


def _within(name: str, run: Collection[str]) -> list[str]:
    """Of the modules that were run the ones that another ran itself."""
    start = f"{name}." if name else ""
    inner = [other for other in run if other != name and other.startswith(start)]
    return [one for one in inner if not any(one.startswith(f"{other}.") for other in inner)]


def of_task(task: Task) -> tuple[list[Layer], dict[str, int]]:
    """The layers of the network that params.yaml describes, and their sums.

    Raises: DataError where the data that tell its inputs and outputs are not prepared.
    """
    import torch

    from pipeline import network, prepared

    folder, features = artifacts.folder("prepared", task.name), artifacts.folder("features", task.name)
    if not (folder / "meta.json").is_file() or not features.is_dir():
        raise DataError(
            f"{folder}: found no prepared data; expected them to tell the network's inputs and outputs; "
            f"run: danlu run {task.name} --until featurize"
        )
    reader = config.plugin("features", task.kind, f"{task.where}.kind")
    module, settings = task.named("model", "models")
    torch.manual_seed(0)
    inputs = reader.inputs(folder, features)
    found = layers(network.network(module, settings, inputs, prepared.target(folder)).net, inputs)
    return found, sums(found)


def sums(found: Sequence[Layer]) -> dict[str, int]:
    return {name: sum(getattr(layer, name) for layer in found) for name in ("parameters", "multiply_adds")}


def table(found: Sequence[Layer]) -> str:
    """For reading: one line a layer, and their sums."""
    head = ("layer", "kind", "output", "parameters", "multiply-adds")
    rows = [
        (one.name, one.kind, " × ".join(map(str, one.shape)), f"{one.parameters:,}", f"{one.multiply_adds:,}")
        for one in found
    ]
    total = sums(found)
    rows.append(("in all", "", "", f"{total['parameters']:,}", f"{total['multiply_adds']:,}"))
    widths = [max(len(row[k]) for row in (head, *rows)) for k in range(len(head))]
    return "\n".join(
        "  ".join(cell.rjust(width) if k > 2 else cell.ljust(width) for k, (cell, width) in enumerate(zip(row, widths)))
        for row in (head, *rows)
    )


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("danlu model", description="Layers, shapes, parameters and multiply-adds.")
    parser.add_argument("task", metavar="TASK")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(words)
    try:
        found, total = of_task(config.task(asked.task))
    except PipelineError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if asked.json:
        print(json.dumps({"layers": [dataclasses.asdict(layer) for layer in found], **total}, indent=1))
    else:
        print(table(found))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(main())
