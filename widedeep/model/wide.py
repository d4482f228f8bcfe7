"""The wide part: one weight per categorical value and numeric bucket, one per numeric input, and the crosses."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from widedeep.features.plan import IndexColumn
from widedeep.model.bags import Bag, pool
from widedeep.model.layout import InputLayout
from widedeep.model.memory import CrossValues
from widedeep.model.table import Table
from widedeep.recipe.schema import WideSettings


class Wide(nn.Module):
    """w · [x, phi(x)] of Cheng et al. (arXiv 1606.07792), without the bias. A list is a multi-hot: its weights are summed.

    Crosses from memory (`settings.crosses: out_of_fold`) are `memory`; crosses whose weights are learnt by gradient are
    columns of `weights` like any other.

    Shape: indices [B, F] int32, numerics [B, D] float32, bags, folds [B] int64 (while training, where there is a
    memory) → logit [B].
    """

    def __init__(self, layout: InputLayout, settings: WideSettings) -> None:
        super().__init__()
        remembered = [column for column in layout.crosses if settings.crosses == "out_of_fold"]
        self.memory = (
            CrossValues([c.size for c in remembered], sum(c.pooling is None for c in remembered))
            if remembered
            else None
        )
        self._lists = _Positions(layout.list_columns, remembered)
        dense = _Positions(layout.index_columns, remembered)
        self._parted = bool(remembered)
        self.register_buffer("learnt", torch.tensor(dense.learnt, dtype=torch.int64), persistent=False)
        self.register_buffer("remembered", torch.tensor(dense.remembered, dtype=torch.int64), persistent=False)
        sizes = [layout.index_columns[i].size for i in dense.learnt]
        sizes += [layout.list_columns[i].size for i in self._lists.learnt]
        self.weights = Table(sizes, 1) if sizes else None
        self.numeric = nn.Parameter(torch.zeros(len(layout.numeric_columns)))

    def forward(
        self, indices: Tensor, numerics: Tensor, bags: Sequence[Bag] = (), folds: Tensor | None = None
    ) -> Tensor:
        logit: Tensor = numerics @ self.numeric
        if self.memory is not None:
            own_bags = [bags[i] for i in self._lists.remembered]
            logit = logit + self.memory(indices.index_select(1, self.get_buffer("remembered")), own_bags, folds)
        if self.weights is None:
            return logit
        if self._parted:
            indices = indices.index_select(1, self.get_buffer("learnt"))
            bags = [bags[i] for i in self._lists.learnt]
        looked_up, in_bags = self.weights(indices, bags)
        logit = logit + looked_up.flatten(1).sum(dim=1)
        for bag, vectors in zip(bags, in_bags, strict=True):
            logit = logit + pool(vectors, bag, len(indices), "sum").squeeze(-1)
        return logit


class _Positions:
    """Where the columns whose weights are learnt and those from memory stand among some columns."""

    def __init__(self, columns: Sequence[IndexColumn], remembered: Sequence[IndexColumn]) -> None:
        names = {column.name for column in remembered}
        self.learnt = [i for i, column in enumerate(columns) if column.name not in names]
        self.remembered = [i for i, column in enumerate(columns) if column.name in names]
