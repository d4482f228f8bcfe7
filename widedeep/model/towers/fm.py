"""The pairwise interactions of a factorization machine (Rendle, ICDM 2010), also DeepFM's (arXiv 1703.04247)."""

import torch
from torch import Tensor, nn

from widedeep.model.layout import DeepInput
from widedeep.recipe.schema import EmbeddingSettings

DEVIATION = 0.01
"""Standard deviation of fresh vectors of numerics, the same as that of embeddings."""


class FactorizationMachine(nn.Module):
    """sum over i < j of <v_i, v_j> x_i x_j (Rendle, equation 1; the wide part is its linear part).

    It is computed in linear time as (|sum_i v_i x_i|^2 - sum_i |v_i x_i|^2) / 2 (Rendle, lemma 3.1). A categorical
    field has x_i = 1 and its embedding as v_i, a list its pooled embedding. A numeric input x_i has a vector of its
    own, which is learnt and penalised like tower weights. All vectors have the width K = `model.embeddings.dim`. It is
    computed in float32 in every precision: the difference of two sums of squares loses what bfloat16 rounds.

    Shape: deep input [B, F * K + D] → [B].
    """

    def __init__(self, given: DeepInput, embeddings: EmbeddingSettings) -> None:
        super().__init__()
        assert isinstance(embeddings.dim, int), "the recipe's checks ask for a number"
        assert all(width == embeddings.dim for _, width in given.vectors.values()), (
            "the recipe's checks ask for one width"
        )
        self.num_vectors, self.dim = len(given.vectors), embeddings.dim
        self.numeric_vectors = nn.Parameter(torch.empty(given.num_numerics, self.dim))
        nn.init.normal_(self.numeric_vectors, std=DEVIATION)

    def forward(self, deep_input: Tensor) -> Tensor:
        with torch.autocast("cuda" if deep_input.is_cuda else "cpu", enabled=False):
            return self._interactions(deep_input.to(self.numeric_vectors.dtype))

    def _interactions(self, deep_input: Tensor) -> Tensor:
        vectors_dim = self.num_vectors * self.dim
        numerics = deep_input[:, vectors_dim:]
        sums = numerics @ self.numeric_vectors
        squares = numerics.square() @ self.numeric_vectors.square()
        if self.num_vectors:
            vectors = deep_input[:, :vectors_dim].reshape(deep_input.shape[0], self.num_vectors, self.dim)
            sums, squares = vectors.sum(dim=1) + sums, vectors.square().sum(dim=1) + squares
        return 0.5 * (sums.square() - squares).sum(dim=1)
