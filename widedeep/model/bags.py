"""Bags: the several values that a row has in one column, and their pooling to one vector."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["sum", "mean", "max"]


@dataclass(frozen=True)
class Bag:
    """One column of lists, of the rows of a batch."""

    values: Tensor
    """[N] int32 field-local indices, the rows' lists behind each other."""
    rows: Tensor
    """[N] int64, ascending: the row that each value belongs to."""
    weights: Tensor | None
    """[N] float32, where the column has weights."""


def pool(vectors: Tensor, bag: Bag, num_rows: int, how: Pooling) -> Tensor:
    """Pool the vectors [N, D] of a bag's values, row by row. Returns [B, D]; zeros for a row without values.

    `sum`: of weight times vector. `mean`: that, divided by the sum of the weights (0 where they sum to 0). `max`: the
    largest of weight times vector, element by element.
    """
    weighted = vectors if bag.weights is None else vectors * bag.weights.unsqueeze(1).to(vectors.dtype)
    zeros = torch.zeros(num_rows, vectors.shape[1], dtype=vectors.dtype, device=vectors.device)
    if how == "max":
        places = bag.rows.unsqueeze(1).expand_as(weighted)
        return zeros.scatter_reduce(0, places, weighted, "amax", include_self=False)
    summed = zeros.index_add(0, bag.rows, weighted)
    if how == "sum":
        return summed
    ones = torch.ones_like(bag.rows, dtype=vectors.dtype) if bag.weights is None else bag.weights.to(vectors.dtype)
    total = torch.zeros(num_rows, dtype=vectors.dtype, device=vectors.device).index_add(0, bag.rows, ones)
    return summed / torch.where(total > 0, total, 1.0).unsqueeze(1)
