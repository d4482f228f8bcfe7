"""What one column alone says of the label on rows that it was not fitted to, and where its values come again.

Half of the rows, drawn by their numbers, say the mean label of each value, the other half judges it; and the other way
round.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.draws import random_draws

_PRIOR_ROWS = 10.0
"""Rows of the mean label that every cell is mixed with, so that a rare one does not speak loudly. In regression
they may be fewer."""
_BUCKETS = 50
_MIN_BUCKET_ROWS = 20
_CLASS_ROWS = 10
"""Rows of either class, in each half, below which a strength says nothing."""
_MOSTLY = 0.98
"""Share of the rows with a value that must hold a number: a few odd values do not make a text of a column."""
_EXACT = 2.0**53
_TINY = 1e-300
"""In place of a divisor of 0."""
_HALVES_SEED = 1

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Target:
    """The label of the rows, and the half that each row belongs to."""

    values: Floats
    """0 and 1, or the number that regression predicts: [rows]."""
    is_binary: bool
    half: Integers
    """0 or 1: [rows]."""

    @classmethod
    def of(cls, values: Floats, *, is_binary: bool) -> "Target":
        """Rows are drawn into halves by their number alone."""
        half = (random_draws(_HALVES_SEED, 0, len(values)) < 0.5).astype(np.int64)
        return cls(np.asarray(values, dtype=np.float64), is_binary, half)

    @cached_property
    def is_enough(self) -> bool:
        """Whether both halves have rows enough for a strength."""
        if not self.is_binary:
            return len(self.values) >= 4 * _CLASS_ROWS
        halves = (self.values[self.half == half] for half in (0, 1))
        return all(min(labels.sum(), (1 - labels).sum()) >= _CLASS_ROWS for labels in halves)

    @property
    def noise(self) -> float:
        """What two strengths may differ by for no reason."""
        if not self.is_binary:
            return float(3.0 / max(len(self.values), 1) ** 0.5)
        rarer = min(self.values.sum(), (1 - self.values).sum())
        return float(0.5 / max(rarer, 1.0) ** 0.5)


# ------------------------------------------------------------------------------------------------------ rows per value


@dataclass(frozen=True)
class ValueTable:
    """One row per value of a column (missing is one, null): rows and sums of their labels in each half.

    All are Float64 [2, values].
    """

    values: pl.Series
    rows: Floats
    label_sums: Floats
    label_squares: Floats

    @property
    def counts(self) -> Floats:
        """Rows per value: [values]."""
        total: Floats = self.rows.sum(axis=0)
        return total

    @property
    def label_totals(self) -> Floats:
        """Sum of the labels per value: [values]."""
        total: Floats = self.label_sums.sum(axis=0)
        return total

    @property
    def is_present(self) -> NDArray[np.bool_]:
        """Which values are not missing: [values]."""
        return self.values.is_not_null().to_numpy()

    def grouped(self, groups: Integers) -> "ValueTable":
        """The table of a coarser column: values with an equal number (0 …) are one."""
        size = int(groups.max()) + 1 if len(groups) else 0

        def summed(part: Floats) -> Floats:
            return np.stack([np.bincount(groups, part[half], size) for half in (0, 1)])

        numbers = pl.Series(np.arange(size))
        return ValueTable(numbers, summed(self.rows), summed(self.label_sums), summed(self.label_squares))

    def as_frame(self) -> pl.DataFrame:
        """`value`, `rows` (Int64) and `label`, the sum of the labels."""
        return pl.DataFrame({"value": self.values, "rows": self.counts.astype(np.int64), "label": self.label_totals})


def value_table(column: pl.Series, target: Target) -> ValueTable:
    """Every value of the column [rows], in order of first appearance."""
    return _summed(pl.DataFrame({"value": column, "half": target.half, "label": target.values}))


def _summed(frame: pl.DataFrame) -> ValueTable:
    second, label = pl.col("half") == 1, pl.col("label")
    measures = {"rows": pl.lit(1.0), "label": label, "squares": label.pow(2)}
    # In order of appearance: sums of a regression's labels must not depend on the threads.
    sums = frame.group_by("value", maintain_order=True).agg(
        pl.when(second == bool(half)).then(measure).otherwise(0.0).sum().alias(f"{name}{half}")
        for name, measure in measures.items()
        for half in (0, 1)
    )
    parts = (np.stack([sums[f"{name}{half}"].to_numpy() for half in (0, 1)]) for name in measures)
    return ValueTable(sums["value"], *parts)


def numbers_of(table: ValueTable) -> Floats | None:
    """What the values are as numbers [values], NaN where one is none; or None for a column of anything else.

    Codes written with digits, such as 01234, are no numbers, nor are whole ones so large that they would run into each
    other.
    """
    values, dtype = table.values, table.values.dtype
    if not (dtype.is_numeric() or dtype == pl.String):
        return None
    if dtype == pl.String:
        texts = values.drop_nulls()
        if texts.str.contains(r"^[-+]?0\d").any() or texts.str.contains(r"^[-+]?\d{16,}$").any():
            return None
    numbers = values.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy().copy()
    numbers[~np.isfinite(numbers)] = np.nan
    if len(numbers) and dtype.is_integer() and np.nanmax(np.abs(numbers), initial=0.0) >= _EXACT:
        return None
    present, counts = table.is_present, table.counts
    is_number = np.isfinite(numbers)
    rows = counts[present].sum()
    return numbers if is_number.any() and counts[is_number].sum() >= _MOSTLY * rows else None


# ------------------------------------------------------------------------------------------------------------- buckets


def bucket_cuts(numbers: Floats, counts: NDArray[np.number], buckets: int) -> Floats:
    """Ascending cuts of different finite numbers, ascending, with `counts` rows each, into quantile buckets.

    A number holds bucket i if i cuts are at or below it. A value with its share of a bucket or more gets a bucket of
    its own, and the others are cut by their own quantiles: otherwise a column that is mostly 0 would have all else in
    one bucket.
    """
    if len(numbers) <= buckets:
        return numbers[1:]
    heavy = counts * buckets >= counts.sum()
    others, their_counts = numbers[~heavy], counts[~heavy]
    points = np.empty(0)
    if len(others):
        ends = np.cumsum(their_counts)
        parts = int(np.clip(ends[-1] // _MIN_BUCKET_ROWS, 1, buckets))
        ranks = np.arange(1, parts) * ends[-1] // parts
        points = others[np.searchsorted(ends, ranks, side="right")]
    cuts = np.unique(np.concatenate([points, numbers[heavy], np.nextafter(numbers[heavy], np.inf)]))
    inner: Floats = cuts[cuts > numbers[0]]
    return inner


def bucket_codes(numbers: Floats, cuts: Floats) -> Integers:
    """The bucket of each number, 0 to len(cuts); NaN, which stands for missing, has len(cuts) + 1."""
    codes = np.searchsorted(cuts, numbers, side="right")
    codes[np.isnan(numbers)] = len(cuts) + 1
    return codes


def bucketed(table: ValueTable, numbers: Floats) -> ValueTable:
    """The table of a numeric column cut into quantile buckets; NaN is one of its own. `numbers`: [values]."""
    known = np.flatnonzero(np.isfinite(numbers))
    known = known[np.argsort(numbers[known], kind="stable")]
    cuts = bucket_cuts(numbers[known], table.counts[known], _BUCKETS)
    return table.grouped(bucket_codes(numbers, cuts))


# ------------------------------------------------------------------------------------------------------------ strength


def strength(table: ValueTable, *, is_binary: bool) -> float:
    """AUC (binary) or share of variance explained (regression, at least 0) of the mean label per value, held out.

    Each half predicts the other, the two figures are averaged; a value that a half lacks is predicted the average.
    """
    predicted = _held_out_means(table, is_binary=is_binary)
    if is_binary:
        negatives = table.rows - table.label_sums
        return float(
            np.mean([_auc_of_groups(*of_half) for of_half in zip(predicted, table.label_sums, negatives, strict=True)])
        )
    rows = table.rows.sum(axis=1)
    deviation = table.label_squares.sum(axis=1) - table.label_sums.sum(axis=1) ** 2 / np.maximum(rows, 1.0)
    error = (table.label_squares - 2.0 * predicted * table.label_sums + predicted**2 * table.rows).sum(axis=1)
    explained = [1.0 - left / whole if whole > 0 else 0.0 for left, whole in zip(error, deviation, strict=True)]
    return float(np.mean([max(share, 0.0) for share in explained]))


def _held_out_means(table: ValueTable, *, is_binary: bool) -> Floats:
    """[2, values]: for each half, the smoothed mean labels of the other."""
    means = []
    for half in (1, 0):
        rows, sums = table.rows[half], table.label_sums[half]
        prior = _PRIOR_ROWS if is_binary else _prior_rows(rows, sums, table.label_squares[half])
        average = sums.sum() / max(rows.sum(), 1.0)
        weight = rows / np.maximum(rows + prior, _TINY)
        means.append(weight * (sums / np.maximum(rows, 1.0) - average) + average)
    return np.stack(means)


def _prior_rows(rows: Floats, sums: Floats, squares: Floats) -> float:
    """How many rows of the average tell as much of a cell's mean as the spread of cells does.

    That is the variance within by the variance between. Where cells are all alike inside, hardly any: what copies an
    amount must not seem to miss it.
    """
    filled = rows > 0
    freedom = float((rows[filled] - 1.0).sum())
    if freedom <= 0.0:
        return _PRIOR_ROWS
    within = max(float((squares[filled] - sums[filled] ** 2 / rows[filled]).sum()), 0.0) / freedom
    whole = float(squares.sum() - sums.sum() ** 2 / rows.sum()) / (rows.sum() - 1.0)
    return float(min(within / max(whole - within, _TINY), _PRIOR_ROWS))


def _auc_of_groups(scores: Floats, positives: Floats, negatives: Floats) -> float:
    """AUC of rows that share scores in groups (Mann-Whitney, a tie counts half); 0.5 where a class is missing."""
    _, groups = np.unique(scores, return_inverse=True)
    positive, negative = np.bincount(groups, positives), np.bincount(groups, negatives)
    pairs = positive.sum() * negative.sum()
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / pairs) if pairs > 0 else 0.5


# --------------------------------------------------------------------------------------------------------------- lists


def list_items(lists: pl.Series) -> pl.DataFrame:
    """`row` and `value`: each row's values, each once. A row without any is null in `lists` and here; none is empty."""
    frame = pl.DataFrame({"row": np.arange(len(lists)), "value": lists})
    return frame.explode("value").unique(maintain_order=True)


