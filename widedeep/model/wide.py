"""The wide part: a weight for each categorical value, numeric bucket and numeric input, and the crosses."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from widedeep.kernels.lookups import Bag
from widedeep.model.layout import InputLayout
from widedeep.model.memory import CrossValues
from widedeep.model.table import Share, Table, TableColumn
from widedeep.recipe.schema import WideSettings


class Wide(nn.Module):
    """w · [x, phi(x)] of Cheng et al. (arXiv 1606.07792), without the bias. The weights of a list's values are summed.

    Crosses from memory (`settings.crosses: out_of_fold`) are in `memory`. Crosses whose weights are learnt by gradient
    are columns of `weights` like all others.

    Shape: indices [F, B] int32, numerics [D, B] float32, bags, folds [B] int64 (in training with a memory) → logit [B].
    """

    def __init__(self, layout: InputLayout, settings: WideSettings, share: Share | None = None) -> None:
        super().__init__()
        remembered = {column.name for column in layout.crosses if settings.crosses == "out_of_fold"}
        single, lists = list(enumerate(layout.index_columns)), list(enumerate(layout.list_columns))
        crosses = [(i, column) for i, column in single if column.name in remembered]
        list_crosses = [(i, column) for i, column in lists if column.name in remembered]
        self.memory = CrossValues([c.size for _, c in crosses + list_crosses], len(crosses)) if remembered else None
        self.remembered_bags = [i for i, _ in list_crosses]
        self.register_buffer("remembered", torch.tensor([i for i, _ in crosses], dtype=torch.int64), persistent=False)
        columns = [TableColumn(i, column.size) for i, column in single if column.name not in remembered]
        columns += [TableColumn(i, column.size, pooling="sum") for i, column in lists if column.name not in remembered]
        self.weights = Table(columns, 1, summed=True, share=share) if columns else None
        self.numeric = nn.Parameter(torch.zeros(len(layout.numeric_columns)))

    def forward(
        self, indices: Tensor, numerics: Tensor, bags: Sequence[Bag] = (), folds: Tensor | None = None
    ) -> Tensor:
        with torch.autocast(numerics.device.type, enabled=False):  # the wide part adds up in float32 on every device
            logit: Tensor = self.numeric @ numerics
        if self.memory is not None:
            cross_bags = [bags[i] for i in self.remembered_bags]
            logit = logit + self.memory(indices.index_select(0, self.get_buffer("remembered")), cross_bags, folds)
        if self.weights is None:
            return logit
        out = torch.empty(indices.shape[1], 1, dtype=numerics.dtype, device=numerics.device)
        self.weights.fill(indices, bags, out)
        return logit + (out.requires_grad_() if self.training else out).squeeze(1)
