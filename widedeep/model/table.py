"""A table whose rows are looked up by index; it keeps the look-ups of a training batch for the optimizer."""

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
    """Its row of the index matrix, or, if it has a pooling, its position among the bags."""
    size: int
    """Number of table rows of its range."""
    place: int = 0
    """The output column where its vector begins."""
    pooling: Pooling | None = None
    shared: str | None = None
    """Columns with the same name here share a range."""


@dataclass(frozen=True)
class Share:
    """The rows of every large table that a process holds, of `world` processes: those with row % world == rank.

    Fresh rows are drawn each by itself, so that no process needs the others'.
    """

    seed: int
    split_above: int
    """Tables with more rows than this are split; every process holds the others whole."""
    rank: int = 0
    world: int = 1

    def rows_of(self, num_rows: int) -> range:
        """The rows held here of a table with `num_rows` rows."""
        return range(self.rank, num_rows, self.world) if num_rows > self.split_above else range(num_rows)

    def draw(self, weight: Tensor, rows: range, deviation: float) -> None:
        """Draw the `rows` of a table into `weight` [rows, W]. Tables of different widths have different draws."""
        from widedeep.kernels.row_draws import draw_rows  # not at the top: scoring draws nothing, and needs no Numba

        draw_rows(weight.numpy(), rows, self.seed, deviation)


@dataclass
class Touched:
    """The look-ups of one training step, and the autograd leaf [B, W] that they were written to."""

    lookups: Lookups
    output: Tensor

    @property
    def gradient(self) -> Tensor:
        """Gradient of the loss with respect to the output. Shape [B, W]."""
        assert self.output.grad is not None, "backward has not run"
        return self.output.grad


class Table(nn.Module):
    """Rows of one width for several columns. Each column has a range of rows of its own or shares one.

    The table is no autograd parameter. A backward pass ends at the values written to the output, so the cost of a step
    depends on the rows that the batch touches, not on the size of the table. The optimizer then works on `touched`.
    """

    weight: Tensor

    def __init__(
        self, columns: Sequence[TableColumn], width: int, *, summed: bool = False, share: Share | None = None
    ) -> None:
        """With `summed`, the output is the sum over the columns (width 1; see Columns).

        `share` says which rows are held here, and how fresh ones are drawn.
        """
        super().__init__()
        starts: dict[str | int, int] = {}
        end = 0
        for number, column in enumerate(columns):
            if (name := column.shared or number) not in starts:
                starts[name] = end
                end += column.size
        self._starts = [starts[column.shared or number] for number, column in enumerate(columns)]
        self._readers = columns
        self.columns = Columns(
            [Column(c.position, start, c.place, c.pooling) for c, start in zip(columns, self._starts, strict=True)],
            summed=summed,
        )
        self.num_rows = end
        self.share = share
        self.held = range(end) if share is None else share.rows_of(end)
        """The rows that `weight` holds: all, or of a large table in one of several processes every so many."""
        self.register_buffer("weight", torch.zeros(len(self.held), width))
        self.touched: Touched | None = None
        """The look-ups of the last training forward pass; the optimizer's step uses them and sets this to None."""
        self.before_lookup: Callable[[Lookups], None] | None = None
        """Called in training before rows are read; set by an optimizer that may still have to update them."""
        self.given: tuple[Tensor, Lookups] | None = None
        """What the next `fill` reads in place of the table: rows that were taken from it, and the look-ups in these."""

    @property
    def is_split(self) -> bool:
        """Whether other processes hold some of the rows."""
        return len(self.held) < self.num_rows

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """(first row, number of rows) of each range, in order; columns that share a range count once."""
        starts = sorted(set(self._starts))
        return [(start, end - start) for start, end in zip(starts, [*starts[1:], self.num_rows], strict=True)]

    @property
    def readers(self) -> list[TableColumn]:
        """The first column that reads each of `ranges`."""
        first = dict(zip(self._starts[::-1], self._readers[::-1], strict=True))
        return [first[start] for start, _ in self.ranges]

    def initialise(self, deviation: float) -> None:
        """Draw the rows from N(0, deviation²). Those of missing and unknown values start at zero, to have no effect."""
        if self.share is None:
            nn.init.normal_(self.weight, std=deviation)
        else:
            self.share.draw(self.weight, self.held, deviation)
        for start in self._starts:
            for row in range(start, min(start + 2, self.num_rows)):
                if row in self.held:
                    self.weight[self.held.index(row)] = 0.0

    def fill(self, indices: Tensor, bags: Sequence[Bag], out: Tensor) -> None:
        """Write the vectors of all columns to `out` [B, W], each at its column's place; indices [F, B] int32."""
        weight, lookups = self.given or (self.weight, Lookups(self.columns, indices, bags))
        if not self.training:
            kernels_for(weight.device, rows=lookups.num_rows).look_up(weight, lookups, out)
        else:
            if self.before_lookup is not None and self.given is None:
                self.before_lookup(lookups)
            kernels_for(weight.device).look_up(weight, lookups, out)
            self.touched = Touched(lookups, out)
        self.given = None
