"""The wide part: one weight per categorical value, numeric bucket and cross value, and one per numeric input."""

import torch
from torch import Tensor, nn

from widedeep.model.layout import InputLayout
from widedeep.model.table import Table


class Wide(nn.Module):
    """w · [x, phi(x)] of Cheng et al. (arXiv 1606.07792), without the bias.

    Shape: indices [B, F] int32, numerics [B, D] float32 → logit [B].
    """

    columns: Tensor

    def __init__(self, layout: InputLayout) -> None:
        super().__init__()
        self.register_buffer("columns", torch.arange(len(layout.index_columns)), persistent=False)
        self.weights = Table([column.size for column in layout.index_columns], 1, pooled=True)
        self.numeric = nn.Parameter(torch.zeros(len(layout.numeric_columns)))

    def forward(self, indices: Tensor, numerics: Tensor) -> Tensor:
        logit = self.weights(indices).squeeze(-1) if indices.shape[1] else numerics.new_zeros(len(numerics))
        return logit + numerics @ self.numeric if numerics.shape[1] else logit
