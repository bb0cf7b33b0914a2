"""The mean of the embeddings of tokens, of their character n-grams and of pairs of tokens, and a linear layer.

After Joulin et al., arXiv 1607.01759, and, for characters, Bojanowski et al., arXiv 1607.04606.
B texts, T tokens (any number; 0 is padding), V vocabulary, P pieces of a token, E embedding, O outputs.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config import setting
from pipeline.examples import TextInputs, Vocabulary
from pipeline.models import _units

KIND = "text"
MIXED, LARGE = 1_000_003, 1 << 40
"""A prime by which an n-gram's number grows with each token, and what that is taken modulo, so that it stays int64."""
SPECIAL = 2  # padding and unknown, which are no words


@dataclass(frozen=True)
class Config:
    embedding: int = setting(128, low=1, high=4096, unit="values a token")
    characters: int = setting(4, low=1, high=16, unit="characters of the longest n-gram, < and > at a token's ends")
    pieces: int = setting(8, low=0, high=256, unit="character n-grams a token, at most, the shortest first")
    words: int = setting(2, low=1, high=5, unit="tokens of the longest word n-gram")
    buckets: int = setting(50_000, low=1, high=50_000_000, unit="embeddings that all n-grams share, by their hashes")
    dropout: float = setting(0.5, low=0, below=1)


class FastText(nn.Module):
    """ids int64 [B, T] → outputs [B, O]."""

    pieces: Tensor  # int32 [V, P], the buckets of each token's pieces, 0 = none, until `words` fills it in

    def __init__(self, config: Config, inputs: TextInputs, outputs: int):
        super().__init__()
        self.config = config
        self.register_buffer("pieces", torch.zeros((inputs.vocabulary, config.pieces), dtype=torch.int32))
        self.embedding = nn.Embedding(inputs.vocabulary, config.embedding, padding_idx=0)
        self.ngrams = nn.Embedding(config.buckets + 1, config.embedding, padding_idx=0)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.embedding, outputs)

    def buckets(self, ids: Tensor) -> Tensor:
        """Of all n-grams of a text, int64 [B, T · (P + words - 1)], 0 = none."""
        found = [self.pieces[ids].flatten(1).long()]
        mixed, whole = ids, ids != 0
        for k in range(1, self.config.words):
            following = functional.pad(ids, (0, k))[:, k:]
            mixed, whole = (mixed * MIXED + following) % LARGE, whole & (following != 0)
            found.append(torch.where(whole, mixed % self.config.buckets + 1, 0))
        return torch.cat(found, dim=1)

    def forward(self, ids: Tensor) -> Tensor:
        buckets = self.buckets(ids)
        total = self.embedding(ids).sum(dim=1) + self.ngrams(buckets).sum(dim=1)  # [B, E]
        count = (ids != 0).sum(dim=1, keepdim=True) + (buckets != 0).sum(dim=1, keepdim=True)
        return self.head(self.dropout(total / count.clamp(min=1)))


def build(config: Config, *, inputs: TextInputs, outputs: int) -> nn.Module:
    net = FastText(config, inputs, outputs)
    with torch.no_grad():
        for table in (net.embedding, net.ngrams):
            table.weight.normal_(std=0.1)
            table.weight[0] = 0
    return net


def words(net: FastText, vocabulary: Vocabulary) -> None:
    """Cuts the tokens into pieces and fills in their buckets."""
    config = net.config
    filled = np.zeros(net.pieces.shape, np.int32)
    for row, word in enumerate(vocabulary.words[SPECIAL:], SPECIAL):
        for k, piece in zip(range(config.pieces), pieces(word, config.characters), strict=False):
            filled[row, k] = zlib.crc32(piece.encode("utf-8", "surrogatepass")) % config.buckets + 1
    net.pieces.copy_(torch.from_numpy(filled))


def pieces(word: str, longest: int) -> Iterator[str]:
    """The token's characters, then of `<word>` the n-grams of 2 to `longest` characters, less the whole."""
    yield from word
    marked = f"<{word}>"
    for length in range(2, min(longest, len(marked) - 1) + 1):
        yield from (marked[k : k + length] for k in range(len(marked) - length + 1))


def stages(net: FastText) -> list[nn.Module]:
    """From the input to the head."""
    return [nn.ModuleList([net.embedding, net.ngrams]), net.head]


def embedding(net: FastText) -> nn.Embedding:
    return net.embedding


def narrow(net: FastText, basis: Tensor) -> None:
    """Embeddings of tokens and n-grams of their values along the basis, [E, R], and a head that reads these."""
    for layer in (net.embedding, net.ngrams, net.head):
        _units.put(layer, "weight", layer.weight @ basis)
