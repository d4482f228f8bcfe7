"""What each column of the typed table holds and what it says about the label."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.draws import random_draws
from widedeep.ordered import map_in_order
from widedeep.profile.drift import drift
from widedeep.profile.leaks import Judged, leaks
from widedeep.profile.row_sample import RowSample
from widedeep.profile.single_column import Evidence, ListItems, evidence_of, evidence_of_list, list_items
from widedeep.profile.value_table import (
    Target,
    ValueTable,
    batches_of_columns,
    bucket_codes,
    bucket_cuts,
    each_by_value,
    numbers_of,
    value_tables,
)
from widedeep.table.typed_columns import LABEL, TARGETS, Role, TypedColumn

__all__ = ["ColumnProfile", "TopValue", "profile_columns"]

NUM_TOP = 10
"""Most frequent values of a column that are reported."""
_DRIFT_VALUES = 20
"""Most frequent values of either split that drift looks at one by one; all others are one cell."""
_BUCKETS = 10
"""Quantile buckets of numbers, for label rates and drift."""
_MIN_RATE_ROWS = 30
"""Rows below which a label rate is chance."""
_LONGEST_TEXT = 200
_THINNED_SEED = 0x7468696E6E6564
"""Of the draw of held-out negatives ("thinned" in ASCII)."""
_QUANTILES = {"min": 0.0, "1%": 0.01, "25%": 0.25, "50%": 0.5, "75%": 0.75, "99%": 0.99, "max": 1.0}

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class TopValue:
    """A frequent value of a column."""

    value: str | float
    """Texts longer than 200 characters are cut."""
    share: float
    """Of the train rows, those with a missing value included; of a list, the rows that have it among their values."""
    label_rate: float | None
    """Mean label of the rows that have it; None for what is no model input."""


@dataclass(frozen=True)
class LabelRates:
    """Mean labels over a column's values or, for numbers, ten quantile buckets; cells with under 30 rows left out."""

    lowest: float | None
    highest: float | None
    missing: float | None
    """Of the rows without a value, however few; None if there are none."""


