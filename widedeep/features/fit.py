"""Fits the plan to train rows, block by block, with statistics that do not depend on the order of the rows."""

import math
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from widedeep.errors import DataError, Fault, RecipeError
from widedeep.features.collisions import COLLISION_LIMIT, HashTraffic
from widedeep.features.crosses import cross_members, cross_name
from widedeep.features.fields import (
    FittedCategorical,
    FittedCross,
    FittedMultiValued,
    FittedNumeric,
    clipped,
    signed_log1p,
)
from widedeep.features.moments import Moments
from widedeep.features.plan import FeaturePlan
from widedeep.features.quantiles import QuantileGrid
from widedeep.features.value_hash import value_hash, vocabulary_seed
from widedeep.features.vocabulary import SPILL_ENTRIES, ValueCounts
from widedeep.ordered import in_threads
from widedeep.recipe.base import OURS
from widedeep.recipe.schema import CategoricalField, CrossSettings, FeatureSettings, MultiValuedField, NumericField
from widedeep.reporting import Reporter
from widedeep.source.coded import CodedRows
from widedeep.table.typed_columns import text_name, values_name, weights_name

Blocks = Callable[[], Iterator[pl.DataFrame | CodedRows]]
"""Gives the typed rows, block by block; every call is another pass over them."""


