"""A stored table of rows, looked up by index; what a training batch looked up is kept for the optimizer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from widedeep.kernels.choose import kernels_for
from widedeep.kernels.lookups import Bag, Column, Columns, Lookups, Pooling


@dataclass(frozen=True)
class TableColumn:
    """One column that reads the table."""

    position: int
    """In the index matrix, or, where it has a pooling, among the bags."""
    size: int
    """Table rows of its range."""
    place: int = 0
    """First column of the output that its vector is written to."""
    pooling: Pooling | None = None
    shared: str | None = None
    """Columns with the same name have one range."""


@dataclass
class Touched:
    """What one training step read: the look-ups, and the autograd leaf [B, W] that they were written to."""

    lookups: Lookups
    output: Tensor

    @property
    def gradient(self) -> Tensor:
        """Gradient of the loss by the output. Shape [B, W]."""
        assert self.output.grad is not None, "backward has not run"
        return self.output.grad


class Table(nn.Module):
    """Rows of one width for several columns, each with a range of rows of its own, or one that it shares.

    The table is no autograd parameter: a backward pass ends at the values written to the output, so that a step costs
    what the batch touches, not what the table holds. `touched` is what the optimizer then works on.
    """

    weight: Tensor

    def __init__(self, columns: Sequence[TableColumn], width: int, *, summed: bool = False) -> None:
        """With `summed`, what the columns read is added up (width 1; see Columns)."""
        super().__init__()
        starts: dict[str | int, int] = {}
        end = 0
        for number, column in enumerate(columns):
            if (name := column.shared or number) not in starts:
                starts[name] = end
                end += column.size
        self._starts = [starts[column.shared or number] for number, column in enumerate(columns)]
        self.columns = Columns(
            [Column(c.position, start, c.place, c.pooling) for c, start in zip(columns, self._starts, strict=True)],
            summed=summed,
        )
        self.register_buffer("weight", torch.zeros(end, width))
        self.touched: Touched | None = None
        """What the last training forward pass read; the optimizer's step takes it and sets it to None."""
        self.before_lookup: Callable[[Lookups], None] | None = None
        """Set by an optimizer that may owe rows an update: called in training with what is about to be read."""

    def initialise(self, deviation: float) -> None:
        """Draw the rows from N(0, deviation²); a column's missing and unknown rows start at zero, which says nothing."""
        nn.init.normal_(self.weight, std=deviation)
        for start in self._starts:
            self.weight[start : start + 2] = 0.0

    def fill(self, indices: Tensor, bags: Sequence[Bag], out: Tensor) -> None:
        """Write the vectors of all columns to their places of `out` [B, W]; indices [F, B] int32."""
        lookups = Lookups(self.columns, indices, bags)
        if not self.training:
            kernels_for(self.weight.device, rows=lookups.num_rows).look_up(self.weight, lookups, out)
            return
        if self.before_lookup is not None:
            self.before_lookup(lookups)
        kernels_for(self.weight.device).look_up(self.weight, lookups, out)
        self.touched = Touched(lookups, out)
