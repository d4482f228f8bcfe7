"""Rows with a list of values each, stored as one array of all values and one of the lists' lengths (as in CSR)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Lists:
    """The lists of consecutive rows."""

    values: NDArray[Any]
    """[N]: the values of all rows, one row after the other."""
    lengths: NDArray[np.int64]
    """[rows]; they sum to N."""
    weights: NDArray[np.float32] | None = None
    """[N], where the values have weights."""

    @classmethod
    def of(cls, values: "pl.Series", weights: "pl.Series | None" = None) -> "Lists":
        """The lists of a series, and their weights from a series of the same shape. No list may be empty or null."""
        lengths = values.list.len().to_numpy().astype(np.int64)
        # Polars' memory is read-only, and torch warns about arrays that it may not write to: these are copies.
        flat_weights = None if weights is None else weights.explode().to_numpy(writable=True)
        return cls(values.explode().to_numpy(writable=True), lengths, flat_weights)

    @property
    def bounds(self) -> NDArray[np.int64]:
        """[rows + 1]: the position where each row's values start, and N."""
        bounds = np.zeros(len(self.lengths) + 1, dtype=np.int64)
        self.lengths.cumsum(out=bounds[1:])
        return bounds

    def row_of_values(self) -> NDArray[np.int64]:
        """[N]: the number of the row that each value belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def slice(self, start: int, stop: int) -> "Lists":
        """The rows from `start` to before `stop`."""
        first = int(self.lengths[:start].sum())
        part = slice(first, first + int(self.lengths[start:stop].sum()))
        weights = None if self.weights is None else self.weights[part]
        return Lists(self.values[part], self.lengths[start:stop], weights)

    def gather(self, rows: NDArray[np.int64]) -> "Lists":
        """The rows with these numbers, in this order."""
        starts = (np.cumsum(self.lengths) - self.lengths)[rows]
        lengths = self.lengths[rows]
        positions = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
        return Lists(self.values[positions], lengths, None if self.weights is None else self.weights[positions])


def joined_lists(parts: Sequence[Lists]) -> Lists:
    """The rows of all parts, one part after the other. Either all parts have weights, or none."""
    weights = [part.weights for part in parts if part.weights is not None]
    return Lists(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        np.concatenate(weights) if weights else None,
    )