@dataclass(frozen=True)
class ListItems:
    """The rows' lists taken apart."""

    items: pl.DataFrame
    """See `list_items`."""
    table: ValueTable
    """A row counts once for each of its values."""

    @classmethod
    def of(cls, lists: pl.Series, target: Target) -> "ListItems":
        """Of a list per row, null for none."""
        items = list_items(lists)
        row = items["row"].to_numpy()
        halves, labels = pl.Series(target.half[row]), pl.Series(target.values[row])
        return cls(items, _summed(items.select("value", half=halves, label=labels)))

    def auc(self, target: Target) -> float:
        """As `strength` of a binary label; a row scores the mean of its values' mean labels."""
        means = _held_out_means(self.table, is_binary=True)
        of_value = pl.DataFrame({"value": self.table.values, "0": means[0], "1": means[1]})
        joined = self.items.join(of_value, on="value", nulls_equal=True, maintain_order="left")
        scores = joined.group_by("row", maintain_order=True).agg(pl.col("0", "1").mean())
        return float(np.mean([_auc_of_rows(scores[str(half)].to_numpy(), target, half) for half in (0, 1)]))


def _auc_of_rows(scores: Floats, target: Target, half: int) -> float:
    judged = target.half == half
    labels = target.values[judged]
    return _auc_of_groups(scores[judged], labels, 1.0 - labels)


