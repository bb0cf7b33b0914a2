import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pipeline import export, graphs, network
from pipeline.errors import PipelineError
from pipeline.examples import ImageInputs, TextInputs
from pipeline.features import image
from pipeline.models import resnet, textcnn
from pipeline.targets import Target

IMAGES, TEXTS = ImageInputs(32, 32, 1, (0.4,), (0.2,)), TextInputs(60, 20)


@pytest.fixture(scope="module")
def image_graph(tmp_path_factory):
    torch.manual_seed(0)
    net = network.network(resnet, resnet.Config(), IMAGES, Target("classes", ("a", "b", "c"))).net.eval()
    path = tmp_path_factory.mktemp("image") / "fp32.onnx"
    export.export(net, IMAGES, path)
    return net, path


def test_norms_are_folded_and_nothing_lies_outside_the_file(image_graph):
    _, path = image_graph
    assert "BatchNormalization" not in graphs.operators(path)
    assert [file.name for file in path.parent.iterdir()] == ["fp32.onnx"]
    model = onnx.load(path, load_external_data=False)
    assert all(not tensor.external_data for tensor in model.graph.initializer)
    onnx.checker.check_model(model)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_normalised_in_one_pass(tmp_path, channels):
    inputs = ImageInputs(32, 32, channels, (0.4, 0.5, 0.6)[:channels], (0.2, 0.3, 0.1)[:channels])
    torch.manual_seed(0)
    net = network.network(resnet, resnet.Config(), inputs, Target("classes", ("a", "b", "c"))).net.eval()
    export.export(net, inputs, tmp_path / "fp32.onnx")  # compares its answers with the network's
    found = graphs.operators(tmp_path / "fp32.onnx")
    assert found["DequantizeLinear"] == 1 and not {"Cast", "Sub", "Div"} & set(found)
    names = [tensor.name for tensor in onnx.load(tmp_path / "fp32.onnx").graph.initializer]
    assert {"mean", "std"}.isdisjoint(names)


@pytest.mark.parametrize("scaling", ["zscore", "minmax", "none"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_scaling_is_one_pass_and_answers_as_the_network(tmp_path, scaling, channels):
    pixels = np.random.default_rng(0).integers(3, 250, (9, 32, 32, channels), np.uint8)
    found = image.statistics(pixels, scaling)
    inputs = ImageInputs(32, 32, channels, tuple(found["mean"]), tuple(found["std"]))
    torch.manual_seed(0)
    net = network.network(resnet, resnet.Config(), inputs, Target("classes", ("a", "b", "c"))).net.eval()
    export.export(net, inputs, tmp_path / "fp32.onnx")
    operators = graphs.operators(tmp_path / "fp32.onnx")
    assert operators["DequantizeLinear"] == 1 and not {"Cast", "Sub", "Div"} & set(operators)
    scaled = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - net.mean / 255) / (net.std / 255)
    with torch.inference_mode():
        expected = net.body(scaled)
    answers = graphs.answer(graphs.session(tmp_path / "fp32.onnx"))({"images": pixels})
    torch.testing.assert_close(torch.from_numpy(answers), expected, atol=1e-4, rtol=1e-4)


class Around(nn.Module):
    """An image model that reads its pixels before they are scaled, too, or by a mean that is no grey level."""

    def __init__(self, mean, twice):
        super().__init__()
        self.mean, self.twice = nn.Buffer(torch.tensor(mean)), twice
        self.head = nn.Linear(1, 2)

    def forward(self, images):
        centred = images.permute(0, 3, 1, 2).float() - self.mean
        scaled = centred / 40.0
        return self.head((scaled + centred if self.twice else scaled).mean(dim=(2, 3)))


@pytest.mark.parametrize(("mean", "twice"), [(50.7, False), (50.0, True)])
def test_pixels_that_are_read_otherwise_stay_as_they_are(tmp_path, mean, twice):
    torch.manual_seed(0)
    export.export(Around(mean, twice).eval(), IMAGES, tmp_path / "fp32.onnx")
    assert "DequantizeLinear" not in graphs.operators(tmp_path / "fp32.onnx")


@pytest.mark.parametrize("size", [1, 2, 7])
def test_an_image_graph_answers_as_the_network_at_any_batch_size(image_graph, size):
    net, path = image_graph
    batch = export.sample(IMAGES, size)
    with torch.inference_mode():
        expected = net(torch.from_numpy(batch))
    found = graphs.answer(graphs.session(path))({"images": batch})
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-4, rtol=1e-4)


def test_the_same_network_gives_the_same_bytes_without_a_path_of_this_machine(image_graph, tmp_path):
    net, path = image_graph
    export.export(net, IMAGES, tmp_path / "again.onnx")
    assert path.read_bytes() == (tmp_path / "again.onnx").read_bytes()
    assert b"site-packages" not in path.read_bytes() and b"pipeline" not in path.read_bytes()


def test_a_text_graph_takes_any_length_and_ignores_padding(tmp_path):
    torch.manual_seed(0)
    net = network.network(textcnn, textcnn.Config(), TEXTS, Target("classes", ("a", "b"))).net.eval()
    export.export(net, TEXTS, tmp_path / "fp32.onnx")
    answer = graphs.answer(graphs.session(tmp_path / "fp32.onnx"))
    ids = export.sample(TEXTS, 1)[:, :3]
    padded = torch.nn.functional.pad(torch.from_numpy(ids), (0, 6)).numpy()
    assert abs(answer({"ids": ids}) - answer({"ids": padded})).max() < 1e-5
    assert answer({"ids": ids[:, :1]}).shape == (1, 2)


class Averaged(nn.Module):
    """Ends as ResNet does; by channels last, torch makes the map's mean with a copy of strides of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.pool, self.head = nn.Conv2d(3, 16, 3), nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(16, 2)

    def forward(self, images):
        return self.head(torch.flatten(self.pool(torch.relu(self.first(images))), 1))


def test_the_mean_of_a_map_is_one_operator(tmp_path):
    torch.manual_seed(0)
    inputs = ImageInputs(32, 32, 3, (0.4,) * 3, (0.2,) * 3)
    export.export(network.Normalised(Averaged(), inputs).eval(), inputs, tmp_path / "fp32.onnx")
    found = graphs.operators(tmp_path / "fp32.onnx")
    assert found["ReduceMean"] == 1 and not {"Gather", "Range", "Shape"} & set(found)


class Drifting(nn.Module):
    """Answers something else each time it is asked, as no graph can."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 2)
        self.calls = 0.0

    def forward(self, images):
        self.calls += 1.0
        return self.head(images.float().mean(dim=(1, 2)) / 255) + self.calls


def test_a_graph_that_answers_otherwise_is_refused(tmp_path):
    with pytest.raises(PipelineError, match=r"logits differ .* expected at most"):
        export.export(Drifting().eval(), IMAGES, tmp_path / "fp32.onnx")
