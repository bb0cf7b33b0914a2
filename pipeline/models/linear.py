"""A linear layer over a bag of words: the tokens' counts, whether they are there, or TF-IDF.

B texts, T tokens (any number; 0 is padding), V vocabulary, O outputs.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config import setting
from pipeline.examples import TextInputs, Vocabulary

KIND = "text"


@dataclass(frozen=True)
class Config:
    weighting: Literal["counts", "binary", "tfidf"] = "tfidf"
    norm: Literal["l2", "none"] = "l2"  # l2: each text's weights have the length 1, so that long texts count no more
    dropout: float = setting(0.0, low=0, below=1)


class Linear(nn.Module):
    """ids int64 [B, T] → outputs [B, O].

    The layer's columns of a text's tokens are added up, each times the token's weight shared out among the places
    where it stands: the same sum as over the whole vocabulary, most of whose weights are 0.
    """

    idf: Tensor  # [V], 1 until `words` fills it in

    def __init__(self, config: Config, inputs: TextInputs, outputs: int):
        super().__init__()
        self.weighting, self.norm = config.weighting, config.norm
        if config.weighting == "tfidf":
            self.register_buffer("idf", torch.ones(inputs.vocabulary))
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(inputs.vocabulary, outputs)

    def weights(self, ids: Tensor) -> Tensor:
        """What each token counts for, [B, T]; those of equal tokens add up to the token's own."""
        real = (ids != 0).to(self.head.weight.dtype)
        if self.weighting == "counts" and self.norm == "none":
            return real
        times = (ids.unsqueeze(1) == ids.unsqueeze(2)).sum(dim=2)  # [B, T]: how often the text has it
        of_token = torch.ones_like(real) if self.weighting == "binary" else times.to(real.dtype)
        if self.weighting == "tfidf":
            of_token = of_token * self.idf[ids]
        shares = real * of_token / times
        if self.norm == "l2":
            squares = (shares * of_token).sum(dim=1, keepdim=True)  # 0 of an empty text
            shares = shares / squares.clamp(min=1e-12).sqrt()
        return shares

    def forward(self, ids: Tensor) -> Tensor:
        columns = functional.embedding(ids, self.head.weight.t())  # [B, T, O]
        weights = self.dropout(self.weights(ids)).unsqueeze(2)
        return (columns * weights).sum(dim=1) + self.head.bias


def build(config: Config, *, inputs: TextInputs, outputs: int) -> nn.Module:
    return Linear(config, inputs, outputs)


def words(net: Linear, vocabulary: Vocabulary) -> None:
    """Fills in the tokens' inverse document frequencies, smoothed as scikit-learn does: ln((1 + N) / (1 + n)) + 1."""
    if net.weighting == "tfidf":
        documents = torch.from_numpy(vocabulary.documents)
        net.idf.copy_(torch.log((1 + vocabulary.texts) / (1 + documents)) + 1)


def stages(net: Linear) -> list[nn.Module]:
    """The head alone."""
    return [net.head]
