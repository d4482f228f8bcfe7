"""Quantile cut points from counts on a grid over the float64 numbers, the same for any order of the rows."""

import numpy as np
from numpy.typing import NDArray

from widedeep.float_order import float_of_bits, ordered_bits

MAX_CELLS = 1 << 16
_LOWEST = -np.finfo(np.float64).max


class QuantileGrid:
    """Counts of float64 values in at most `max_cells` occupied cells of 2**shift neighbouring numbers each.

    The state depends on the values seen and their counts, never on their order, their blocks or the order of merges.
    Let occupied(s, S) be the number of cells of 2**s numbers that a set S occupies. It never rises with s, because a
    cell of s + 1 is the union of two cells of s, and it never falls as S grows. Every state's shift is the least s with
    occupied(s, S) <= max_cells for the set S seen so far. Merging S and T starts at the larger of their shifts. That is
    not above the least shift of their union, because a subset never needs a larger shift. It goes up to the least shift
    at which the union fits. The counts are then those of the union's values, because a cell's new number is its old
    number with low bits cut off.
    """

    def __init__(self, max_cells: int = MAX_CELLS) -> None:
        self.max_cells = max_cells
        self.shift = 0
        self.cells: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        """Numbers of the occupied cells, ascending."""
        self.counts: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        """Rows in each of `cells`."""

    def add(self, values: NDArray[np.float64]) -> None:
        """Add finite values, shape [N]."""
        cells, counts = np.unique(ordered_bits(values) >> np.uint64(self.shift), return_counts=True)
        self._absorb(cells, counts.astype(np.int64), self.shift)

    def add_counted(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
        """Add finite values, each as often as it counts, shapes [N]; a value may be there twice."""
        self._absorb(ordered_bits(values) >> np.uint64(self.shift), counts, self.shift)

    def merge(self, other: "QuantileGrid") -> None:
        """Add the values that `other` has seen."""
        self._absorb(other.cells, other.counts, other.shift)

    def _absorb(self, cells: NDArray[np.uint64], counts: NDArray[np.int64], shift: int) -> None:
        start = max(self.shift, shift)
        numbers = np.concatenate([self.cells >> np.uint64(start - self.shift), cells >> np.uint64(start - shift)])
        counts = np.concatenate([self.counts, counts])
        order = np.argsort(numbers, kind="stable")
        numbers, counts = _sum_runs(numbers[order], counts[order])
        more = _bits_to_cut(numbers, self.max_cells)
        self.cells, self.counts = _sum_runs(numbers >> np.uint64(more), counts)
        self.shift = start + more

    def cut_points(self, quantiles: int) -> list[float]:
        """Ascending points that cut the values into `quantiles` parts of equally many rows.

        Part i holds points[i-1] <= x < points[i]. A point is repeated if one value fills several parts. A cell with
        over half of the rows (a single value, up to the grid's resolution) gets a part of its own, and the other values
        are cut into quantiles - 1 parts. If the cell lies within one of these, it splits it: there is then one part
        more.
        """
        if len(self.cells) == 0:
            return []
        heavy = int(self.counts.argmax())
        if 2 * int(self.counts[heavy]) <= int(self.counts.sum()):
            return self._equal_cuts(self.cells, self.counts, quantiles)
        others = np.arange(len(self.cells)) != heavy
        points = self._equal_cuts(self.cells[others], self.counts[others], quantiles - 1)
        if heavy > 0:
            points.append(self._lower_edge(int(self.cells[heavy])))
        if heavy < len(self.cells) - 1:
            points.append(self._lower_edge(int(self.cells[heavy]) + 1))
        return sorted(points)

    def bucket_cuts(self, buckets: int) -> list[float]:
        """The `cut_points` without those that would leave a bucket empty in train.

        Of points with no value between them the first is kept, and none that has no value below it.
        """
        points = np.array(self.cut_points(buckets), dtype=np.float64)
        # Cut points with the same number of occupied cells below have no value between them.
        below, first = np.unique(
            np.searchsorted(self.cells, ordered_bits(points) >> np.uint64(self.shift)), return_index=True
        )
        kept: list[float] = points[first[below > 0]].tolist()
        return kept

    def _equal_cuts(self, cells: NDArray[np.uint64], counts: NDArray[np.int64], quantiles: int) -> list[float]:
        if len(cells) == 0:
            return []
        ends = np.cumsum(counts)
        ranks = np.array([k * int(ends[-1]) // quantiles for k in range(1, quantiles)], dtype=np.int64)
        return [self._lower_edge(int(cells[i])) for i in np.searchsorted(ends, ranks, side="right")]

    def _lower_edge(self, cell: int) -> float:
        value = float_of_bits(cell << self.shift)
        # The lowest cell may begin below the finite numbers, where the grid holds -inf and NaN.
        return value if value >= _LOWEST else float(_LOWEST)


def _sum_runs(numbers: NDArray[np.uint64], counts: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Ascending numbers without repetitions, and the sum of the counts of each."""
    if len(numbers) == 0:
        return numbers, counts
    first = np.flatnonzero(np.diff(numbers, prepend=numbers[:1] + np.uint64(1)))
    return numbers[first], np.add.reduceat(counts, first)


def _bits_to_cut(numbers: NDArray[np.uint64], most: int) -> int:
    """The least s for which the distinct ascending `numbers` >> s take at most `most` different values."""
    if len(numbers) <= most:
        return 0
    # Neighbours differ after >> s if their XOR is at least 2**s. That may hold for `most` - 1 pairs of neighbours.
    differences = numbers[1:] ^ numbers[:-1]
    return int(np.partition(differences, -most)[-most]).bit_length()
