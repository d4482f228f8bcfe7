"""What one column alone says of the label on rows that it was not fitted to, and where its values come again.

Half of the rows, drawn by their numbers, say the mean label of each value, the other half judges it; and the other way
round.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.profile.value_table import Floats, Target, ValueTable, bucketed, sums_by_value, value_table

_PRIOR_ROWS = 10.0
"""Rows of the mean label that every cell is mixed with, so that a rare one does not speak loudly. In regression
they may be fewer."""
_TINY = 1e-300
"""In place of a divisor of 0."""


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
        return cls(items, sums_by_value(items.select("value", half=halves, label=labels)))

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
