import dataclasses

import pytest
import torch

from pipeline.fit import hardware
from tests.fit.toys import CONFIG, toy, train


@pytest.mark.parametrize(
    ("size", "found", "mode", "why"),
    [
        (10, None, "default", "4,000 steps win back"),
        (100, None, "off", "400 steps are too few"),
        ("all", None, "off", "4 steps are too few"),
        ("auto", None, "off", "not before the batch size is known"),
        ("auto", 10, "default", "4,000 steps win back"),
        ("auto", 5000, "off", "8 steps are too few"),
        (10, 5000, "default", "4,000 steps win back"),
    ],
)
def test_whether_to_compile_is_decided_by_the_steps_that_there_will_be(size, found, mode, why, monkeypatch):
    monkeypatch.setattr(hardware, "_device", lambda config: (torch.device("cuda", 0), "a test"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(hardware.importlib.util, "find_spec", lambda name: name)
    config = dataclasses.replace(CONFIG, batch_size=size)
    choices = hardware.choose(config, images=True, examples=10_000, batch_size=found)
    assert choices.compile == mode and why in choices.reasons["compile"]


def test_a_run_decides_with_the_batch_size_that_it_found(monkeypatch):
    asked, choose = [], hardware.choose

    def watched(config, **how):
        asked.append(how.get("batch_size"))
        return choose(config, **how)

    monkeypatch.setattr(hardware, "choose", watched)
    train(toy(), dataclasses.replace(CONFIG, batch_size="auto", epochs=1))
    assert asked == [None, 16]
