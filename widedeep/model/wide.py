"""The wide part: one weight per categorical value, numeric bucket and cross value, and one per numeric input."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from widedeep.model.bags import Bag, pool
from widedeep.model.layout import InputLayout
from widedeep.model.table import Table


class Wide(nn.Module):
    """w · [x, phi(x)] of Cheng et al. (arXiv 1606.07792), without the bias. A list is a multi-hot: its weights are summed.

    Shape: indices [B, F] int32, numerics [B, D] float32, bags → logit [B].
    """

    def __init__(self, layout: InputLayout) -> None:
        super().__init__()
        sizes = [column.size for column in (*layout.index_columns, *layout.list_columns)]
        self.weights = Table(sizes, 1) if sizes else None
        self.numeric = nn.Parameter(torch.zeros(len(layout.numeric_columns)))

    def forward(self, indices: Tensor, numerics: Tensor, bags: Sequence[Bag] = ()) -> Tensor:
        logit: Tensor = numerics @ self.numeric
        if self.weights is None:
            return logit
        looked_up, in_bags = self.weights(indices, bags)
        logit = logit + looked_up.flatten(1).sum(dim=1)
        for bag, vectors in zip(bags, in_bags, strict=True):
            logit = logit + pool(vectors, bag, len(indices), "sum").squeeze(-1)
        return logit
