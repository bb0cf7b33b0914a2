import re

import pytest
import torch

from pipeline.initial import sources


@pytest.mark.parametrize(
    ("architecture", "now", "before"),
    [
        ("densenet121", r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2."),
        ("vit_b_32", r"\.mlp\.0\.", ".mlp.linear_1."),
        ("vit_b_32", r"\.mlp\.3\.", ".mlp.linear_2."),
    ],
)
def test_names_of_old_files_are_those_of_today(architecture, now, before):
    from torchvision import models

    with torch.device("meta"):
        names = list(models.get_model(architecture, weights=None).state_dict())
    old = [re.sub(now, before, name) for name in names]
    assert old != names and [sources.renamed(name) for name in old] == names


def test_other_names_stay():
    from torchvision import models

    with torch.device("meta"):
        for architecture in ("resnet18", "swin_t", "maxvit_t", "densenet121"):
            assert all(sources.renamed(name) == name for name in models.get_model(architecture).state_dict())