# ------------------------------------------------------------------------------------------------------------ evidence


@dataclass(frozen=True)
class FilledPattern:
    """Whether a row has something in the column (not missing, not 0) or nothing, and its label."""

    filled: float
    filled_positives: float
    empty: float
    empty_positives: float

    @classmethod
    def of(cls, table: ValueTable, is_filled: NDArray[np.bool_]) -> "FilledPattern":
        """`is_filled`: [values]."""
        counts, sums = table.counts, table.label_totals
        return cls(*(float(part[which].sum()) for which in (is_filled, ~is_filled) for part in (counts, sums)))


@dataclass(frozen=True)
class Evidence:
    """What one column alone says of the label."""

    is_binary: bool
    is_enough: bool
    """Whether the rows are enough for held-out figures."""
    by_value: float | None
    """Held-out AUC, or share of variance explained, of a mean label per value; of lists, of the mean over a row's
    values. None for lists in regression."""
    by_bucket: float | None
    """The same of a mean label per quantile bucket; None for what is not numbers."""
    by_filled: float
    """The same of whether a row has something in the column."""
    has_two_values: bool
    """Missing counted as one."""
    pattern: FilledPattern
    is_pure: bool
    """Whether each value, in several rows each, has one label only."""

    @property
    def strength(self) -> float | None:
        """How well the column predicts the label, held out; None where the rows are too few to say so."""
        known = [figure for figure in (self.by_value, self.by_bucket) if figure is not None]
        return max(known) if known and self.is_enough else None


