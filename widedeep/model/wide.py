"""The wide part: one weight per categorical value, numeric bucket and cross value, and one per numeric input."""

import torch
from torch import Tensor, nn

from widedeep.model.layout import InputLayout
from widedeep.model.table import Table


class Wide(nn.Module):
    """w · [x, phi(x)] of Cheng et al. (arXiv 1606.07792), without the bias.

    Shape: indices [B, F] int32, numerics [B, D] float32 → logit [B].
    """

    def __init__(self, layout: InputLayout) -> None:
        super().__init__()
        sizes = [column.size for column in layout.index_columns]
        self.weights = Table(sizes, 1, pooled=True) if sizes else None
        self.numeric = nn.Parameter(torch.zeros(len(layout.numeric_columns)))

    def forward(self, indices: Tensor, numerics: Tensor) -> Tensor:
        logit: Tensor = numerics @ self.numeric
        return logit if self.weights is None else logit + self.weights(indices).squeeze(-1)
