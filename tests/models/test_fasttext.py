import pytest
import torch

from pipeline.examples import TextInputs, Vocabulary
from pipeline.models import fasttext

WORDS = ["<pad>", "<unk>", "喜欢", "欢喜", "桌", "喜"]
INPUTS = TextInputs(len(WORDS), 12)
VOCABULARY = Vocabulary(WORDS, None, 4)


def built(told=True, **settings):
    torch.manual_seed(0)
    net = fasttext.build(fasttext.Config(8, buckets=10_000, **settings), inputs=INPUTS, outputs=2).eval()
    if told:
        fasttext.words(net, VOCABULARY)
    return net


def test_pieces_are_characters_and_then_ngrams_with_the_ends_marked():
    assert list(fasttext.pieces("喜欢", 3)) == ["喜", "欢", "<喜", "喜欢", "欢>", "<喜欢", "喜欢>"]
    assert list(fasttext.pieces("喜", 4)) == ["喜", "<喜", "喜>"]


def test_ngrams_that_two_words_share_move_both():
    net = built(words=1, dropout=0.0)
    texts = torch.tensor([[2], [3], [4]])
    before = net(texts).detach()
    net(texts[:1])[0, 0].backward()
    with torch.no_grad():
        net.embedding.weight -= net.embedding.weight.grad
        net.ngrams.weight -= 10 * net.ngrams.weight.grad
    moved = (net(texts) - before)[:, 0]
    assert moved[0] < moved[1] < 0 and moved[2] == 0
    assert net.embedding.weight.grad[2].any() and not net.embedding.weight.grad[3].any()


def test_padding_and_the_unknown_token_have_no_pieces_and_others_at_most_so_many():
    net = built(pieces=2)
    assert net.pieces.shape == (6, 2) and net.pieces.dtype == torch.int32
    assert not net.pieces[:2].any() and (net.pieces[2:] > 0).all()
    assert not built(told=False).pieces.any()
    assert built(pieces=0)(torch.tensor([[2, 0]])).isfinite().all()


def test_a_text_is_the_mean_of_all_that_it_has():
    net = built(words=2)
    ids = torch.tensor([[2, 4, 3, 0, 0]])
    tokens = net.embedding.weight[[2, 4, 3]]
    characters = net.ngrams.weight[torch.cat([net.pieces[k][net.pieces[k] > 0] for k in (2, 4, 3)])]
    pairs = net.ngrams.weight[[(a * fasttext.MIXED + b) % 10_000 + 1 for a, b in ((2, 4), (4, 3))]]
    expected = net.head(torch.cat([tokens, characters, pairs]).mean(dim=0))
    torch.testing.assert_close(net(ids)[0], expected)


@pytest.mark.parametrize(("words", "told"), [(1, False), (2, True), (3, True)])
def test_pairs_of_tokens_tell_their_order(words, told):
    net = built(words=words)
    first, second = net(torch.tensor([[2, 4, 3], [3, 2, 4]]))
    assert torch.allclose(first, second, atol=1e-6) is not told


def test_numbers_of_long_ngrams_stay_within_int64():
    last = 9_999_999
    net = fasttext.FastText(fasttext.Config(1, words=5, pieces=0, buckets=7), TextInputs(2, 12), 2)
    net.pieces = torch.zeros((last + 1, 0), dtype=torch.int32)
    number = 0
    for _ in range(5):
        number = (number * fasttext.MIXED + last) % fasttext.LARGE
    found = net.buckets(torch.full((1, 6), last)).reshape(4, 6)
    assert found[3].tolist() == [number % 7 + 1, number % 7 + 1, 0, 0, 0, 0]
