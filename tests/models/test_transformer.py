import pytest
import torch
from torch.nn import functional

from pipeline import config, export, graphs
from pipeline.errors import ConfigError
from pipeline.examples import TextInputs
from pipeline.models import transformer

INPUTS = TextInputs(30, 12)
TEXT, TURNED = torch.tensor([[5, 9, 4, 7]]), torch.tensor([[7, 4, 9, 5]])


def built(**settings):
    torch.manual_seed(0)
    found = transformer.Config(width=16, heads=2, **settings)
    return transformer.build(found, inputs=INPUTS, outputs=2).eval()


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_padding_never_changes_an_answer(positions, pooling):
    net = built(positions=positions, pooling=pooling)
    longer = torch.tensor([[3, 8, 2, 6, 11, 4, 9]])
    both = torch.cat([functional.pad(TEXT, (0, 3)), longer])
    torch.testing.assert_close(net(both), torch.cat([net(TEXT), net(longer)]), atol=1e-6, rtol=1e-5)
    with torch.no_grad():
        net.embedding.weight[0] = 7.0  # whatever padding is taken for
    torch.testing.assert_close(net(both)[:1], net(TEXT), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_the_order_of_tokens_matters(positions):
    net = built(positions=positions)
    if net.places is not None:
        torch.nn.init.normal_(net.places.weight)
    assert (net(TEXT) - net(TURNED)).abs().max() > 1e-4
    for block in net.blocks:
        block.attention.turn = None
    net.places = None
    torch.testing.assert_close(net(TEXT), net(TURNED))  # it is the positions alone that tell it


def test_rotary_products_depend_on_how_far_apart_two_places_are():
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 8)
    turn = transformer.Rotary(8)
    turned = turn(query.expand(-1, -1, 9, -1), key.expand(-1, -1, 9, -1))
    products = (turned[0] @ turned[1].transpose(2, 3))[0, 0]  # [9, 9]
    for apart in (-3, 0, 2):
        line = products.diagonal(apart)
        torch.testing.assert_close(line, line[:1].expand(len(line)))
    assert abs(products[0, 0] - products[0, 3]) > 1e-3
    assert turned[0].norm(dim=3).tolist()[0][0] == pytest.approx([query.norm().item()] * 9)


def test_tokens_read_one_another():
    net = built(layers=1)
    x = net.embedding(torch.tensor([[5, 9], [5, 4]]))
    found = net.blocks[0](x, torch.ones(2, 2, dtype=torch.bool))
    assert not torch.allclose(found[0, 0], found[1, 0])
    found = net.blocks[0](x, torch.tensor([[True, False]] * 2))
    torch.testing.assert_close(found[0, 0], found[1, 0])


def test_whole_branches_are_left_out_in_training_the_more_the_deeper():
    net = built(stochastic_depth=0.5, dropout=0.0, layers=3)
    assert [block.after[1].share for block in net.blocks] == [0, 0.25, 0.5]
    ids, last = TEXT.expand(200, -1), net.blocks[-1]
    before = net.embedding(ids)
    with torch.no_grad():
        change = (last.train()(before, ids != 0) - before).abs().amax(dim=(1, 2))
    assert 0.1 < (change == 0).float().mean() < 0.4  # both of its branches: a quarter


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(ConfigError, match="expected a multiple of 6, for 3 heads with rotary positions"):
        config.parse(transformer.Config, {"width": 15, "heads": 3}, "model")
    assert config.parse(transformer.Config, {"width": 15, "heads": 3, "positions": "learned"}, "model").width == 15


@pytest.mark.parametrize(("positions", "pooling"), [("learned", "attention"), ("rotary", "max")])
def test_the_graph_takes_any_number_of_texts_and_tokens(tmp_path, positions, pooling):
    net = built(positions=positions, pooling=pooling)
    export.export(net, INPUTS, tmp_path / "fp32.onnx")
    answer = graphs.answer(graphs.session(tmp_path / "fp32.onnx"))
    for count, tokens in ((1, 1), (2, 5), (7, 12)):
        ids = torch.randint(1, 30, (count, tokens), generator=torch.Generator().manual_seed(0))
        ids[-1] = 0
        ids[0, tokens // 2 + 1 :] = 0
        with torch.inference_mode():
            expected = net(ids)
        torch.testing.assert_close(torch.from_numpy(answer({"ids": ids.numpy()})), expected, atol=1e-4, rtol=1e-4)
