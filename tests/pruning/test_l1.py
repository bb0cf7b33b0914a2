import pytest
import torch
from torch import nn

from pipeline.pruning import l1


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(30, 8, padding_idx=0)
        self.convolution = nn.Conv1d(8, 8, 3, padding=1)
        self.lstm = nn.LSTM(8, 8, batch_first=True, bidirectional=True)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 2)

    def forward(self, ids):
        x = self.convolution(self.embedding(ids).transpose(1, 2)).transpose(1, 2)
        return self.head(self.norm(self.lstm(x)[0].amax(dim=1)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def pruned_of(net):
    names = ("convolution.weight", "head.weight", *(f"lstm.{name}" for name, _ in net.lstm.named_parameters()))
    return {name: value for name, value in net.named_parameters() if name in names and value.ndim > 1}


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_the_smallest_of_all_weights_are_zero_and_no_others(net, share):
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    reached = l1.prune(net, share)
    found = pruned_of(net)
    values = torch.cat([before[name].abs().flatten() for name in found])
    bound = values.sort().values[: round(share * len(values)) + 1].max()
    assert reached == pytest.approx(share, abs=1e-3)
    for name, value in net.named_parameters():
        kept = before[name].abs() >= bound if name in found else torch.ones_like(value, dtype=torch.bool)
        assert torch.equal(value, before[name] * kept), name


def test_masks_are_gone_and_the_weights_are_those_that_it_computes_with(net):
    names = {name: value.shape for name, value in net.state_dict().items()}
    l1.prune(net, 0.5)
    assert {name: value.shape for name, value in net.state_dict().items()} == names
    ids = torch.randint(0, 30, (3, 7))
    other = Net()
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(net.eval()(ids), other.eval()(ids))
    net(ids).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_a_file_of_it_is_as_large_as_before(net, tmp_path):
    from safetensors.torch import save_file

    save_file(net.state_dict(), tmp_path / "before")
    l1.prune(net, 0.9)
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, tmp_path / "after")
    assert (tmp_path / "after").stat().st_size == (tmp_path / "before").stat().st_size
