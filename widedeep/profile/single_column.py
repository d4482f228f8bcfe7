"""How well one column alone predicts the label on rows that it was not fitted to, and where its values come again."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.draws import random_draws

_PRIOR_ROWS = 5.0
"""Rows of the average that every value's rate is mixed with."""
_BUCKETS = 64
_CLASS_ROWS = 10
"""Rows of the rarer class in a half; below, a strength would be chance."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Target:
    """The label of the sampled rows, and the half that each row belongs to."""

    values: Floats
    """0 and 1, or the number that regression predicts."""
    is_binary: bool
    second_half: NDArray[np.bool_]

    @classmethod
    def of(cls, values: Floats, *, is_binary: bool) -> "Target":
        """Rows are drawn into halves by their number alone."""
        return cls(values, is_binary, random_draws(1, 0, len(values)) < 0.5)

    @property
    def is_enough(self) -> bool:
        """Whether both halves have rows enough for a strength."""
        if not self.is_binary:
            return len(self.values) >= 4 * _CLASS_ROWS
        halves = (self.values[self.second_half == half] for half in (False, True))
        return all(min(half.sum(), (1 - half).sum()) >= _CLASS_ROWS for half in halves)

    @property
    def noise(self) -> float:
        """What two strengths may differ by for no reason."""
        if not self.is_binary:
            return float(3.0 / max(len(self.values), 1) ** 0.5)
        rarer = min(self.values.sum(), (1 - self.values).sum())
        return float(0.5 / max(rarer, 1.0) ** 0.5)


@dataclass(frozen=True)
class ValueTable:
    """One row per value of a column (missing is one): how many rows have it in each half, and their labels' sums."""

    values: pl.Series
    rows: NDArray[np.float64]
    """(values, 2)"""
    label_sums: NDArray[np.float64]
    """(values, 2)"""
    label_squares: NDArray[np.float64]
    """(values, 2)"""

    @property
    def counts(self) -> Floats:
        """Rows per value."""
        total: Floats = self.rows.sum(axis=1)
        return total

    def grouped(self, groups: NDArray[np.int64]) -> "ValueTable":
        """The table of a coarser column: values with an equal number (0 …) are one."""
        size = int(groups.max()) + 1 if len(groups) else 0

        def summed(part: Floats) -> Floats:
            return np.stack([np.bincount(groups, part[:, half], size) for half in (0, 1)], axis=1)

        numbers = pl.Series(np.arange(size))
        return ValueTable(numbers, summed(self.rows), summed(self.label_sums), summed(self.label_squares))


def value_table(column: pl.Series, target: Target) -> ValueTable:
    """Every value of the column, in order of first appearance."""
    second, label = target.second_half.astype(np.float64), target.values
    frame = pl.DataFrame(
        {
            "value": column,
            "n0": 1.0 - second,
            "n1": second,
            "y0": label * (1.0 - second),
            "y1": label * second,
            "s0": label**2 * (1.0 - second),
            "s1": label**2 * second,
        }
    )
    sums = frame.group_by("value", maintain_order=True).agg(pl.exclude("value").sum())
    pairs = (sums.select(f"{part}0", f"{part}1").to_numpy() for part in "nys")
    return ValueTable(sums["value"], *pairs)


def strength(table: ValueTable, *, is_binary: bool) -> float:
    """AUC (binary) or share of variance explained (regression, at least 0) of the mean label per value.

    Means are fitted on one half and judged on the other, both ways round; a value that the first half lacks is
    predicted the average.
    """
    scores = [_one_way(table, fit, is_binary) for fit in (0, 1)]
    return float(np.mean(scores))


def _one_way(table: ValueTable, fit: int, is_binary: bool) -> float:
    rows, sums = table.rows[:, fit], table.label_sums[:, fit]
    average = sums.sum() / max(rows.sum(), 1.0)
    predicted = (sums + _PRIOR_ROWS * average) / (rows + _PRIOR_ROWS)
    judged_rows, judged_sums = table.rows[:, 1 - fit], table.label_sums[:, 1 - fit]
    if is_binary:
        return auc_of_groups(predicted, judged_sums, judged_rows - judged_sums)
    squares = table.label_squares[:, 1 - fit]
    total = squares.sum() - judged_sums.sum() ** 2 / max(judged_rows.sum(), 1.0)
    left = (squares - 2.0 * predicted * judged_sums + judged_rows * predicted**2).sum()
    return max(1.0 - left / total, 0.0) if total > 0 else 0.0


def auc_of_groups(scores: Floats, positives: Floats, negatives: Floats) -> float:
    """Area under the ROC curve of rows that share scores in groups; 0.5 where a class is missing."""
    _, groups = np.unique(scores, return_inverse=True)
    positive = np.bincount(groups, positives)
    negative = np.bincount(groups, negatives)
    pairs = positive.sum() * negative.sum()
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / pairs) if pairs > 0 else 0.5


def bucketed(table: ValueTable, numbers: Floats, buckets: int = _BUCKETS) -> ValueTable:
    """The table of a numeric column cut into quantile buckets; NaN is one of its own. `numbers`: one per value."""
    order = np.argsort(numbers, kind="stable")
    counts = table.counts[order]
    known = np.isfinite(numbers[order])
    total = counts[known].sum()
    middle = np.cumsum(np.where(known, counts, 0.0)) - counts / 2
    groups = np.empty(len(numbers), dtype=np.int64)
    groups[order] = np.where(known, np.minimum(middle / max(total, 1.0) * buckets, buckets - 1), buckets)
    return table.grouped(groups)


@dataclass(frozen=True)
class FilledPattern:
    """Whether a row has something in the column (not missing, not 0) or nothing, and its label."""

    filled: float
    filled_positives: float
    empty: float
    empty_positives: float

    @property
    def gives_away(self) -> bool:
        """Whether what is filled is filled for one class only, far beyond chance, while the other class is not rare there."""
        rate = (self.filled_positives + self.empty_positives) / max(self.filled + self.empty, 1.0)
        expected = self.filled * rate
        others_expected = self.filled - expected
        only_positives = self.filled - self.filled_positives <= 0.01 * self.filled and others_expected >= 20.0
        only_negatives = self.filled_positives <= 0.01 * expected and expected >= 20.0
        return self.empty > 0 and self.filled >= 30 and (only_positives or only_negatives)


def filled_pattern(table: ValueTable, numbers: Floats | None) -> FilledPattern:
    """Rows with and without a value; a 0 counts as none where the column is numeric."""
    empty = table.values.is_null().to_numpy().copy()
    if numbers is not None:
        empty |= numbers == 0.0
    sums = table.label_sums.sum(axis=1)
    return FilledPattern(
        filled=float(table.counts[~empty].sum()),
        filled_positives=float(sums[~empty].sum()),
        empty=float(table.counts[empty].sum()),
        empty_positives=float(sums[empty].sum()),
    )


@dataclass(frozen=True)
class Recurrence:
    """Whether a row's value comes again in other rows."""

    seen: float
    """Share of one half's rows (those with a value) whose value the other half has too."""
    others: float
    """How many other rows of the whole table share a row's value, on average; an estimate."""


def recurrence(table: ValueTable, num_rows: int) -> Recurrence:
    """Of a table of `num_rows` rows in all."""
    known = table.values.is_not_null().to_numpy()
    first, second = table.rows[known].T
    both = max(first.sum() * second.sum(), 1.0)
    seen = (first[second > 0].sum() + second[first > 0].sum()) / max(first.sum() + second.sum(), 1.0)
    return Recurrence(float(seen), float((first * second).sum() / both * num_rows))
