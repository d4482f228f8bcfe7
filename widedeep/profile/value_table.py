"""Rows and labels of each value of a column, in two halves of the rows, as values or as buckets of numbers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.draws import random_draws

_BUCKETS = 50
_MIN_BUCKET_ROWS = 20
_CLASS_ROWS = 10
"""Rows of either class, in each half, below which a strength says nothing."""
_MOSTLY = 0.98
"""Share of the rows with a value that must hold a number: a few odd values do not make a text of a column."""
_EXACT = 2.0**53
_COUNTED_VALUES = 1 << 16
_CODE = r"^[-+]?(?:0\d|\d{16,}$)"
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

    @cached_property
    def counts(self) -> Floats:
        """Rows per value: [values]."""
        total: Floats = self.rows.sum(axis=0)
        return total

    @cached_property
    def label_totals(self) -> Floats:
        """Sum of the labels per value: [values]."""
        total: Floats = self.label_sums.sum(axis=0)
        return total

    @cached_property
    def is_present(self) -> NDArray[np.bool_]:
        """Which values are not missing: [values]."""
        if not self.values.null_count():
            return np.ones(len(self.values), dtype=np.bool_)
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
    return sums_by_value(pl.DataFrame({"value": column, "half": target.half, "label": target.values}))


def value_tables(columns: Sequence[pl.Series], target: Target) -> Iterator[ValueTable]:
    """`value_table` of each of the columns, all of one type, by one query."""
    rows = {"half": target.half, "label": target.values}
    return (_table_of(sums) for sums in each_by_value(columns, rows, _sums()))


def each_by_value(
    columns: Sequence[pl.Series], rows: Mapping[str, NDArray[np.generic]], aggregates: Sequence[pl.Expr]
) -> Iterator[pl.DataFrame]:
    """For each of the columns [rows], all of one type: `value`, in order of appearance, and aggregates of `rows`.

    One query for all, because a query for each would take most of the time where thousands of columns have few rows.
    """
    number = np.repeat(np.arange(len(columns), dtype=np.uint32), [len(column) for column in columns])
    repeated = {name: np.tile(values, len(columns)) for name, values in rows.items()}
    stacked = pl.DataFrame({"number": number, "value": pl.concat([column.alias("value") for column in columns])})
    stacked = stacked.with_columns(pl.Series(name, values) for name, values in repeated.items())
    # In order of appearance: sums of a regression's labels must not depend on the threads.
    keys = ["number", "value"] if len(columns) > 1 else ["value"]
    found = stacked.group_by(keys, maintain_order=True).agg(aggregates)
    if len(columns) == 1:
        return iter([found])
    ends = np.cumsum(np.bincount(found["number"].to_numpy(), minlength=len(columns))).tolist()
    found = found.drop("number")
    return (found.slice(start, end - start) for start, end in zip([0, *ends], ends, strict=False))


def batches_of_columns(columns: Iterable[pl.Series]) -> list[list[str]]:
    """The names of columns that are counted together: those of one type, of at most 2^16 values in all."""
    batches: dict[pl.DataType, list[list[str]]] = {}
    for column in columns:
        of_type = batches.setdefault(column.dtype, [[]])
        if len(of_type[-1]) >= max(1, _COUNTED_VALUES // max(len(column), 1)):
            of_type.append([])
        of_type[-1].append(column.name)
    return [batch for of_type in batches.values() for batch in of_type]


def sums_by_value(frame: pl.DataFrame) -> ValueTable:
    """The table of rows `value`, `half` and `label`; values in order of appearance."""
    return _table_of(frame.group_by("value", maintain_order=True).agg(_sums()))


def _table_of(frame: pl.DataFrame) -> ValueTable:
    values, *sums = frame.get_columns()
    parts = [series.to_numpy() for series in sums]
    return ValueTable(values, *(np.stack(parts[start : start + 2]) for start in range(0, len(parts), 2)))


@cache
def _sums() -> tuple[pl.Expr, ...]:
    """Rows, labels and their squares, each in both halves; made once for the thousands of columns of a wide table."""
    second, label = pl.col("half") == 1, pl.col("label")
    measures = {"rows": pl.lit(1.0), "label": label, "squares": label.pow(2)}
    return tuple(
        pl.when(second == bool(half)).then(measure).otherwise(0.0).sum().alias(f"{name}{half}")
        for name, measure in measures.items()
        for half in (0, 1)
    )


def numbers_of(table: ValueTable) -> Floats | None:
    """What the values are as numbers [values], NaN where one is none; or None for a column of anything else.

    Codes written with digits, such as 01234, are no numbers, nor are whole ones so large that they would run into each
    other.
    """
    values, dtype = table.values, table.values.dtype
    if not (dtype.is_numeric() or dtype == pl.String):
        return None
    numbers = values.cast(pl.Float64, strict=False).to_numpy().copy()  # null is NaN
    is_number = np.isfinite(numbers)
    if not is_number.any() or (dtype == pl.String and values.str.contains(_CODE).any()):
        return None
    numbers[~is_number] = np.nan
    if len(numbers) and dtype.is_integer() and np.nanmax(np.abs(numbers), initial=0.0) >= _EXACT:
        return None
    present, counts = table.is_present, table.counts
    rows = counts[present].sum()
    return numbers if counts[is_number].sum() >= _MOSTLY * rows else None


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
