"""Look-ups in a table: the columns that read it, and the indices of one batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from widedeep.lists import Lists

Pooling = Literal["sum", "mean", "max"]


@dataclass(frozen=True)
class Bag:
    """One column of lists for the rows of a batch."""

    values: Tensor
    """[N] int32: indices within the column's range, one row's list after the other."""
    bounds: Tensor
    """[B + 1] int64: the position where each row's values start, and N."""
    weights: Tensor | None
    """[N] float32; None if the column has no weights."""

    @classmethod
    def of(cls, lists: Lists, put: Callable[[NDArray[Any]], Tensor]) -> "Bag":
        """A column of lists; `put` brings an array to the device."""
        return cls(put(lists.values), put(lists.bounds), None if lists.weights is None else put(lists.weights))

    @cached_property
    def rows(self) -> Tensor:
        """[N] int64, ascending: the row that each value belongs to."""
        lengths = self.bounds.diff()
        numbers = torch.arange(len(lengths), device=lengths.device)
        # Without the size, torch would wait for the device to sum the lengths.
        return torch.repeat_interleave(numbers, lengths, output_size=len(self.values))


@dataclass(frozen=True)
class Column:
    """One column that reads a table."""

    position: int
    """Its row of the index matrix, or, if it has a pooling, its position among the bags."""
    start: int
    """First table row of its range. Columns with equal starts share a range; other ranges do not overlap."""
    place: int
    """The output column where its vector begins."""
    pooling: Pooling | None = None


class Columns:
    """The columns that read one table, ordered by range, because only columns of one range can read the same row."""

    def __init__(self, columns: Sequence[Column], *, summed: bool = False) -> None:
        """With `summed` (the wide part), the table is [R, 1], all places are 0, and the output sums all columns."""
        self.summed = summed
        starts = sorted({column.start for column in columns})
        ordered = sorted(columns, key=lambda column: column.start)
        dense = [column for column in ordered if column.pooling is None]
        self.range_starts = _longs(starts)
        """[G]: the first table row of each range."""
        self.positions = _longs([column.position for column in dense])
        self.starts = _longs([column.start for column in dense])
        self.places = _longs([column.place for column in dense])
        self.bounds = _longs(np.searchsorted(self.starts, [*starts, np.iinfo(np.int64).max]))
        """[G + 1]: the position where each range's columns with one value a row start, and their number."""
        self.bags = tuple(column for column in ordered if column.pooling is not None)
        self.bag_bounds = _longs(
            np.searchsorted([column.start for column in self.bags], [*starts, np.iinfo(np.int64).max])
        )
        """[G + 1]: the position where each range's columns of lists start, and their number."""
        self._on: dict[torch.device, DeviceColumns] = {}

    def on(self, device: torch.device) -> "DeviceColumns":
        """The columns with one value a row, on the device; copied there once."""
        if device not in self._on:
            arrays = (self.positions, self.starts, self.places)
            self._on[device] = DeviceColumns(*(torch.from_numpy(array).to(device) for array in arrays))
        return self._on[device]


class DeviceColumns(NamedTuple):
    """Columns.positions, .starts and .places as tensors [C] int64."""

    positions: Tensor
    starts: Tensor
    places: Tensor


def _longs(numbers: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(numbers, dtype=np.int64)


@dataclass(frozen=True)
class Lookups:
    """The look-ups of one batch in one table.

    The output [B, W] float32 has the table's row (D wide), or the pooled rows, at each column's place. If the columns
    are `summed`, it is [B, 1].
    """

    columns: Columns
    indices: Tensor
    """[F, B] int32: indices within the columns' ranges."""
    bags: Sequence[Bag]

    @property
    def num_rows(self) -> int:
        """Rows of the batch."""
        return self.indices.shape[1]

    @cached_property
    def sorted_rows(self) -> tuple[Tensor, Tensor]:
        """The table rows of all look-ups, ascending, and the position of each before sorting. Both [E] int64.

        Before sorting, the columns with one value a row come one after the other, then the values of the bags. Equal
        rows stay in that order.
        """
        columns = self.columns.on(self.indices.device)
        dense = self.indices.index_select(0, columns.positions) + columns.starts.unsqueeze(1)
        bags = [self.bags[bag.position].values.long() + bag.start for bag in self.columns.bags]
        rows = torch.cat([dense.flatten(), *bags])
        rows, order = torch.sort(rows, stable=True)
        return rows, order
