"""Networks and linear models as ONNX graphs of one file: constants folded, norms merged into convolutions.

B examples, H height, W width, C channels, T tokens or terms, V terms, K classes.
"""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import PipelineError
from pipeline.examples import ImageInputs, TextInputs

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto
    from torch import nn

OPSET, IR_VERSION = 20, 10
TOLERANCE = 1e-4
TWO_GIGABYTES = 2**31


def sample(inputs: ImageInputs | TextInputs, count: int = 2) -> np.ndarray:
    """A batch of the right shape and type with random content, uint8 [count, H, W, C] or int64 [count, T]."""
    random = np.random.default_rng(0)
    if isinstance(inputs, ImageInputs):
        return random.integers(0, 256, (count, inputs.height, inputs.width, inputs.channels), np.uint8)
    ids = random.integers(1, inputs.vocabulary, (count, min(inputs.length, 17)), np.int64)
    ids[1:, -5:] = 0  # padding, so that the comparison sees the mask
    return ids


def export(net: "nn.Module", inputs: ImageInputs | TextInputs, path: Path) -> None:
    """Writes the network as a folded fp32 graph: `images` or `ids` in, `logits` [B, K] out, B and T dynamic.

    Raises: PipelineError when the graph's answers differ from the network's by more than 1e-4.
    """
    import torch

    net = net.eval()
    image = isinstance(inputs, ImageInputs)
    batch = torch.from_numpy(sample(inputs))
    if image:  # by channels in memory: what pools all of a map would else be written with a copy that changes nothing
        batch = batch.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    dynamic = {0: torch.export.Dim.DYNAMIC} if image else {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with quietly():
        program = torch.onnx.export(
            net,
            (batch,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["images" if image else "ids"],
            output_names=["logits"],
            dynamic_shapes=(dynamic,),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    if isinstance(inputs, ImageInputs):
        read_pixels(model)
    write(model, path, ["batch"] if image else ["batch", "tokens"])
    for count in (1, 3):
        _compare(net, sample(inputs, count), path)


def read_pixels(model: "ModelProto") -> None:
    """Puts one DequantizeLinear in the place of the Cast, Sub and Div that normalise the pixels, where they stand.

    They are left as they are where anything else reads what is between them, or the mean is no whole grey level.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    chain = [node for node in graph.node if node.op_type == "Cast" and _from_input(model, node)][:1]
    while chain and len(chain) < 3 and len(after := readers.get(chain[-1].output[0], [])) == 1:
        chain += after
    if [node.op_type for node in chain] != ["Cast", "Sub", "Div"]:
        return
    cast, sub, div = chain
    if not {sub.input[1], div.input[1]} <= set(constants) or sub.input[0] != cast.output[0]:
        return
    mean, std = (constants[node.input[1]].reshape(-1) for node in (sub, div))
    zero = mean.round().clip(0, 255).astype(np.uint8)
    if zero.shape != std.shape or (zero != mean).any():
        return
    added: dict[str, np.ndarray] = {"pixel_scale": 1 / std, "pixel_zero": zero}
    read = helper.make_node("DequantizeLinear", [cast.input[0], *added], [div.output[0]], "read_pixels", axis=1)
    graph.node.insert(list(graph.node).index(cast), read)
    for node in chain:
        graph.node.remove(node)
    idle = {sub.input[1], div.input[1]} - {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name in idle]:
        graph.initializer.remove(tensor)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in added.items())


def _from_input(model: "ModelProto", node: "NodeProto") -> bool:
    """Whether the node reads the graph's input, turned at most."""
    makers = {name: other for other in model.graph.node for name in other.output}
    name = node.input[0]
    while name in makers and makers[name].op_type == "Transpose":
        name = makers[name].input[0]
    return name == model.graph.input[0].name


def linear(coefficients: np.ndarray, intercept: np.ndarray, path: Path) -> None:
    """Writes logits = Σ weights · coefficients[:, terms] + intercept, for coefficients [K, V] and intercept [K].

    Inputs `terms` int64 [B, T] and `weights` float32 [B, T]; term V is padding, whose row is zero.
    """
    from onnx import TensorProto, helper, numpy_helper

    classes = len(intercept)
    rows = np.concatenate([coefficients.T, np.zeros((1, classes))]).astype(np.float32)
    constants: dict[str, np.ndarray] = {
        "coefficients": rows,
        "intercept": np.asarray(intercept, np.float32),
        "last": np.array([2], np.int64),
        "over_terms": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["coefficients", "terms"], ["of_terms"], "gather", axis=0),
        helper.make_node("Unsqueeze", ["weights", "last"], ["column"], "unsqueeze"),
        helper.make_node("Mul", ["of_terms", "column"], ["weighted"], "weigh"),
        helper.make_node("ReduceSum", ["weighted", "over_terms"], ["total"], "sum", keepdims=0),
        helper.make_node("Add", ["total", "intercept"], ["logits"], "add"),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [
            helper.make_tensor_value_info("terms", TensorProto.INT64, ["batch", "terms_of_one"]),
            helper.make_tensor_value_info("weights", TensorProto.FLOAT, ["batch", "terms_of_one"]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="danlu"), path)


def write(model: "ModelProto", path: Path, dynamic: list[str]) -> None:
    """Folds the model offline and writes it; `dynamic` names the leading dimensions of its input."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    strip(model)
    for k, name in enumerate(dynamic):
        model.graph.input[0].type.tensor_type.shape.dim[k].dim_param = name
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = dynamic[0]
    with tempfile.TemporaryDirectory() as folder, quietly():
        plain, folded = Path(folder) / "plain.onnx", Path(folder) / "folded.onnx"
        save(model, plain)
        quant_pre_process(str(plain), str(folded), skip_symbolic_shape=True)
        model = onnx.load(folded)
        del model.graph.value_info[:]
        save(onnx.shape_inference.infer_shapes(model), path)


def strip(model: "ModelProto") -> None:
    """Takes out what differs from run to run or names this machine: traces, documentation, inferred shapes."""
    model.doc_string = ""
    model.graph.doc_string = ""
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]


def save(model: "ModelProto", path: Path) -> None:
    """Writes one file without external data, the same bytes for the same model.

    Raises: PipelineError above the 2 GB that one file may hold.
    """
    if model.ByteSize() >= TWO_GIGABYTES:
        raise PipelineError(
            f"{path}: the graph takes {model.ByteSize():,} bytes; expected less than 2 GB; use a smaller model"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _compare(net: "nn.Module", batch: np.ndarray, path: Path) -> None:
    import torch

    from pipeline import graphs

    run = graphs.session(path)
    found = graphs.answer(run)({run.get_inputs()[0].name: batch})
    with torch.inference_mode():
        expected = net(torch.from_numpy(batch)).numpy()
    scale = max(1.0, float(np.abs(expected).max()))
    difference = float(np.abs(found - expected).max())
    allowed = TOLERANCE * scale
    if not difference <= allowed:
        raise PipelineError(
            f"{path}: its logits differ from the network's by {difference:.2g}; expected at most {allowed:.2g}; "
            "an operator of the model is not exported faithfully"
        )


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the exporter's progress on stdout, its log and its deprecation warnings, which name its own parts."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
