"""How well one column predicts the label all by itself, held out: fitted on half of the rows, scored on the other half."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.draws import random_draws

_PRIOR_ROWS = 10.0
"""Rows of the mean label that every cell is mixed with, so that a rare one does not speak loudly."""
MIN_CLASS_ROWS = 10
"""Rows of either class, in each half, below which an AUC says nothing."""
_AUC_BUCKETS = 50
_MIN_BUCKET_ROWS = 20

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class HalfCounts:
    """Per half of the rows and cell of a column (a value, or a bucket of numbers), each Float64 [2, cells]."""

    rows: FloatArray
    label: FloatArray
    """Sum of the labels."""
    squares: FloatArray
    """Sum of the labels' squares."""

    @classmethod
    def of_codes(
        cls, codes: NDArray[np.int64], half: NDArray[np.int64], label: FloatArray, num_cells: int
    ) -> "HalfCounts":
        """From each row's cell, half (0 or 1) and label, all [rows]."""
        cells = codes + half * num_cells
        sums = (np.bincount(cells, weights, 2 * num_cells) for weights in (None, label, label * label))
        return cls(*(one.reshape(2, num_cells).astype(np.float64) for one in sums))


def halves(draws: FloatArray) -> NDArray[np.int64]:
    """0 or 1 for each draw of `random_draws`: its last bit, which the order of the draws says nothing about."""
    return (draws * 2.0**53).astype(np.int64) & 1


def alone_auc(values: pl.Series, label: NDArray[np.generic], seed: int = 0) -> float | None:
    """Held-out AUC of one column: the smoothed label rate per value, or per quantile bucket of numbers, as the score.

    values: [rows] of any type that ingest knows, null for missing (a value of its own); label: 0 or 1, [rows]. Each half
    scores the other, the two figures are averaged. None where a half has under 10 rows of a class.
    """
    half = halves(random_draws(seed, 0, len(values)))
    return held_out_auc(values, np.asarray(label, dtype=np.float64), half)


def held_out_auc(values: pl.Series, label: FloatArray, half: NDArray[np.int64]) -> float | None:
    """`alone_auc` with the rows' halves given, Int64 [rows]."""
    if isinstance(values.dtype, pl.List):
        return list_auc(values, label, half)
    return auc_of_cells(count_cells(values, label, half))


def held_out_r2(values: pl.Series, label: FloatArray, half: NDArray[np.int64]) -> float | None:
    """The same for regression: the share of the label's variance that the mean label per value explains; None for lists."""
    return None if isinstance(values.dtype, pl.List) else r2_of_cells(count_cells(values, label, half))


def count_cells(values: pl.Series, label: FloatArray, half: NDArray[np.int64]) -> HalfCounts:
    """The rows and labels of each value, or of each quantile bucket of numbers."""
    if values.dtype.is_temporal():
        values = values.to_physical()
    if values.dtype.is_numeric():
        numbers = values.cast(pl.Float64).to_numpy()
        cuts = bucket_cuts(numbers[~np.isnan(numbers)], _AUC_BUCKETS)
        return HalfCounts.of_codes(bucket_codes(numbers, cuts), half, label, len(cuts) + 2)
    table = value_table(values, label, half)
    return counts_of_table(table)


# -------------------------------------------------------------------------------------------------------- cells


