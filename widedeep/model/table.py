"""A stored table of rows, looked up by index; the rows that a training batch touched are kept for the optimizer."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from widedeep.kernels.reference import sum_duplicates


@dataclass
class Touched:
    """What one training step read: `rows` [U] without duplicates, `inverse` [B, F] into them, `output` the autograd leaf."""

    rows: Tensor
    inverse: Tensor
    output: Tensor

    def gradients(self) -> Tensor:
        """Gradient of the loss for each touched row, duplicates summed. Shape [U, D]."""
        gradient = self.output.grad
        assert gradient is not None, "backward has not run"
        width = gradient.shape[-1]
        per_lookup = gradient if gradient.dim() == 3 else gradient.unsqueeze(1).expand(*self.inverse.shape, width)
        return sum_duplicates(self.inverse.flatten(), per_lookup.reshape(-1, width), len(self.rows))


class Table(nn.Module):
    """Rows of one width for several columns, each with a range of rows of its own.

    The table is no autograd parameter: a backward pass ends at the looked-up values, so that a step costs what the
    batch touches, not what the table holds. `touched` is what the optimizer then works on.

    Shape: input [B, F] int32 (field-local indices of this table's columns); output [B, F, D] float32, or their sum over
    F, [B, D], when `pooled`.
    """

    weight: Tensor
    offsets: Tensor

    def __init__(self, sizes: list[int], width: int, *, pooled: bool = False) -> None:
        super().__init__()
        self.sizes = sizes
        self.pooled = pooled
        starts = torch.tensor([0, *sizes], dtype=torch.int64).cumsum(0)
        self.register_buffer("offsets", starts[:-1], persistent=False)
        self.register_buffer("weight", torch.zeros(int(starts[-1]), width))
        self.touched: Touched | None = None
        self.before_lookup: Callable[[Tensor], None] | None = None
        """Called with the rows [U] about to be read in training: an optimizer may owe them an update."""

    def initialise(self, deviation: float) -> None:
        """Draw the rows from N(0, deviation²); a column's missing and unknown rows start at zero, which says nothing."""
        nn.init.normal_(self.weight, std=deviation)
        for start in self.offsets.tolist():
            self.weight[start : start + 2] = 0.0

    def forward(self, indices: Tensor) -> Tensor:
        rows = indices + self.offsets
        if not self.training:
            return self._pool(self.weight[rows])
        unique, inverse = torch.unique(rows, return_inverse=True)
        if self.before_lookup is not None:
            self.before_lookup(unique)
        output = self._pool(self.weight[rows]).requires_grad_()
        self.touched = Touched(unique, inverse, output)
        return output

    def _pool(self, looked_up: Tensor) -> Tensor:
        return looked_up.sum(dim=1) if self.pooled else looked_up