def evidence_of(table: ValueTable, numbers: Floats | None, target: Target) -> Evidence:
    """Of a column of single values; `numbers` are its values as numbers (see `numbers_of`)."""
    is_filled = table.is_present if numbers is None else table.is_present & (numbers != 0.0)
    by_value = strength(table, is_binary=target.is_binary)
    by_bucket = None if numbers is None else strength(bucketed(table, numbers), is_binary=target.is_binary)
    return _evidence(table, target, by_value, by_bucket, table, is_filled, has_two_values=len(table.values) == 2)


def evidence_of_list(items: ListItems, lists: pl.Series, target: Target) -> Evidence:
    """Of a column of lists [rows], null for none."""
    rows = value_table(lists.is_not_null(), target)
    by_value = items.auc(target) if target.is_binary else None
    return _evidence(items.table, target, by_value, None, rows, rows.values.to_numpy(), has_two_values=False)


def _evidence(
    table: ValueTable,
    target: Target,
    by_value: float | None,
    by_bucket: float | None,
    rows: ValueTable,
    is_filled: NDArray[np.bool_],
    *,
    has_two_values: bool,
) -> Evidence:
    return Evidence(
        is_binary=target.is_binary,
        is_enough=target.is_enough,
        by_value=by_value,
        by_bucket=by_bucket,
        by_filled=strength(rows.grouped(is_filled.astype(np.int64)), is_binary=target.is_binary),
        has_two_values=has_two_values,
        pattern=FilledPattern.of(rows, is_filled),
        is_pure=target.is_binary and _is_pure(table),
    )


def _is_pure(table: ValueTable) -> bool:
    rows, positives = table.counts, table.label_totals
    mixed = np.minimum(positives, rows - positives).sum()
    rarer = min(positives.sum(), rows.sum() - positives.sum())
    return bool(mixed == 0 and rows.sum() >= max(4 * len(rows), 8) and rarer >= 3)


# ---------------------------------------------------------------------------------------------------------- recurrence


@dataclass(frozen=True)
class Recurrence:
    """Whether a row's value comes again in other rows."""

    seen: float
    """Share of one half's rows (those with a value) whose value the other half has too."""
    others: float
    """How many other rows of the whole table share a row's value, on average; an estimate."""


def recurrence(table: ValueTable, num_rows: int) -> Recurrence:
    """Of a table of `num_rows` rows in all."""
    first, second = table.rows[:, table.is_present]
    both = max(first.sum() * second.sum(), 1.0)
    seen = (first[second > 0].sum() + second[first > 0].sum()) / max(first.sum() + second.sum(), 1.0)
    return Recurrence(float(seen), float((first * second).sum() / both * num_rows))
