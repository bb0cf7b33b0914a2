import logging
import re

import pytest
import torch
from torch import nn

from pipeline.errors import ConfigError, DataError
from pipeline.examples import ImageInputs, TextInputs
from pipeline.initial import fitting
from pipeline.initial.pins import Pin
from pipeline.initial.sources import Source
from pipeline.models import resnet, textcnn
from pipeline.network import Network, Normalised, network
from pipeline.targets import Target

COLOUR = ImageInputs(32, 32, 3, (0.1, 0.2, 0.3), (0.2, 0.2, 0.2))
GREY = ImageInputs(32, 32, 1, (0.4,), (0.2,))
PUBLISHED = Pin("https://example.org/resnet18-12345678.pth", "12345678")
OWN = Pin("weights/x.safetensors", "0" * 64)


def target(outputs, kind="classes"):
    return Target(kind, tuple("abcdefghij"[:outputs]))


def ours(outputs=4, inputs=COLOUR, seed=0, kind="classes", **settings):
    torch.manual_seed(seed)
    return network(resnet, resnet.Config(**settings), inputs, target(outputs, kind))


def theirs(inputs, outputs=4):
    """torchvision's own network, as a model's file builds it."""
    from torchvision import models

    torch.manual_seed(1)
    net = models.resnet18(num_classes=outputs)
    if inputs.channels == 1:
        net.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    return Network(Normalised(net, inputs), [net.conv1, net.layer1, net.fc], net)


