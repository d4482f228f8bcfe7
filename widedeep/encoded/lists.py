"""Lists of rows, behind each other in one array: as they are read, and as the rows of a batch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray


@dataclass(frozen=True)
class Lists:
    """Lists of consecutive rows, none of them empty (CSR)."""

    values: NDArray[Any]
    """[N]."""
    lengths: NDArray[np.int64]
    """[rows]; their sum is N."""


def as_lists(series: pl.Series) -> Lists:
    """The lists of a series, none of which is empty or null."""
    return Lists(series.explode().to_numpy(writable=True), series.list.len().to_numpy().astype(np.int64))


@dataclass(frozen=True)
class ListPart:
    """One column of lists, of the rows of a batch."""

    values: NDArray[np.int32]
    """[N], the rows' lists behind each other."""
    lengths: NDArray[np.int64]
    """[B], each at least 1; they sum to N."""
    weights: NDArray[np.float32] | None
    """[N], where the column has weights."""

    def taken(self, start: int, stop: int) -> "ListPart":
        """The lists of the rows from `start` to before `stop`."""
        first = int(self.lengths[:start].sum())
        part = slice(first, first + int(self.lengths[start:stop].sum()))
        return ListPart(
            self.values[part], self.lengths[start:stop], None if self.weights is None else self.weights[part]
        )

    def ordered(self, order: NDArray[np.int64]) -> "ListPart":
        """The lists of the rows that `order` names."""
        starts = np.cumsum(self.lengths) - self.lengths
        lengths = self.lengths[order]
        places = np.repeat(starts[order] - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
        return ListPart(self.values[places], lengths, None if self.weights is None else self.weights[places])
