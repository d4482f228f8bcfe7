"""A stored table of rows, looked up by index; the rows that a training batch touched are kept for the optimizer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from widedeep.kernels.reference import sum_duplicates
from widedeep.model.bags import Bag


@dataclass
class Touched:
    """What one training step read: `rows` [U] without duplicates, `inverse` [N] into them, `output` [N, D], the autograd leaf."""

    rows: Tensor
    inverse: Tensor
    output: Tensor

    def gradients(self) -> Tensor:
        """Gradient of the loss for each touched row, duplicates summed. Shape [U, D]."""
        gradient = self.output.grad
        assert gradient is not None, "backward has not run"
        return sum_duplicates(self.inverse, gradient, len(self.rows))


class Table(nn.Module):
    """Rows of one width for several columns, each with a range of rows of its own, or one that it shares.

    The table is no autograd parameter: a backward pass ends at the looked-up values, so that a step costs what the
    batch touches, not what the table holds. `touched` is what the optimizer then works on.

    Shape: indices [B, F] int32 (field-local, of this table's first F columns) and a bag for each of the others; output
    [B, F, D] float32, and the vectors [N, D] of each bag's values.
    """

    weight: Tensor
    offsets: Tensor

    def __init__(self, sizes: Sequence[int], width: int, *, shared: Sequence[str | None] | None = None) -> None:
        """`shared` names the range of each column; columns with the same name (not None) have one range."""
        super().__init__()
        names: list[str | int] = [name or i for i, name in enumerate(shared or [None] * len(sizes))]
        starts: dict[str | int, int] = {}
        end = 0
        for name, size in zip(names, sizes, strict=True):
            if name not in starts:
                starts[name] = end
                end += size
        self._starts = [starts[name] for name in names]
        self.register_buffer("offsets", torch.tensor(self._starts, dtype=torch.int64), persistent=False)
        self.register_buffer("weight", torch.zeros(end, width))
        self.touched: Touched | None = None
        self.before_lookup: Callable[[Tensor], None] | None = None
        """Called with the rows [U] about to be read in training: an optimizer may owe them an update."""

    def initialise(self, deviation: float) -> None:
        """Draw the rows from N(0, deviation²); a column's missing and unknown rows start at zero, which says nothing."""
        nn.init.normal_(self.weight, std=deviation)
        for start in self._starts:
            self.weight[start : start + 2] = 0.0

    def forward(self, indices: Tensor, bags: Sequence[Bag] = ()) -> tuple[Tensor, list[Tensor]]:
        num_dense = indices.shape[1]
        rows = (indices + self.offsets[:num_dense]).flatten()
        in_bags = [bag.values + start for bag, start in zip(bags, self._starts[num_dense:], strict=True)]
        looked_up = self._look_up(torch.cat([rows, *in_bags]) if in_bags else rows)
        dense, *vectors = torch.split(looked_up, [len(rows), *(len(bag) for bag in in_bags)])
        return dense.view(len(indices), num_dense, self.weight.shape[1]), vectors

    def _look_up(self, rows: Tensor) -> Tensor:
        if not self.training:
            return self.weight[rows]
        unique, inverse = torch.unique(rows, return_inverse=True)
        if self.before_lookup is not None:
            self.before_lookup(unique)
        output = self.weight[rows].requires_grad_()
        self.touched = Touched(unique, inverse, output)
        return output
