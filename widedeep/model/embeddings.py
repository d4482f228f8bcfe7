"""The embeddings that all towers share: one table per width, from which the deep input is written once."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from widedeep.features.plan import IndexColumn
from widedeep.kernels.lookups import Bag
from widedeep.model.layout import DeepInput, InputLayout, automatic_dim
from widedeep.model.table import Share, Table, TableColumn
from widedeep.recipe.schema import EmbeddingSettings

DEVIATION = 0.01
"""Standard deviation of fresh embeddings: small, so that the first logits are the bias and the linear terms."""


def embedding_width(column: IndexColumn, settings: EmbeddingSettings) -> int:
    """Width of a categorical column's embedding."""
    rule = automatic_dim(column.cardinality) if settings.dim == "auto" else settings.dim
    return column.embedding_dim or rule


class Embeddings(nn.Module):
    """Shape: indices [F, B] int32, numerics [D, B] float32, bags → deep input [B, sum of widths + D].

    The deep input is float32, or autocast's dtype if autocast is on: linear layers then need no converted copy.

    It holds the vectors by ascending width (of one width: columns with one value a row, then pooled lists), and then
    the numerics.
    """

    def __init__(self, layout: InputLayout, settings: EmbeddingSettings, share: Share | None = None) -> None:
        super().__init__()
        columns = [(i, column) for i, column in enumerate(layout.index_columns) if column.kind == "categorical"]
        columns += [(i, column) for i, column in enumerate(layout.list_columns) if column.kind == "categorical"]
        by_width: dict[int, list[tuple[int, IndexColumn]]] = {}
        for position, column in columns:
            by_width.setdefault(embedding_width(column, settings), []).append((position, column))
        self.tables = nn.ModuleDict()
        vectors: dict[str, tuple[int, int]] = {}
        place = 0
        for width, members in sorted(by_width.items()):
            places = range(place, place + width * len(members), width)
            table = Table(
                [
                    TableColumn(position, column.size, start, column.pooling, column.shared)
                    for start, (position, column) in zip(places, members, strict=True)
                ],
                width,
                share=share,
            )
            table.initialise(DEVIATION)
            self.tables[str(width)] = table
            vectors |= {column.name: (start, width) for start, (_, column) in zip(places, members, strict=True)}
            place += width * len(members)
        self.output = DeepInput(vectors, len(layout.numeric_columns))

    @property
    def output_dim(self) -> int:
        """Width of the deep input."""
        return self.output.dim

    def forward(self, indices: Tensor, numerics: Tensor, bags: Sequence[Bag] = ()) -> Tensor:
        device = numerics.device
        autocast = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if autocast else numerics.dtype
        out = torch.empty(indices.shape[1], self.output.dim, dtype=dtype, device=device)
        for table in self.tables.values():
            assert isinstance(table, Table)
            table.fill(indices, bags, out)
        out[:, self.output.vectors_dim :] = numerics.T
        return out.requires_grad_() if self.training else out
