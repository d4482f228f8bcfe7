"""Fitting the plan: statistics that merge in any order, taken block by block from train rows."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from widedeep.errors import Fault, RecipeError
from widedeep.features.crosses import cross_members, cross_name, mix
from widedeep.features.fields import FittedCategorical, FittedCross, FittedNumeric, signed_log1p
from widedeep.features.moments import Moments
from widedeep.features.plan import FeaturePlan
from widedeep.features.quantiles import QuantileGrid
from widedeep.features.store import LABEL_COLUMN, WEIGHT_COLUMN
from widedeep.features.value_hash import vocabulary_seed
from widedeep.features.vocabulary import SPILL_ENTRIES, ValueCounts
from widedeep.recipe.schema import CategoricalField, CrossSettings, FeatureSettings, NumericField
from widedeep.reporting import Reporter
from widedeep.table.typed import text_name

Blocks = Callable[[], Iterator[pl.DataFrame]]


def fit_plan(
    features: FeatureSettings,
    crosses: Sequence[CrossSettings],
    blocks: Blocks,
    *,
    spill_dir: Path,
    reporter: Reporter,
    total_rows: int | None,
) -> FeaturePlan:
    """Two passes at most: fields first; then crosses, which need the numerics' cut points, if any has a vocabulary.

    Raises RecipeError where two encoded columns would share a name.
    """
    numerics = [_NumericFit(field) for field in features.numeric]
    share = SPILL_ENTRIES // max(1, len(features.categorical))
    categoricals = [_CategoricalFit(field, features, spill_dir, share) for field in features.categorical]
    for block in _shown(blocks(), "fit fields", reporter, total_rows):
        for numeric in numerics:
            numeric.add(block)
        for categorical in categoricals:
            categorical.add(block)
    plan = FeaturePlan(tuple(fit.result() for fit in numerics), tuple(fit.result() for fit in categoricals), ())
    crossed = [_CrossFit(cross, spill_dir, SPILL_ENTRIES // len(crosses)) for cross in crosses]
    if any(fit.counts is not None for fit in crossed):
        members = plan.members()
        needed = dict.fromkeys(field for fit in crossed if fit.counts is not None for field in fit.fields)
        for block in _shown(blocks(), "fit crosses", reporter, total_rows):
            hashes = block.select(members[name].member_hash().alias(name) for name in needed)
            for fit in crossed:
                fit.add(hashes)
    plan = FeaturePlan(plan.numerics, plan.categoricals, tuple(fit.result() for fit in crossed))
    _refuse_shared_names(plan)
    return plan


def _refuse_shared_names(plan: FeaturePlan) -> None:
    names = Counter(
        [LABEL_COLUMN, WEIGHT_COLUMN, *(column.name for column in plan.index_columns), *plan.numeric_columns]
    )
    taken = [name for name, count in names.items() if count > 1]
    if taken:
        message = f"the name {taken[0]!r} is that of two inputs (or is reserved): give the field another `name`"
        raise RecipeError([Fault("features", message)])


def _shown(
    blocks: Iterator[pl.DataFrame], title: str, reporter: Reporter, total_rows: int | None
) -> Iterator[pl.DataFrame]:
    done = 0
    with reporter.work(title, total_rows, "rows") as meter:
        for block in blocks:
            yield block
            done += len(block)
            meter.update(done)


class _NumericFit:
    def __init__(self, field: NumericField) -> None:
        self.field = field
        self.moments, self.grid = Moments(), QuantileGrid()
        self.has_missing = False

    def add(self, block: pl.DataFrame) -> None:
        values = block[self.field.column]
        self.has_missing |= values.null_count() > 0
        present = values.drop_nulls()
        if self.field.transform == "standard":
            self.moments.add(present.to_numpy())
        elif self.field.transform == "log1p":
            name = self.field.column
            self.moments.add(present.to_frame().select(signed_log1p(pl.col(name)))[name].to_numpy())
        if self.field.transform == "cdf" or self.field.buckets is not None:
            self.grid.add(np.ascontiguousarray(present.to_numpy()))

    def result(self) -> FittedNumeric:
        field = self.field
        standardised = field.transform in ("standard", "log1p")
        deviation = self.moments.deviation() if standardised else 1.0
        return FittedNumeric(
            name=field.name or field.column,
            column=field.column,
            transform=field.transform,
            mean=self.moments.mean() if standardised else 0.0,
            scale=deviation if deviation > 0.0 else 1.0,
            cuts=tuple(self.grid.cut_points(field.quantiles)) if field.transform == "cdf" else (),
            flagged=field.missing_flag and self.has_missing,
            bucket_cuts=None if field.buckets is None else tuple(self.grid.bucket_cuts(field.buckets)),
        )


class _CategoricalFit:
    def __init__(self, field: CategoricalField, features: FeatureSettings, spill_dir: Path, spill_entries: int) -> None:
        self.field = field
        self.column = text_name(field.column, features)
        self.counts = ValueCounts(pl.String(), spill_dir, spill_entries=spill_entries)

    def add(self, block: pl.DataFrame) -> None:
        if self.field.buckets is None:
            self.counts.add(block[self.column])

    def result(self) -> FittedCategorical:
        field, name = self.field, self.field.name or self.field.column
        vocabulary = self.counts.result(min_count=field.min_count, max_size=field.max_size)
        return FittedCategorical(
            name=name,
            column=self.column,
            embedding_dim=field.embedding_dim,
            buckets=field.buckets,
            seed=vocabulary_seed(name),
            vocabulary=vocabulary,
            cardinality=len(vocabulary) if field.buckets is None else field.buckets,
        )


class _CrossFit:
    def __init__(self, cross: CrossSettings, spill_dir: Path, spill_entries: int) -> None:
        self.cross = cross
        self.fields = cross_members(cross.fields)
        hashed = cross.buckets is not None
        self.counts = None if hashed else ValueCounts(pl.UInt64(), spill_dir, spill_entries=spill_entries)

    def add(self, hashes: pl.DataFrame) -> None:
        if self.counts is not None:
            mixed = hashes.select(mix([pl.col(name) for name in self.fields]).alias("mix"))["mix"]
            self.counts.add(mixed)

    def result(self) -> FittedCross:
        empty = pl.DataFrame(schema={"value": pl.UInt64, "count": pl.Int64})
        vocabulary = empty
        if self.counts is not None:
            vocabulary = self.counts.result(min_count=self.cross.min_count, max_size=self.cross.max_size)
        distinct = None if self.counts is None else self.counts.distinct
        return FittedCross(cross_name(self.cross.fields), self.fields, self.cross.buckets, vocabulary, distinct)