def bucket_cuts(numbers: FloatArray, buckets: int) -> FloatArray:
    """Ascending cuts of finite numbers [rows] into quantile buckets; a number holds bucket i if i cuts are at or below it.

    A value with its share of a bucket or more gets a bucket of its own, and the others are cut by their own quantiles:
    otherwise a column that is mostly 0 would have all else in one bucket.
    """
    found, counts = np.unique(numbers, return_counts=True)
    if len(found) <= buckets:
        return found[1:]
    heavy = counts * buckets >= len(numbers)
    others, their_counts = found[~heavy], counts[~heavy]
    points = np.empty(0)
    if len(others):
        ends = np.cumsum(their_counts)
        parts = int(np.clip(ends[-1] // _MIN_BUCKET_ROWS, 1, buckets))
        ranks = np.arange(1, parts) * ends[-1] // parts
        points = others[np.searchsorted(ends, ranks, side="right")]
    cuts: FloatArray = np.unique(np.concatenate([points, found[heavy], np.nextafter(found[heavy], np.inf)]))
    cuts = cuts[cuts > found[0]]
    return cuts


def bucket_codes(numbers: FloatArray, cuts: FloatArray) -> NDArray[np.int64]:
    """The bucket of each number, 0 to len(cuts); NaN, which stands for missing, has len(cuts) + 1."""
    codes = np.searchsorted(cuts, numbers, side="right")
    codes[np.isnan(numbers)] = len(cuts) + 1
    return codes


def value_table(values: pl.Series, label: FloatArray, half: NDArray[np.int64]) -> pl.DataFrame:
    """One row per value, null among them: `value`, and per half `rows`, `label`, `squares` (see `HalfCounts`)."""
    frame = pl.DataFrame({"value": values, "half": half, "label": label})
    return _sum_by_value(frame)


def _sum_by_value(frame: pl.DataFrame) -> pl.DataFrame:
    first = pl.col("half") == 0
    label, squares = pl.col("label"), pl.col("label").pow(2)
    # In order of appearance: sums of a regression's labels must not depend on the threads.
    return frame.group_by("value", maintain_order=True).agg(
        first.sum().alias("rows0"),
        first.not_().sum().alias("rows1"),
        *(
            one.filter(which).sum().alias(f"{name}{number}")
            for name, one in (("label", label), ("squares", squares))
            for number, which in enumerate((first, first.not_()))
        ),
    )


def counts_of_table(table: pl.DataFrame) -> HalfCounts:
    """The counts of a `value_table`, cells in its order."""
    return HalfCounts(
        *(
            np.stack([table[f"{name}{number}"].cast(pl.Float64).to_numpy() for number in range(2)])
            for name in ("rows", "label", "squares")
        )
    )


# ----------------------------------------------------------------------------------------------------- figures


def auc_of_cells(counts: HalfCounts) -> float | None:
    """Mean of both halves' AUC, each cell scored by its label rate in the other half."""
    rates = _held_out_rates(counts)
    if rates is None:
        return None
    positives, negatives = counts.label, counts.rows - counts.label
    if min(positives.sum(axis=1).min(), negatives.sum(axis=1).min()) < MIN_CLASS_ROWS:
        return None
    return float(np.mean([_grouped_auc(rates[k], positives[k], negatives[k]) for k in range(2)]))


def r2_of_cells(counts: HalfCounts) -> float | None:
    """Mean of both halves' R², each cell predicted by its mean label in the other half; None for a constant label."""
    rates = _held_out_rates(counts)
    if rates is None:
        return None
    rows = counts.rows.sum(axis=1)
    deviation = counts.squares.sum(axis=1) - counts.label.sum(axis=1) ** 2 / rows
    error = (counts.squares - 2 * rates * counts.label + rates**2 * counts.rows).sum(axis=1)
    return float(np.mean(1.0 - error / deviation)) if (deviation > 0).all() else None


def _held_out_rates(counts: HalfCounts) -> FloatArray | None:
    """[2, cells]: row k holds the smoothed label rates of the other half than k."""
    rows, label = counts.rows[::-1], counts.label[::-1]
    totals = rows.sum(axis=1, keepdims=True)
    if (totals == 0).any():
        return None
    mean = label.sum(axis=1, keepdims=True) / totals
    rates: FloatArray = (label + _PRIOR_ROWS * mean) / (rows + _PRIOR_ROWS)
    return rates


def _grouped_auc(score: FloatArray, positives: FloatArray, negatives: FloatArray) -> float:
    """AUC of cells of equal score each (Mann-Whitney, a tie counts half)."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    positives, negatives = (np.add.reduceat(one[order], starts) for one in (positives, negatives))
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / (positives.sum() * negatives.sum()))


# ------------------------------------------------------------------------------------------------------- lists


def list_items(values: pl.Series) -> pl.DataFrame:
    """`row` and `value`: each row's values, each once; null for a row without any."""
    frame = pl.DataFrame({"row": np.arange(len(values)), "value": values})
    return frame.explode("value").unique(maintain_order=True)


def list_auc(values: pl.Series, label: FloatArray, half: NDArray[np.int64]) -> float | None:
    """As `auc_of_cells`; a row scores the mean label rate of its values."""
    return items_auc(list_items(values), label, half)


def items_auc(items: pl.DataFrame, label: FloatArray, half: NDArray[np.int64]) -> float | None:
    """`list_auc` of the rows' `list_items`."""
    table = items_table(items, label, half)
    rates = _held_out_rates(counts_of_table(table))
    if rates is None:
        return None
    rates_by_value = table.select("value", rate0=pl.Series(rates[0]), rate1=pl.Series(rates[1]))
    joined = items.join(rates_by_value, on="value", nulls_equal=True, maintain_order="left")
    scores = joined.group_by("row", maintain_order=True).agg(pl.col("rate0").mean(), pl.col("rate1").mean())
    aucs = []
    for k in range(2):
        score, positives = scores[f"rate{k}"].to_numpy()[half == k], label[half == k]
        if min(positives.sum(), (1.0 - positives).sum()) < MIN_CLASS_ROWS:
            return None
        aucs.append(_grouped_auc(score, positives, 1.0 - positives))
    return float(np.mean(aucs))


def items_table(items: pl.DataFrame, label: FloatArray, half: NDArray[np.int64]) -> pl.DataFrame:
    """`value_table` of the rows' `list_items`: a row counts once for each of its values."""
    row = items["row"].to_numpy()
    return _sum_by_value(items.select("value", half=pl.Series(half[row]), label=pl.Series(label[row])))
