"""Slices of the rows, by values of columns, in which one of two models is worse, corrected for the number of slices."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from widedeep.evaluation.comparison import LEAST_GROUPS, LEAST_OF_CLASS, Change, LabelledRows, Numbers

LEAST_ROWS = 200
"""A slice of fewer rows is skipped, and so is one with fewer positives, negatives or groups than all rows need."""
_SHARE_OF_ERRORS = 0.05
"""Probability that the interval of any slice misses its difference."""


@dataclass(frozen=True)
class SliceColumn:
    """The values of a column."""

    name: str
    code: NDArray[np.int64]
    """[N]: position in `values`."""
    values: Sequence[str | None]
    """None for a missing value."""


@dataclass(frozen=True)
class Slice:
    """A slice, which is the rows with one value of a column, in which one model is worse."""

    column: str
    value: str | None
    rows: int
    difference: Change
    """Difference of the mean losses, first model minus second."""
    low: float
    """Lower end of a 95% interval that holds for all slices together (Bonferroni)."""
    high: float
    """Upper end."""
    worse: Literal["first", "second"]


@dataclass(frozen=True)
class SliceReport:
    """The slices that were compared, and those in which a model is worse."""

    columns: tuple[str, ...]
    looked_at: int
    """Number of slices compared."""
    too_small: int
    """Number of values with too few rows, positives, negatives or groups."""
    worse: tuple[Slice, ...]
    """The slices whose interval excludes 0, the clearest first."""


def compare_slices(rows: LabelledRows, columns: Sequence[SliceColumn], first: Numbers, second: Numbers) -> SliceReport:
    """Find the slices in which one model is worse; `first` and `second` are the models' row losses [N]."""
    candidates = [(column, _sums(rows, column, first - second)) for column in columns]
    looked_at = sum(int(sums.enough.sum()) for _, sums in candidates)
    deviations = NormalDist().inv_cdf(1.0 - _SHARE_OF_ERRORS / 2.0 / max(1, looked_at))
    slices = []
    for column, sums in candidates:
        for code in map(int, np.flatnonzero(sums.enough)):
            change = Change(float(sums.mean[code]), float(sums.error[code]))
            low, high = change.value - deviations * change.error, change.value + deviations * change.error
            if low > 0.0 or high < 0.0:
                worse: Literal["first", "second"] = "first" if low > 0.0 else "second"
                count = int(sums.rows[code])
                slices.append(Slice(column.name, column.values[code], count, change, low, high, worse))
    total = sum(len(column.values) for column in columns)
    slices.sort(key=lambda entry: -abs(entry.difference.z))
    return SliceReport(tuple(column.name for column in columns), looked_at, total - looked_at, tuple(slices))


@dataclass(frozen=True)
class _Sums:
    """Sums for each value of a column, [V] each."""

    rows: NDArray[np.int64]
    """Number of rows that have a weight."""
    mean: Numbers
    """Mean difference of the losses."""
    error: Numbers
    """Its standard error."""
    enough: NDArray[np.bool_]
    """Whether the slice is large enough."""


def _sums(rows: LabelledRows, column: SliceColumn, difference: Numbers) -> _Sums:
    size, kept = len(column.values), rows.weight > 0.0
    code, weight, label = column.code[kept], rows.weight[kept], rows.label[kept]
    count = np.bincount(code, minlength=size)
    total = np.bincount(code, weights=weight, minlength=size)
    divisor = np.where(total > 0.0, total, 1.0)
    mean = np.bincount(code, weights=weight * difference[kept], minlength=size) / divisor
    enough = count >= LEAST_ROWS
    if rows.kind == "binary":
        positives = np.bincount(code[label > 0.0], minlength=size)
        enough &= np.minimum(positives, count - positives) >= LEAST_OF_CLASS
    residual, unit_code = weight * (difference[kept] - mean[code]), code
    if rows.group is not None:
        # The unit of a slice is a group: its rows in the slice are drawn together.
        groups = int(rows.group.max()) + 1 if len(rows.group) else 1
        pair, number = np.unique(code * groups + rows.group[kept], return_inverse=True)
        residual, unit_code = np.bincount(number, weights=residual).astype(np.float64), pair // groups
        enough &= np.bincount(unit_code, minlength=size) >= LEAST_GROUPS
    error = np.sqrt(np.bincount(unit_code, weights=np.square(residual), minlength=size)) / divisor
    return _Sums(count, mean, error, enough)