def fit_plan(
    features: FeatureSettings,
    crosses: Sequence[CrossSettings],
    blocks: Blocks,
    *,
    spill_dir: Path,
    reporter: Reporter,
    total_rows: int | None,
) -> FeaturePlan:
    """Fit fields in a first pass and crosses in a second, because crosses need the cut points of numeric fields.

    The second pass is left out if no cross has to count its values. Raises RecipeError if
    `buckets: auto` finds no number that is large enough.
    """
    cut_by_crosses = {name for cross in crosses for name in cross.granularity}
    numerics = [_NumericFit(field, cut_by_crosses) for field in features.all_numeric()]
    categoricals = _VocabularyFits(features, spill_dir)
    for block in _with_progress(blocks(), "fit fields", reporter, total_rows):
        tasks: list[Callable[[], None]] = [partial(numeric.add, block) for numeric in numerics]
        in_threads(_run, [*tasks, *categoricals.additions(block)])
    plan = FeaturePlan(tuple(fit.result() for fit in numerics), *categoricals.result(), ())
    fits_by_name = {numeric.name: numeric for numeric in numerics}
    taken = plan.members()
    cross_fits = []
    for cross in crosses:
        cuts = {name: fits_by_name[name].bucket_cuts(buckets) for name, buckets in sorted(cross.granularity.items())}
        name = cross_name(cross.fields)
        # A field may be called as the cross is: `color x shape`.
        name = f"{name}{OURS}" if name in taken else name
        cross_fits.append(_CrossFit(name, cross, cuts, spill_dir, SPILL_ENTRIES // len(crosses)))
    if any(fit.counts is not None for fit in cross_fits):
        for block in _with_progress(blocks(), "fit crosses", reporter, total_rows):
            _count_crosses(plan, cross_fits, block)
    plan = replace(plan, crosses=tuple(fit.result() for fit in cross_fits))
    _tell_empty_vocabularies(plan, features, crosses, reporter)
    return plan


def _tell_empty_vocabularies(
    plan: FeaturePlan, features: FeatureSettings, crosses: Sequence[CrossSettings], reporter: Reporter
) -> None:
    fitted: tuple[FittedCategorical | FittedCross, ...] = (*plan.vocabulary_fields, *plan.crosses)
    for entry, settings in zip(fitted, (*features.with_vocabulary(), *crosses), strict=True):
        if entry.buckets is None and entry.vocabulary.is_empty():
            name = " x ".join(entry.fields) if isinstance(entry, FittedCross) else entry.name
            reporter.warn(
                f"{name}: no value stands in {settings.min_count:,} train rows, its `min_count`, so that all count as "
                "unknown; take a smaller `min_count`, or take it out"
            )


def _run(task: Callable[[], None]) -> None:
    task()


def _count_crosses(plan: FeaturePlan, fits: Sequence["_CrossFit"], block: CodedRows) -> None:
    counted = [fit for fit in fits if fit.counts is not None]
    without_lists = [fit for fit in counted if not plan.list_members(fit.unfitted)]
    hashes = block.select(plan.member_hashes([fit.unfitted for fit in without_lists]))

    def count(fit: _CrossFit) -> None:
        fit.add(hashes if fit in without_lists else plan.cross_rows(block.decoded().lazy(), fit.unfitted).collect())

    in_threads(count, counted)


def _with_progress(
    blocks: Iterator[pl.DataFrame | CodedRows], title: str, reporter: Reporter, total_rows: int | None
) -> Iterator[CodedRows]:
    done = 0
    with reporter.work(title, total_rows, "rows") as meter:
        for block in blocks:
            rows = CodedRows.of(block)
            yield rows
            done += rows.height
            meter.update(done)


class _NumericFit:
    def __init__(self, field: NumericField, cut_by_crosses: Set[str]) -> None:
        self.field, self.name = field, field.name or field.column
        self.needs_grid = self.name in cut_by_crosses or field.transform == "cdf" or field.buckets is not None
        self.moments, self.grid = Moments(), QuantileGrid()
        self.has_missing = False
        self.least, self.largest = math.inf, -math.inf

    def add(self, block: CodedRows) -> None:
        values = (
            block.column(self.field.column)
            .to_frame()
            .select(clipped(pl.col(self.field.column), self.field.clip))
            .to_series()
        )
        self.has_missing |= values.null_count() > 0
        present = values.drop_nulls()
        if self.field.transform == "minmax" and len(present):
            self.least = min(self.least, float(present.to_numpy().min()))
            self.largest = max(self.largest, float(present.to_numpy().max()))
        if self.field.transform == "standard":
            self.moments.add(present.to_numpy())
        elif self.field.transform == "log1p":
            name = self.field.column
            self.moments.add(present.to_frame().select(signed_log1p(pl.col(name)))[name].to_numpy())
        if self.needs_grid:
            self.grid.add(np.ascontiguousarray(present.to_numpy()))

    def result(self) -> FittedNumeric:
        field = self.field
        origin, scale = self._origin_and_scale()
        return FittedNumeric(
            name=self.name,
            column=field.column,
            transform=field.transform,
            clip=field.clip,
            mean=origin,
            scale=scale if scale > 0.0 else 1.0,
            cuts=tuple(self.grid.cut_points(field.quantiles)) if field.transform == "cdf" else (),
            flagged=field.missing_flag and self.has_missing,
            bucket_cuts=None if field.buckets is None else self.bucket_cuts(field.buckets),
        )

    def bucket_cuts(self, buckets: int) -> tuple[float, ...]:
        return tuple(self.grid.bucket_cuts(buckets))

    def _origin_and_scale(self) -> tuple[float, float]:
        match self.field.transform:
            case "standard" | "log1p":
                return self.moments.mean(), self.moments.deviation()
            case "minmax" if self.least <= self.largest:
                span = self.largest - self.least
                if math.isinf(span):
                    raise DataError(
                        f"column {self.field.column!r}: {self.least} and {self.largest} lie too far apart for minmax: "
                        "set `clip` at its entry under features.numeric, or another `transform`"
                    )
                return self.least, span
            case _:
                return 0.0, 1.0


class _VocabularyFits:
    """Fits categorical and multi-valued fields. Fields that share a vocabulary are counted together."""

    def __init__(self, features: FeatureSettings, spill_dir: Path) -> None:
        self.features = features
        fields = features.with_vocabulary()
        self.share = SPILL_ENTRIES // max(1, len(fields))
        self.counts = {
            _vocabulary(field): ValueCounts(
                pl.String() if field.buckets is None else pl.UInt64(), spill_dir, spill_entries=self.share
            )
            for field in fields
            if _is_counted(field)
        }

    def additions(self, block: CodedRows) -> list[Callable[[], None]]:
        """Tasks that count a block's values, one for each vocabulary, which may run in parallel."""
        tasks_by_vocabulary: dict[str, list[Callable[[], None]]] = {}
        for field in self.features.with_vocabulary():
            if _is_counted(field):
                tasks_by_vocabulary.setdefault(_vocabulary(field), []).append(partial(self._count, field, block))
        return [partial(_run_all, tasks) for tasks in tasks_by_vocabulary.values()]

    def _count(self, field: CategoricalField | MultiValuedField, block: CodedRows) -> None:
        counts = self.counts[_vocabulary(field)]
        column = (
            values_name(field, self.features)
            if isinstance(field, MultiValuedField)
            else text_name(field.column, self.features)
        )
        if column in block.values:
            counted = block.counts(column)
            if field.buckets == "auto":
                counted = counted.group_by(value_hash(pl.col("value"), _seed(field))).agg(pl.col("count").sum())
            counts.add_counted(counted)
            return
        values = block.frame[column].explode() if isinstance(field, MultiValuedField) else block.frame[column]
        if field.buckets == "auto":
            values = values.to_frame().select(value_hash(pl.col(values.name), _seed(field))).to_series()
        counts.add(values)

    def result(self) -> tuple[tuple[FittedCategorical, ...], tuple[FittedMultiValued, ...]]:
        counted: dict[str, pl.DataFrame] = {}
        chosen: dict[str, int] = {}
        for field in self.features.with_vocabulary():
            name = _vocabulary(field)
            if field.buckets is None and name not in counted:
                counted[name] = self.counts[name].result(min_count=field.min_count, max_size=field.max_size)
            if field.buckets == "auto" and name not in chosen:
                chosen[name] = _enough_buckets(self.counts[name], "features", field.name or field.column)

        def facts(field: CategoricalField | MultiValuedField, column: str) -> dict[str, Any]:
            name = _vocabulary(field)
            vocabulary = counted.get(name, _NO_VALUES)
            buckets = chosen[name] if field.buckets == "auto" else field.buckets
            return {
                "name": field.name or field.column,
                "column": column,
                "embedding_dim": field.embedding_dim,
                "shared": field.vocabulary,
                "buckets": buckets,
                "seed": _seed(field),
                "vocabulary": vocabulary,
                "cardinality": len(vocabulary) if buckets is None else buckets,
            }

        categoricals = (
            FittedCategorical(**facts(field, text_name(field.column, self.features)))
            for field in self.features.all_categorical()
        )
        lists = (
            FittedMultiValued(
                **facts(field, values_name(field, self.features)),
                weights=None if field.weight_separator is None else weights_name(field, self.features),
                pooling=field.pooling,
            )
            for field in self.features.multi_valued
        )
        return tuple(categoricals), tuple(lists)


def _run_all(tasks: Sequence[Callable[[], None]]) -> None:
    for task in tasks:
        _run(task)


_NO_VALUES = pl.DataFrame(schema={"value": pl.String, "count": pl.Int64})


def _vocabulary(field: CategoricalField | MultiValuedField) -> str:
    # The prefixes keep the vocabulary of one field apart from a shared vocabulary that has the field's name.
    return f"shared {field.vocabulary}" if field.vocabulary is not None else f"of {field.name or field.column}"


def _seed(field: CategoricalField | MultiValuedField) -> int:
    return vocabulary_seed(field.vocabulary or field.name or field.column)


def _is_counted(field: CategoricalField | MultiValuedField | CrossSettings) -> bool:
    return field.buckets is None or field.buckets == "auto"


def _enough_buckets(counts: ValueCounts, where: str, name: str) -> int:
    traffic = HashTraffic(counts)
    enough = traffic.enough_buckets()
    counts.clear()
    if enough is None:
        rule = f"no number of buckets keeps less than {COLLISION_LIMIT:.0%} of the rows in shared ones"
        remedy = "name a number, or keep a vocabulary with a `min_count`"
        message = f"{name.removesuffix(OURS)}: `buckets: auto`: {rule} ({traffic.distinct:,} values): {remedy}"
        raise RecipeError([Fault(where, message)])
    return enough


class _CrossFit:
    def __init__(
        self, name: str, cross: CrossSettings, cuts: dict[str, tuple[float, ...]], spill_dir: Path, spill_entries: int
    ) -> None:
        self.cross = cross
        fields = cross_members(cross.fields)
        buckets = None if cross.buckets == "auto" else cross.buckets
        self.unfitted = FittedCross(name, fields, buckets, _NO_MIXES, None, cuts)
        """The cross before its combinations were counted."""
        counts = ValueCounts(pl.UInt64(), spill_dir, spill_entries=spill_entries)
        self.counts = counts if _is_counted(cross) else None

    def add(self, hashes: pl.DataFrame) -> None:
        if self.counts is not None:
            self.counts.add(hashes.select(self.unfitted.mixed().alias("mix"))["mix"])

    def result(self) -> FittedCross:
        if self.counts is None:
            return self.unfitted
        if self.cross.buckets == "auto":
            return replace(self.unfitted, buckets=_enough_buckets(self.counts, "crosses", self.unfitted.name))
        vocabulary = self.counts.result(min_count=self.cross.min_count, max_size=self.cross.max_size)
        return replace(self.unfitted, vocabulary=vocabulary, distinct=self.counts.distinct)


_NO_MIXES = pl.DataFrame(schema={"value": pl.UInt64, "count": pl.Int64})
