"""The embeddings that all towers share: one table per width, and the deep input written from them."""

import torch
from torch import Tensor, nn

from widedeep.model.layout import InputLayout, automatic_dim
from widedeep.model.table import Table
from widedeep.recipe.schema import EmbeddingSettings

DEVIATION = 0.01
"""Standard deviation of fresh embeddings: small, so that the first logits are the bias and the linear terms."""


class Embeddings(nn.Module):
    """Shape: indices [B, F] int32, numerics [B, D] float32 → deep input [B, sum of widths + D] float32."""

    def __init__(self, layout: InputLayout, settings: EmbeddingSettings) -> None:
        super().__init__()
        by_width: dict[int, list[int]] = {}
        for position in layout.positions(["categorical"]):
            column = layout.index_columns[position]
            rule = automatic_dim(column.cardinality) if settings.dim == "auto" else settings.dim
            by_width.setdefault(column.embedding_dim or rule, []).append(position)
        self.tables = nn.ModuleDict()
        self.output_dim = len(layout.numeric_columns)
        for width, positions in sorted(by_width.items()):
            table = Table([layout.index_columns[i].size for i in positions], width)
            table.initialise(DEVIATION)
            self.tables[str(width)] = table
            self.register_buffer(f"positions_{width}", torch.tensor(positions), persistent=False)
            self.output_dim += width * len(positions)

    def forward(self, indices: Tensor, numerics: Tensor) -> Tensor:
        looked_up = [
            table(indices.index_select(1, self.get_buffer(f"positions_{width}"))).flatten(1)
            for width, table in self.tables.items()
        ]
        return torch.cat([*looked_up, numerics], dim=1)
