"""The embeddings that all towers share: one table per width, and the deep input written from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from widedeep.features.plan import IndexColumn
from widedeep.model.bags import Bag, pool
from widedeep.model.layout import InputLayout, automatic_dim
from widedeep.model.table import Table
from widedeep.recipe.schema import EmbeddingSettings

DEVIATION = 0.01
"""Standard deviation of fresh embeddings: small, so that the first logits are the bias and the linear terms."""


@dataclass
class _Members:
    """The columns of one width."""

    dense: list[int]
    """Positions in the index matrix."""
    lists: list[int]
    """Positions among the bags."""


class Embeddings(nn.Module):
    """Shape: indices [B, F] int32, numerics [B, D] float32, bags → deep input [B, sum of widths + D] float32."""

    def __init__(self, layout: InputLayout, settings: EmbeddingSettings) -> None:
        super().__init__()
        self.layout = layout
        self.members: dict[int, _Members] = {}
        lists = [i for i, column in enumerate(layout.list_columns) if column.kind == "categorical"]
        for position in layout.positions(["categorical"]):
            self._members_of(layout.index_columns[position], settings).dense.append(position)
        for position in lists:
            self._members_of(layout.list_columns[position], settings).lists.append(position)
        self.tables = nn.ModuleDict()
        self.output_dim = len(layout.numeric_columns)
        for width, members in sorted(self.members.items()):
            columns = [layout.index_columns[i] for i in members.dense] + [layout.list_columns[i] for i in members.lists]
            table = Table([column.size for column in columns], width, shared=[column.shared for column in columns])
            table.initialise(DEVIATION)
            self.tables[str(width)] = table
            self.register_buffer(f"positions_{width}", torch.tensor(members.dense, dtype=torch.int64), persistent=False)
            self.output_dim += width * len(columns)

    def _members_of(self, column: IndexColumn, settings: EmbeddingSettings) -> _Members:
        rule = automatic_dim(column.cardinality) if settings.dim == "auto" else settings.dim
        return self.members.setdefault(column.embedding_dim or rule, _Members([], []))

    def forward(self, indices: Tensor, numerics: Tensor, bags: Sequence[Bag] = ()) -> Tensor:
        outputs: list[Tensor] = []
        for width, table in self.tables.items():
            members = self.members[int(width)]
            dense = indices.index_select(1, self.get_buffer(f"positions_{width}"))
            own_bags = [bags[position] for position in members.lists]
            looked_up, in_bags = table(dense, own_bags)
            outputs.append(looked_up.flatten(1))
            for position, bag, vectors in zip(members.lists, own_bags, in_bags, strict=True):
                how = self.layout.list_columns[position].pooling
                assert how is not None, "a column of lists says how it is pooled"
                outputs.append(pool(vectors, bag, len(indices), how))
        return torch.cat([*outputs, numerics], dim=1)
