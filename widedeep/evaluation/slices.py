"""Slices of the rows, by the values of columns, in which one of two models is worse, corrected for how many were looked at."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from widedeep.evaluation.comparison import LEAST_GROUPS, LEAST_OF_CLASS, Change, LabelledRows, Numbers

LEAST_ROWS = 200
"""A slice of fewer rows is not looked at, nor one of fewer positives, negatives or groups than all rows need."""
_SHARE_OF_ERRORS = 0.05


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
    """The rows of one value, and the difference of the mean losses there, first model minus second."""

    column: str
    value: str | None
    rows: int
    difference: Change
    low: float
    """Lower end of an interval that holds for all slices looked at together, with 95% (Bonferroni)."""
    high: float
    worse: Literal["first", "second"]


@dataclass(frozen=True)
class SliceReport:
    """What was looked at, and what was found."""

    columns: tuple[str, ...]
    looked_at: int
    too_small: int
    """Values that have too few rows, positives, negatives or groups."""
    worse: tuple[Slice, ...]
    """The slices whose interval leaves 0 out, the clearest first."""


def compare_slices(rows: LabelledRows, columns: Sequence[SliceColumn], first: Numbers, second: Numbers) -> SliceReport:
    """Slices in which one model is worse, by each model's row losses [N]."""
    candidates = [(column, _sums(rows, column, first - second)) for column in columns]
    looked_at = sum(int(sums.enough.sum()) for _, sums in candidates)
    deviations = NormalDist().inv_cdf(1.0 - _SHARE_OF_ERRORS / 2.0 / max(1, looked_at))
    found = []
    for column, sums in candidates:
        for code in map(int, np.flatnonzero(sums.enough)):
            change = Change(float(sums.mean[code]), float(sums.error[code]))
            low, high = change.value - deviations * change.error, change.value + deviations * change.error
            if low > 0.0 or high < 0.0:
                worse: Literal["first", "second"] = "first" if low > 0.0 else "second"
                count = int(sums.rows[code])
                found.append(Slice(column.name, column.values[code], count, change, low, high, worse))
    total = sum(len(column.values) for column in columns)
    found.sort(key=lambda one: -abs(one.difference.z))
    return SliceReport(tuple(column.name for column in columns), looked_at, total - looked_at, tuple(found))


@dataclass(frozen=True)
class _Sums:
    """By value of a column, [V]."""

    rows: NDArray[np.int64]
    """Rows that have a weight."""
    mean: Numbers
    error: Numbers
    enough: NDArray[np.bool_]


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
        # A group's rows within a slice stand or fall together.
        groups = int(rows.group.max()) + 1 if len(rows.group) else 1
        pair, number = np.unique(code * groups + rows.group[kept], return_inverse=True)
        residual, unit_code = np.bincount(number, weights=residual).astype(np.float64), pair // groups
        enough &= np.bincount(unit_code, minlength=size) >= LEAST_GROUPS
    error = np.sqrt(np.bincount(unit_code, weights=np.square(residual), minlength=size)) / divisor
    return _Sums(count, mean, error, enough)
