"""The network as it is exported: plain gathers and concatenations, batch first, with the score as its output."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from widedeep.kernels.lookups import Bag, Column
from widedeep.kernels.products import Linear
from widedeep.kernels.reference import pool
from widedeep.model.network import Network, score
from widedeep.model.table import Table
from widedeep.model.wide import Wide
from widedeep.recipe.data import LabelKind


class Inputs(NamedTuple):
    """What the exported model takes; an input that the model does not have is None or left out of its list."""

    indices: Tensor | None
    """[B, F] int64."""
    numerics: Tensor | None
    """[B, D] float32."""
    values: list[Tensor]
    """For each column of lists the indices of its values, [N] int64, one row's list after the other."""
    bounds: list[Tensor]
    """For each column of lists where each row's values start, and N: [B + 1] int64."""
    weights: list[Tensor]
    """For each column of lists with weights those of its values, [N] float32."""

    def named(self) -> dict[str, Tensor]:
        """Name in the exported model → tensor."""
        single = {"indices": self.indices, "numerics": self.numerics}
        lists = {"values": self.values, "bounds": self.bounds, "weights": self.weights}
        return {name: tensor for name, tensor in single.items() if tensor is not None} | {
            f"{name}_{number}": tensor for name, tensors in lists.items() for number, tensor in enumerate(tensors)
        }


@dataclass(frozen=True)
class _TracedBag(Bag):
    @property
    def rows(self) -> Tensor:
        """[N] int64. No size is asked for by `len`, which would make a constant of it; nor is a value looked for among
        the bounds, which exports as a comparison with the bounds of the rows that it was traced with."""
        # The last bound lies behind the last value, and so may those of rows without values.
        begun = self.values.new_zeros(self.values.shape[0] + 1).index_add(0, self.bounds, torch.ones_like(self.bounds))
        return begun.cumsum(0)[:-1] - 1


class ServedNetwork(nn.Module):
    """Inputs → score [B] float32, as `Scorer.scores_of` gives it."""

    def __init__(self, network: Network, kind: LabelKind, weighted: Sequence[bool]) -> None:
        """`weighted` says of each column of lists whether its values have weights."""
        super().__init__()
        # Its tensors are shared where they lie in memory: tables may be large.
        shared = {id(of): of for of in (*network.parameters(), *network.buffers()) if of.device.type == "cpu"}
        network = deepcopy(network, shared).cpu().eval()
        for module in network.modules():
            if isinstance(module, Linear):
                module.__class__ = nn.Linear  # type: ignore[assignment]  # ours chooses a library by the size of the batch
        self._kind, self._weighted = kind, tuple(weighted)
        self.wide, self.towers = network.wide, network.towers
        bias = network.bias.detach() + network.correction
        self.register_buffer("bias", bias)
        tables = [] if network.embeddings is None else list(network.embeddings.tables.values())
        self.tables = nn.ModuleList(_Gathered(table) for table in tables if isinstance(table, Table))
        weights = None if network.wide is None else network.wide.weights
        self.wide_weights = None if weights is None else _Gathered(weights)

    def forward(
        self,
        indices: Tensor | None,
        numerics: Tensor | None,
        values: list[Tensor],
        bounds: list[Tensor],
        weights: list[Tensor],
    ) -> Tensor:
        each = iter(weights)
        bags = [
            _TracedBag(of_column, ends, next(each) if is_weighted else None)
            for of_column, ends, is_weighted in zip(values, bounds, self._weighted, strict=True)
        ]
        if indices is not None:
            num_rows = indices.shape[0]
        else:
            num_rows = numerics.shape[0] if numerics is not None else bounds[0].shape[0] - 1
        logit = self.get_buffer("bias").expand(num_rows)
        if self.wide is not None:
            logit = logit + self._wide_logit(self.wide, indices, numerics, bags, num_rows)
        if self.towers:
            parts = [part for table in self.tables for part in table(indices, bags, num_rows)]
            deep_input = torch.cat(parts if numerics is None else [*parts, numerics], dim=1)
            for tower in self.towers.values():
                logit = logit + tower(deep_input)
        return score(self._kind, logit)

    def _wide_logit(
        self, wide: Wide, indices: Tensor | None, numerics: Tensor | None, bags: Sequence[Bag], num_rows: int
    ) -> Tensor:
        logit: Tensor = torch.zeros(num_rows)
        if numerics is not None:
            logit = logit + numerics @ wide.numeric
        if wide.memory is not None:
            of_crosses = torch.zeros(0, num_rows, dtype=torch.int64)
            if indices is not None:
                of_crosses = indices.index_select(1, wide.get_buffer("remembered")).T
            logit = logit + wide.memory(of_crosses, [bags[place] for place in wide.remembered_bags])
        if self.wide_weights is not None:
            for part in self.wide_weights(indices, bags, num_rows):
                logit = logit + part.sum(dim=1)
        return logit


class _Gathered(nn.Module):
    """What a table gives for a batch: the vectors of its columns with one value a row, [B, C * W], in the order of
    their places, and then the pooled vectors [B, W] of each column of lists."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        columns = table.columns
        order = columns.places.argsort(kind="stable")
        self.register_buffer("positions", torch.from_numpy(columns.positions[order].copy()))
        self.register_buffer("starts", torch.from_numpy(columns.starts[order].copy()))
        self.register_buffer("weight", table.weight)
        self._num_single = len(order)
        self._bags: list[Column] = sorted(columns.bags, key=lambda column: column.place)

    def forward(self, indices: Tensor | None, bags: Sequence[Bag], num_rows: int) -> list[Tensor]:
        weight, parts = self.get_buffer("weight"), []
        if self._num_single and indices is not None:
            rows = indices.index_select(1, self.get_buffer("positions")) + self.get_buffer("starts")
            parts.append(F.embedding(rows, weight).flatten(1))
        for column in self._bags:
            bag = bags[column.position]
            vectors = F.embedding(bag.values + column.start, weight)
            parts.append(pool(vectors, bag, num_rows, column.pooling or "sum"))
        return parts