def copied(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_all_but_a_head_of_other_outputs_is_kept_and_the_log_names_what_is_new(caplog):
    caplog.set_level(logging.INFO)
    given, net = ours(3, seed=1), ours(4)
    before, source = copied(net.net), copied(given.net)
    record = fitting.fit(net, Source(OWN, source))
    after = net.net.state_dict()
    head = {"body.head.weight", "body.head.bias"}
    assert {name for name in after if not torch.equal(after[name], source[name])} == head
    assert all(torch.equal(after[name], before[name]) for name in head)
    count = len(after) - 2  # mean and std aside
    assert (record["kept"], record["of"], record["from"]) == (count - 2, count, "weights/x.safetensors")
    assert record["new"] == ["head.weight [4, 128] (found [3, 128])", "head.bias [4] (found [3])"]
    line = caplog.messages[-1]
    assert f"kept {count - 2} of {count} tensors; new: head.weight [4, 128] (found [3, 128])" in line


def test_the_same_network_is_kept_whole_and_answers_alike():
    given, net = ours(seed=1), ours(inputs=ImageInputs(32, 32, 3, (0.9,) * 3, (0.5,) * 3))
    fitting.fit(net, Source(OWN, copied(given.net)))
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    assert torch.equal(net.net.eval()(images), given.net.eval()(images))  # its pixels' statistics too


def test_a_network_of_values_takes_what_one_of_classes_has_learnt_but_keeps_its_own_unit():
    net = ours(1, kind="value")
    record = fitting.fit(net, Source(OWN, copied(ours(3, seed=1).net)))
    assert len(record["new"]) == 2
    assert float(net.net.mean) == 0 and float(net.net.std) == 1


def test_every_tensor_that_does_not_fit_is_named_with_both_shapes():
    state = copied(ours(4, seed=1).net)
    del state["body.blocks.1.body.1.bias"]
    state["body.extra.weight"] = torch.zeros(2, 3)
    state["body.stem.0.weight"] = torch.zeros(8, 3, 5, 5)
    state["body.head.weight"] = torch.zeros(9, 9)
    net = ours(4)
    with pytest.raises(ConfigError) as error:
        fitting.fit(net, Source(OWN, state))
    message = str(error.value)
    assert message.startswith(
        "train.init: weights/x.safetensors: found weights of other settings, of which 3 tensors do not fit: "
    )
    assert "stem.0.weight [16, 3, 5, 5] (found [8, 3, 5, 5])" in message
    assert "blocks.1.body.1.bias [32] (found none)" in message
    assert "extra.weight [2, 3] (left over)" in message
    assert "head" not in message.split("expected")[0] and "\n" not in message
    assert "train.init: random" in message


def test_another_width_is_refused_with_the_settings_of_the_source():
    source = Source(OWN, copied(ours(4, width=64).net), about="{name: resnet, width: 64}")
    with pytest.raises(ConfigError, match=r"found the weights of model: {name: resnet, width: 64}, of which") as error:
        fitting.fit(ours(4), source)
    message = str(error.value)
    assert message.endswith("; set model: {name: resnet, width: 64}, or train.init: random")
    assert message.count("(found [") == 3 and re.search(r"\) and \d+ more; expected", message)


def test_numbers_that_are_none_are_refused():
    state = copied(ours().net)
    state["body.stem.0.bias"][0] = torch.nan
    with pytest.raises(DataError, match=r"stem.0.bias: found a value that is not finite"):
        fitting.fit(ours(), Source(OWN, state))


def test_published_weights_fit_torchvisions_own_names_and_scale_of_pixels():
    from torchvision import models

    torch.manual_seed(0)
    given, net = models.resnet18(num_classes=1000), theirs(COLOUR)
    state = {name: value for name, value in given.state_dict().items() if not name.endswith("num_batches_tracked")}
    record = fitting.fit(net, Source(PUBLISHED, state))
    assert record["new"] == ["fc.weight [4, 512] (found [1000, 512])", "fc.bias [4] (found [1000])"]
    assert record["kept"] == 100
    given.fc = net.net.body.fc
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    seen = ((images / 255 - mean) / std).permute(0, 3, 1, 2)
    assert torch.allclose(net.net.eval()(images), given.eval()(seen), atol=0.02)  # a mean is a whole grey level


def test_a_grey_image_is_answered_as_its_copy_in_three_colours():
    from torchvision import models

    torch.manual_seed(0)
    state = models.resnet18(num_classes=4).state_dict()
    grey, colour = theirs(GREY), theirs(COLOUR)
    record = fitting.fit(grey, Source(PUBLISHED, dict(state)))
    fitting.fit(colour, Source(PUBLISHED, dict(state)))
    assert "conv1.weight: summed over red, green and blue, since images are grey" in record["remarks"]
    assert torch.allclose(grey.net.body.conv1.weight, state["conv1.weight"].sum(dim=1, keepdim=True))
    images = torch.randint(0, 256, (4, 64, 64, 1), dtype=torch.uint8)
    one, three = grey.net.eval()(images), colour.net.eval()(images.expand(-1, -1, -1, 3))
    assert torch.allclose(one, three, atol=0.1) and (one - three).std() < 0.2 * three.std()


def text(words, seed=0):
    torch.manual_seed(seed)
    return network(textcnn, textcnn.Config(embedding=8, channels=16), TextInputs(len(words), 16), target(2))


def test_embeddings_are_matched_by_word():
    known, words = ["<pad>", "<unk>", "好", "坏", "书"], ["<pad>", "<unk>", "书", "新", "好", "的"]
    given, net = text(known, seed=1), text(words)
    before = net.net.embedding.weight.detach().clone()
    record = fitting.fit(net, Source(OWN, copied(given.net), known), words)
    rows, theirs = net.net.embedding.weight, given.net.embedding.weight
    for word in ("<pad>", "<unk>", "书", "好"):
        assert torch.equal(rows[words.index(word)], theirs[known.index(word)])
    for word in ("新", "的"):
        assert torch.equal(rows[words.index(word)], before[words.index(word)])
    assert record["remarks"] == ["embedding.weight: 4 of 6 words known"] and record["kept"] == record["of"]


def test_without_known_words_an_embedding_has_to_be_of_the_same_size():
    words = ["<pad>", "<unk>", "好"]
    state = copied(text(words, seed=1).net)
    net = text(words)
    assert fitting.fit(net, Source(OWN, state), words)["remarks"] == []
    assert torch.equal(net.net.embedding.weight, state["embedding.weight"])
    with pytest.raises(ConfigError, match=r"embedding.weight \[4, 8\] \(found \[3, 8\]\)"):
        fitting.fit(text([*words, "书"]), Source(OWN, state), [*words, "书"])


def test_a_backbone_without_a_head_fits_whatever_its_names_start_with():
    state = {f"encoder.{name}": value for name, value in copied(ours(4, seed=1).net.body).items()}
    state = {name: value for name, value in state.items() if ".head." not in name}
    assert fitting.fit(ours(4), Source(OWN, state))["new"] == [
        "head.weight [4, 128] (found none)",
        "head.bias [4] (found none)",
    ]
    stem = {name: value for name, value in state.items() if ".stem." in name}
    with pytest.raises(ConfigError, match="found none"):
        fitting.fit(ours(4), Source(OWN, stem))