@dataclass(frozen=True)
class ColumnProfile:
    """A column in the train rows, or in a sample of them; figures of label and drift for model inputs alone."""

    type: Literal["number", "text", "list"]
    distinct: int
    """Values that differ, missing not among them; of a list, its items."""
    distinct_is: Literal["exact", "at least", "about"]
    """`at least`: counted in a sample of the rows. `about`: estimated over all rows, to about half a percent."""
    top: tuple[TopValue, ...]
    """The most frequent first; equally frequent ones in ascending order."""
    quantiles: dict[str, float] | None
    """Of numbers, those missing left out: the value at each share of the rows in ascending order."""
    label_rates: LabelRates | None
    alone_auc: float | None
    """Held-out AUC of the column by itself (see `Evidence.strength`); None for too few rows of a class."""
    alone_r2: float | None
    """The same for regression, which has no AUC: held-out R², at least 0; None for lists."""
    leak: str | None
    """By what the column gives the label away (see `leaks`); None if it does not."""
    drift: dict[str, float]
    """How far valid and test rows are from train rows: see `drift`."""
    drift_by_new: dict[str, float] | None
    """Of texts and lists: the share of valid and test rows that values rose by, see `_drift_by_new`, which hold values
    that the train rows looked at lack."""
    unseen: dict[str, float] | None
    """Of texts: share of valid and test rows with a value that no train row has; where train is a sample, None but for
    columns that drift, whose values are then counted over all rows (to about half a percent)."""

    def to_json(self) -> dict[str, Any]:
        """As plain dicts, lists, texts and numbers, which it shares with the profile."""
        rates = None if self.label_rates is None else vars(self.label_rates)
        return {**vars(self), "top": [vars(value) for value in self.top], "label_rates": rates}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The profile that `to_json` wrote."""
        rates = value["label_rates"]
        top = tuple(TopValue(**one) for one in value["top"])
        return cls(**{**value, "top": top, "label_rates": rates if rates is None else LabelRates(**rates)})


def profile_columns(
    columns: Sequence[TypedColumn], samples: Mapping[str, RowSample], *, binary: bool, keep_negatives: float = 1.0
) -> dict[str, ColumnProfile]:
    """The profile of each typed column but the weights of lists, by its name. `binary`: whether the label is 0 or 1.

    keep_negatives: the share of their negatives that the train rows were left with. Drift is seen in held-out rows that
    are thinned alike; else all that tells positives from negatives would seem to drift.
    """
    frames = {split: sample.rows() for split, sample in samples.items()}
    alike = {split: _thinned(frame, keep_negatives) for split, frame in frames.items() if split != "train"}
    train = frames["train"]
    rows = _TrainRows(
        target=Target.of(train[LABEL].cast(pl.Float64).to_numpy(), is_binary=binary),
        is_whole=samples["train"].is_whole,
    )

    def profiled(names: Sequence[str]) -> list[tuple[ColumnProfile, Evidence]]:
        """Of columns of one type."""
        values = [train[name] for name in names]
        others = [{split: frame[name] for split, frame in alike.items()} for name in names]
        if values[0].dtype.is_numeric():
            tables = value_tables(values, rows.target)
            return [_profile_of_numbers(*of_column, rows) for of_column in zip(values, others, tables, strict=True)]
        is_list = isinstance(values[0].dtype, pl.List)
        tables_or_none: Iterable[ValueTable | None] = (
            itertools.repeat(None, len(names)) if is_list else value_tables(values, rows.target)
        )
        held_out = others
        if keep_negatives < 1.0:
            held_out = [{split: frames[split][name] for split in alike} for name in names]
        counts = _SplitCounts.of_each([{"train": column, **rest} for column, rest in zip(values, others, strict=True)])
        return [
            _profile_of_values(*of_column, rows)
            for of_column in zip(values, others, held_out, tables_or_none, counts, strict=True)
        ]

    shown = [column for column in columns if column.role != "weights"]
    batches = batches_of_columns(train[column.name] for column in shown)
    found = {
        name: of_column
        for names, of_batch in zip(batches, map_in_order(profiled, batches), strict=True)
        for name, of_column in zip(names, of_batch, strict=True)
    }
    profiles: dict[str, ColumnProfile] = {}
    judged: dict[str, Judged] = {}
    for column in shown:
        profile, evidence = found[column.name]
        if column.role == "label" and binary:
            profile = replace(profile, distinct_is="exact")  # both classes were found, and there is no third
        if column.role in TARGETS:
            profile = _without_label(profile, column.role)
        else:
            judged[column.name] = Judged(column.column, evidence)
        profiles[column.name] = profile
    return profiles | {name: replace(profiles[name], leak=reason) for name, reason in leaks(judged).items()}


def _thinned(frame: pl.DataFrame, keep_negatives: float) -> pl.DataFrame:
    if keep_negatives == 1.0:
        return frame
    draws = random_draws(_THINNED_SEED, 0, frame.height)
    return frame.filter((pl.col(LABEL) == 1.0) | pl.Series(draws < keep_negatives))


def _without_label(profile: ColumnProfile, role: Role) -> ColumnProfile:
    """A label, weight, time or group is no input: how well it predicts says nothing; only a label should not drift."""
    return replace(
        profile,
        top=tuple(replace(one, label_rate=None) for one in profile.top),
        label_rates=None,
        alone_auc=None,
        alone_r2=None,
        leak=None,
        drift=profile.drift if role == "label" else {},
        drift_by_new=None,
        unseen=None,
    )


@dataclass(frozen=True)
class _TrainRows:
    """What the sampled train rows hold besides the column in question."""

    target: Target
    is_whole: bool

    @property
    def distinct_is(self) -> Literal["exact", "at least"]:
        return "exact" if self.is_whole else "at least"


# ------------------------------------------------------------------------------------------------------ numbers


def _profile_of_numbers(
    values: pl.Series, others: Mapping[str, pl.Series], table: ValueTable, rows: _TrainRows
) -> tuple[ColumnProfile, Evidence]:
    numbers, label = _as_floats(values), rows.target.values
    present = np.sort(numbers[~np.isnan(numbers)])
    found, counts = np.unique(present, return_counts=True)
    cuts = bucket_cuts(found, counts, _BUCKETS)
    codes = bucket_codes(numbers, cuts)
    num_cells = len(cuts) + 2
    before = np.bincount(codes, minlength=num_cells)
    label_sums = np.bincount(codes, label, num_cells).astype(np.float64)
    evidence = evidence_of(table, _as_floats(table.values), rows.target)
    frequent = np.lexsort((found, -counts))[:NUM_TOP]
    profile = ColumnProfile(
        type="number",
        distinct=len(found),
        distinct_is=rows.distinct_is,
        top=tuple(
            TopValue(float(found[i]), int(counts[i]) / len(numbers), float(label[numbers == found[i]].mean()))
            for i in frequent
        ),
        quantiles={name: float(present[_rank(share, len(present))]) for name, share in _QUANTILES.items()}
        if len(present)
        else None,
        label_rates=_label_rates(before[:-1], label_sums[:-1], int(before[-1]), float(label_sums[-1])),
        **_alone(evidence),
        leak=None,
        drift={
            split: drift(before, np.bincount(bucket_codes(_as_floats(other), cuts), minlength=num_cells))
            for split, other in others.items()
        },
        drift_by_new=None,
        unseen=None,
    )
    return profile, evidence


def _alone(evidence: Evidence) -> dict[str, Any]:
    figures = (evidence.strength, None) if evidence.is_binary else (None, evidence.strength)
    return dict(zip(("alone_auc", "alone_r2"), figures, strict=True))


def _as_floats(values: pl.Series) -> FloatArray:
    return values.cast(pl.Float64).to_numpy()


def _rank(share: float, num_rows: int) -> int:
    """Position of the smallest value that at least this share of the rows do not exceed."""
    return max(0, math.ceil(share * num_rows) - 1)


# ---------------------------------------------------------------------------------------------- texts and lists


def _profile_of_values(
    values: pl.Series,
    others: Mapping[str, pl.Series],
    held_out: Mapping[str, pl.Series],
    table: ValueTable | None,
    counts: "_SplitCounts",
    rows: _TrainRows,
) -> tuple[ColumnProfile, Evidence]:
    """`others`: held-out rows that are thinned as the train rows are; `held_out`: all of them; `table`: of what is no
    list."""
    is_list = table is None
    table, evidence = _table_and_evidence(values, table, rows.target)
    present, label_sums = table.is_present, table.label_totals
    train = counts.rows["train"]
    profile = ColumnProfile(
        type="list" if is_list else "text",
        distinct=int(present.sum()),
        distinct_is=rows.distinct_is,
        # The train rows come first, so that their values are numbered as they are in `table`.
        top=tuple(
            TopValue(_shortened(counts.values[i]), int(train[i]) / len(values), float(label_sums[i]) / int(train[i]))
            for i in counts.most_frequent(train, NUM_TOP).tolist()
        ),
        quantiles=None,
        label_rates=_label_rates(
            train[: len(present)][present],
            label_sums[present],
            int(train[: len(present)][~present].sum()),
            float(label_sums[~present].sum()),
        ),
        **_alone(evidence),
        leak=None,
        drift={split: drift(*counts.drift_cells(counts.rows[split])) for split in others},
        drift_by_new={split: _drift_by_new(counts, counts.rows[split]) for split in others},
        unseen=None if is_list or not rows.is_whole else _unseen_shares(values, others, held_out, counts),
    )
    return profile, evidence


def _table_and_evidence(values: pl.Series, table: ValueTable | None, target: Target) -> tuple[ValueTable, Evidence]:
    if table is None:
        items = ListItems.of(values, target)
        return items.table, evidence_of_list(items, values, target)
    return table, evidence_of(table, numbers_of(table), target)


@dataclass(frozen=True)
class _SplitCounts:
    """How often each value of a column occurs in each split: one query for all of them."""

    values: pl.Series
    """In order of appearance, split by split; null is one."""
    rows: dict[str, NDArray[np.int64]]
    """Split → [values]."""
    present: NDArray[np.bool_]
    """Which values are not missing."""

    @classmethod
    def of(cls, columns: Mapping[str, pl.Series]) -> "_SplitCounts":
        """Of a column in several splits; of lists, the items, each once a row."""
        each = [
            list_items(column)["value"] if isinstance(column.dtype, pl.List) else column for column in columns.values()
        ]
        split = np.repeat(np.arange(len(each)), [len(values) for values in each])
        values = pl.concat(values.alias("value") for values in each)
        (counted,) = each_by_value([values], {"split": split}, _rows_of_splits(len(each)))
        return cls._counted(columns, counted)

    @classmethod
    def of_each(cls, columns: Sequence[Mapping[str, pl.Series]]) -> "Iterator[_SplitCounts]":
        """`of` for each of columns of one type in the same splits, by one query unless they are lists."""
        splits = list(columns[0].values())
        if isinstance(splits[0].dtype, pl.List):
            return (cls.of(column) for column in columns)
        split = np.repeat(np.arange(len(splits)), [len(values) for values in splits])
        values = [pl.concat([each.alias("value") for each in column.values()]) for column in columns]
        counted = each_by_value(values, {"split": split}, _rows_of_splits(len(splits)))
        return (cls._counted(column, of_column) for column, of_column in zip(columns, counted, strict=True))

    @classmethod
    def _counted(cls, columns: Mapping[str, pl.Series], counted: pl.DataFrame) -> "_SplitCounts":
        values, *rows = counted.get_columns()
        of_splits = {name: of_split.to_numpy() for name, of_split in zip(columns, rows, strict=True)}
        return cls(values, of_splits, values.is_not_null().to_numpy())

    @cached_property
    def _ranks(self) -> NDArray[np.int64]:
        """[values]: where each stands among all in ascending order."""
        ranks = np.empty(len(self.values), dtype=np.int64)
        ranks[self.values.arg_sort().to_numpy()] = np.arange(len(ranks))
        return ranks

    def most_frequent(self, rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
        """Where the `most` values with the highest of the counts `rows` stand, equally frequent ones in ascending
        order."""
        held = np.flatnonzero(self.present & (rows > 0))
        if len(held) > most:
            held = held[rows[held] >= np.partition(rows[held], len(held) - most)[-most]]
        return held[np.lexsort((self._ranks[held], -rows[held]))][:most]

    def drift_cells(self, other: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows in train and in another split: of every frequent value, of missing ones, of all the rest."""
        train = self.rows["train"]
        cells = np.unique(np.concatenate([self.most_frequent(rows, _DRIFT_VALUES) for rows in (train, other)]))
        cells = cells[np.argsort(self._ranks[cells])]
        before, after = (
            np.append(
                rows[cells], [missing := int(rows[~self.present].sum()), rows.sum() - rows[cells].sum() - missing]
            )
            for rows in (train, other)
        )
        return before, after


@cache
def _rows_of_splits(num_splits: int) -> tuple[pl.Expr, ...]:
    return tuple((pl.col("split") == number).sum().cast(pl.Int64).alias(str(number)) for number in range(num_splits))


def _drift_by_new(counts: _SplitCounts, other: NDArray[np.int64]) -> float:
    """Of the share of rows by which some values rose from train to the other split, the part whose values train lacks.

    All that rose is the total variation between the two, over the cells of drift with new values in one of their own.
    """
    known = np.where(counts.rows["train"] > 0, other, 0)
    total = int(other.sum())
    new = 1.0 - int(known.sum()) / max(total, 1)
    if new <= 0.0:
        return 0.0
    before, after = counts.drift_cells(known)
    rose = float(np.maximum(after / max(total, 1) - before / max(before.sum(), 1), 0.0).sum())
    return new / (new + rose)


def _unseen_shares(
    values: pl.Series, others: Mapping[str, pl.Series], held_out: Mapping[str, pl.Series], counts: _SplitCounts
) -> dict[str, float]:
    """Share of the rows of each held-out split with a value that no train row has."""
    if held_out is not others:  # thinned: not all rows are counted yet
        counts = _SplitCounts.of({"train": values, **held_out})
    unseen = counts.present & (counts.rows["train"] == 0)
    return {split: int(counts.rows[split][unseen].sum()) / max(1, int(counts.rows[split].sum())) for split in held_out}


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def _label_rates(counts: NDArray[np.int64], sums: FloatArray, missing: int, missing_sum: float) -> LabelRates:
    enough = counts >= _MIN_RATE_ROWS
    rates = sums[enough] / counts[enough]
    return LabelRates(
        lowest=float(rates.min()) if len(rates) else None,
        highest=float(rates.max()) if len(rates) else None,
        missing=missing_sum / missing if missing else None,
    )
