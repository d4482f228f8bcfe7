"""Fits the plan to train rows, block by block, with statistics that do not depend on the order of the rows."""

import math
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

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
from widedeep.features.rare import CROSS_PREFIX, RareCounts
from widedeep.features.value_hash import value_hash, vocabulary_seed
from widedeep.features.vocabulary import SPILL_ENTRIES, ValueCounts
from widedeep.ordered import in_threads, one_ahead
from widedeep.recipe.base import OURS
from widedeep.recipe.schema import CategoricalField, CrossSettings, FeatureSettings, MultiValuedField, NumericField
from widedeep.reporting import Reporter
from widedeep.source.coded import CodedRows
from widedeep.table.typed_columns import text_name, values_name, weights_name

Blocks = Callable[[], Iterator[pl.DataFrame | CodedRows]]
"""Gives the typed rows, block by block; every call is another pass over them."""
BlocksOf = Callable[[Sequence[str]], Iterator[pl.DataFrame | CodedRows]]
"""The same with some columns alone, which is quicker."""


def fit_plan(
    features: FeatureSettings,
    crosses: Sequence[CrossSettings],
    blocks: Blocks,
    *,
    spill_dir: Path,
    reporter: Reporter,
    total_rows: int | None,
    rare: RareCounts | None = None,
    blocks_of: BlocksOf | None = None,
) -> FeaturePlan:
    """Fit fields in a first pass and crosses in a second, because crosses need the cut points of numeric fields.

    The second pass is left out if no cross has to count its values, and goes over `blocks_of` where that is given.
    `rare` is filled with the counts of values that get no index. Raises RecipeError if `buckets: auto` finds no number
    that is large enough.
    """

    def count_fields(numerics: Sequence[NumericFit], categoricals: VocabularyFits) -> None:
        for block in with_progress(blocks(), "fit fields", reporter, total_rows):
            tasks: list[Callable[[], None]] = [partial(numeric.add, block) for numeric in numerics]
            in_threads(run_task, [*tasks, *categoricals.additions(block)])

    def count_combinations(plan: FeaturePlan, fits: Sequence[CrossFit]) -> None:
        count_all_crosses(plan, fits, blocks, blocks_of, reporter, total_rows)

    rare = RareCounts() if rare is None else rare
    return fit_by_passes(features, crosses, count_fields, count_combinations, spill_dir, reporter, rare)


def fit_by_passes(
    features: FeatureSettings,
    crosses: Sequence[CrossSettings],
    count_fields: "Callable[[Sequence[NumericFit], VocabularyFits], None]",
    count_combinations: "Callable[[FeaturePlan, Sequence[CrossFit]], None]",
    spill_dir: Path,
    reporter: Reporter,
    rare: RareCounts,
) -> FeaturePlan:
    """`fit_plan` by two functions that show all rows to what is fitted: to fields, and then to crosses that count."""
    cut_by_crosses = {name for cross in crosses for name in cross.granularity}
    numerics = [NumericFit(field, cut_by_crosses) for field in features.all_numeric()]
    categoricals = VocabularyFits(features, spill_dir, rare)
    count_fields(numerics, categoricals)
    plan = FeaturePlan(tuple(fit.result() for fit in numerics), *categoricals.result(), ())
    fits_by_name = {numeric.name: numeric for numeric in numerics}
    taken = plan.members()
    cross_fits = []
    for cross in crosses:
        cuts = {name: fits_by_name[name].bucket_cuts(buckets) for name, buckets in sorted(cross.granularity.items())}
        name = cross_name(cross.fields)
        # A field may be called as the cross is: `color x shape`.
        name = f"{name}{OURS}" if name in taken else name
        cross_fits.append(CrossFit(name, cross, cuts, spill_dir, SPILL_ENTRIES // len(crosses), rare))
    if any(fit.counts is not None for fit in cross_fits):
        count_combinations(plan, cross_fits)
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


def run_task(task: Callable[[], None]) -> None:
    """Call a task, for `in_threads`."""
    task()


def count_all_crosses(
    plan: FeaturePlan,
    fits: Sequence["CrossFit"],
    blocks: Blocks,
    blocks_of: BlocksOf | None,
    reporter: Reporter,
    total_rows: int | None,
) -> None:
    """Count the combinations of all rows for every cross that has to count them; see `fit_plan`."""
    if counted := [fit.unfitted for fit in fits if fit.counts is not None]:
        rows = blocks() if blocks_of is None else blocks_of(plan.columns_of(counted))
        for block in with_progress(rows, "fit crosses", reporter, total_rows):
            count_crosses(plan, fits, block)


def count_crosses(plan: FeaturePlan, fits: Sequence["CrossFit"], block: CodedRows) -> None:
    """Count the combinations of a block for every cross that has to count them."""
    counted = [fit for fit in fits if fit.counts is not None]
    without_lists = [fit for fit in counted if not plan.list_members(fit.unfitted)]
    cells = {fit: block.cells(plan.member_columns(fit.unfitted)) for fit in without_lists}
    by_rows = [fit.unfitted for fit in without_lists if cells[fit] is None]
    hashes = block.select(plan.member_hashes(by_rows)) if by_rows else pl.DataFrame()

    def count(fit: CrossFit) -> None:
        if (of_fit := cells.get(fit)) is not None:
            counts = np.bincount(of_fit.of_rows(), minlength=of_fit.count)
            held = np.flatnonzero(counts).astype(np.uint32)
            fit.add_counted(plan.hashes_of_cells(block, fit.unfitted, of_fit, held), counts[held])
        else:
            fit.add(hashes if fit in cells else plan.cross_rows(block.decoded().lazy(), fit.unfitted).collect())

    in_threads(count, counted)


def with_progress(
    blocks: Iterator[pl.DataFrame | CodedRows], title: str, reporter: Reporter, total_rows: int | None
) -> Iterator[CodedRows]:
    """The blocks as coded rows, with a line of progress that counts them."""
    done = 0
    with reporter.work(title, total_rows, "rows") as meter:
        for block in one_ahead(blocks):
            rows = CodedRows.of(block)
            yield rows
            done += rows.height
            meter.update(done)


class NumericFit:
    """Fits a numeric field; a number of them, of some rows each, merge to that of all rows."""

    def __init__(self, field: NumericField, cut_by_crosses: Set[str]) -> None:
        self.field, self.name = field, field.name or field.column
        self.needs_grid = self.name in cut_by_crosses or field.transform == "cdf" or field.buckets is not None
        self.moments, self.grid = Moments(), QuantileGrid()
        self.has_missing = False
        self.least, self.largest = math.inf, -math.inf

    def add(self, block: CodedRows) -> None:
        name, counts = self.field.column, None
        values = block.frame[name]
        if name in block.values:
            if self.field.transform in ("cdf", "none"):  # the others' sums and bounds go over the rows
                counted = block.counts(name)
                values, counts = counted["value"].alias(name), counted["count"].to_numpy()
            else:
                values = block.column(name)
        values = values.to_frame().select(clipped(pl.col(name), self.field.clip)).to_series()
        self.has_missing |= values.null_count() > 0
        if counts is not None and values.null_count():
            counts = counts[values.is_not_null().to_numpy()]
        present = values.drop_nulls()
        if self.field.transform == "minmax" and len(present):
            self.least = min(self.least, float(present.to_numpy().min()))
            self.largest = max(self.largest, float(present.to_numpy().max()))
        if self.field.transform == "standard":
            self.moments.add(present.to_numpy())
        elif self.field.transform == "log1p":
            self.moments.add(present.to_frame().select(signed_log1p(pl.col(name)))[name].to_numpy())
        if self.needs_grid and counts is not None:
            self.grid.add_counted(present.to_numpy(), counts)
        elif self.needs_grid:
            self.grid.add(np.ascontiguousarray(present.to_numpy()))

    def merge(self, other: "NumericFit") -> None:
        """Add the rows that `other`, of the same field, has seen."""
        self.moments.merge(other.moments)
        self.grid.merge(other.grid)
        self.has_missing |= other.has_missing
        self.least, self.largest = min(self.least, other.least), max(self.largest, other.largest)

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


@dataclass(frozen=True)
class SettledCounts:
    """What the counts of a vocabulary, of fields or of a cross, come to."""

    vocabulary: pl.DataFrame
    rare: pl.DataFrame
    """Values without an index, see `RareCounts`."""
    distinct: int
    buckets: int | None
    """The number that was found for `buckets: auto`: both frames are then empty."""


@dataclass(frozen=True)
class CountRule:
    """How the counts of a vocabulary are settled."""

    min_count: int
    max_size: int | None
    finds_buckets: bool
    """Whether they are to find a number of buckets."""
    where: str
    """The recipe's section, for a message."""
    name: str

    @classmethod
    def of(cls, where: str, name: str, settings: "CategoricalField | MultiValuedField | CrossSettings") -> "CountRule":
        """The rule of a field or cross."""
        return cls(settings.min_count, settings.max_size, settings.buckets == "auto", where, name)

    def settle(self, counts: ValueCounts, first: pl.DataFrame) -> SettledCounts:
        """Settle counts, which are then cleared; `first` is that of `ValueCounts.kept_and_rare`. Raises RecipeError."""
        if self.finds_buckets:
            return SettledCounts(first, first, 0, _enough_buckets(counts, self.where, self.name))
        kept, rare = counts.kept_and_rare(first, min_count=self.min_count, max_size=self.max_size)
        return SettledCounts(kept, rare, counts.distinct, None)


class VocabularyFits:
    """Fits categorical and multi-valued fields. Fields that share a vocabulary are counted together."""

    def __init__(
        self,
        features: FeatureSettings,
        spill_dir: Path,
        rare: RareCounts,
        grown_from: FeaturePlan | None = None,
        evict: int | None = None,
    ) -> None:
        """`rare` is filled by `result`. With a plan to grow from, its counts and those in `rare` are counted on.

        `evict` is that of `ValueCounts`.
        """
        self.features, self.rare = features, rare
        self.settled: dict[str, SettledCounts] = {}
        """Vocabularies, by their keys, whose counts were settled elsewhere."""
        fields = features.with_vocabulary()
        self.share = SPILL_ENTRIES // max(1, len(fields))
        self.old = {} if grown_from is None else {field.name: field for field in grown_from.vocabulary_fields}
        self.counts = {
            vocabulary_key(field): ValueCounts(
                pl.String() if field.buckets is None else pl.UInt64(),
                spill_dir,
                spill_entries=self.share,
                evict=evict,
            )
            for field in fields
            if self._is_counted(field)
        }
        first_fields = {vocabulary_key(field): self.old[_name(field)] for field in reversed(fields) if self.old}
        for key, counts in self.counts.items() if self.old else ():
            counts.add_earlier(first_fields[key].vocabulary)
            if key in rare.vocabularies:
                counts.add_earlier(rare.vocabularies[key])

    def _is_counted(self, field: CategoricalField | MultiValuedField) -> bool:
        # A number of buckets that was found once is kept by all that goes on from there.
        return _is_counted(field) and not (self.old and field.buckets == "auto")

    def additions(self, block: CodedRows) -> list[Callable[[], None]]:
        """Tasks that count a block's values, one for each vocabulary, which may run in parallel."""
        tasks_by_vocabulary: dict[str, list[Callable[[], None]]] = {}
        for field in self.features.with_vocabulary():
            if self._is_counted(field):
                tasks_by_vocabulary.setdefault(vocabulary_key(field), []).append(partial(self._count, field, block))
        return [partial(_run_all, tasks) for tasks in tasks_by_vocabulary.values()]

    def _count(self, field: CategoricalField | MultiValuedField, block: CodedRows) -> None:
        counts = self.counts[vocabulary_key(field)]
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
        chosen: dict[str, int | None] = {}
        for field in self.features.with_vocabulary():
            name = vocabulary_key(field)
            if field.buckets is None and name not in counted:
                first = self.old[_name(field)].vocabulary if self.old else NO_VALUES
                settled = self._settled(field, first)
                counted[name], self.rare.vocabularies[name] = settled.vocabulary, settled.rare
            if field.buckets == "auto" and name not in chosen and not self.old:
                chosen[name] = self._settled(field, NO_VALUES).buckets

        def facts(field: CategoricalField | MultiValuedField, column: str) -> dict[str, Any]:
            name = vocabulary_key(field)
            vocabulary = counted.get(name, NO_VALUES)
            buckets = chosen.get(name) if field.buckets == "auto" else field.buckets
            if self.old:
                buckets = self.old[_name(field)].buckets
            return {
                "name": field.name or field.column,
                "column": column,
                "embedding_dim": field.embedding_dim,
                "shared": field.vocabulary,
                "buckets": buckets,
                "seed": self.old[_name(field)].seed if self.old else _seed(field),
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

    def rules(self) -> dict[str, CountRule]:
        """Vocabulary, by its key → how its counts are settled: as the first field says that has it."""
        fields = reversed([field for field in self.features.with_vocabulary() if self._is_counted(field)])
        return {vocabulary_key(field): CountRule.of("features", _name(field), field) for field in fields}

    def _settled(self, field: CategoricalField | MultiValuedField, first: pl.DataFrame) -> SettledCounts:
        name = vocabulary_key(field)
        if name in self.settled:
            return self.settled[name]
        return CountRule.of("features", _name(field), field).settle(self.counts[name], first)


def _run_all(tasks: Sequence[Callable[[], None]]) -> None:
    for task in tasks:
        run_task(task)


NO_VALUES = pl.DataFrame(schema={"value": pl.String, "count": pl.Int64})


def vocabulary_key(field: CategoricalField | MultiValuedField) -> str:
    """The name of a field's vocabulary among all: its prefix keeps a shared one apart from that of a field."""
    return f"shared {field.vocabulary}" if field.vocabulary is not None else f"of {field.name or field.column}"


def cross_key(cross: FittedCross) -> str:
    """The name of a cross's vocabulary among all."""
    return f"{CROSS_PREFIX}{cross.name}"


def _name(field: CategoricalField | MultiValuedField) -> str:
    return field.name or field.column


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


class CrossFit:
    """Counts a cross's combinations, unless it is hashed into a number of buckets that is known."""

    def __init__(
        self,
        name: str,
        cross: CrossSettings,
        cuts: dict[str, tuple[float, ...]],
        spill_dir: Path,
        spill_entries: int,
        rare: RareCounts,
        old: FittedCross | None = None,
        evict: int | None = None,
    ) -> None:
        """`rare` is filled by `result`. An `old` cross keeps its cut points and buckets, and is counted on.

        `evict` is that of `ValueCounts`.
        """
        self.cross, self.rare, self.old = cross, rare, old
        fields = cross_members(cross.fields)
        buckets = None if cross.buckets == "auto" else cross.buckets
        self.unfitted = FittedCross(name, fields, buckets, NO_MIXES, None, cuts)
        """The cross before its combinations were counted."""
        if old is not None:
            self.unfitted = replace(old, vocabulary=NO_MIXES, distinct=None)
        counted = _is_counted(cross) if old is None else old.buckets is None
        self.counts = ValueCounts(pl.UInt64(), spill_dir, spill_entries=spill_entries, evict=evict) if counted else None
        self.settled: SettledCounts | None = None
        """The counts, where they were settled elsewhere."""
        if old is not None and self.counts is not None:
            self.counts.add_earlier(old.vocabulary)
            if cross_key(old) in rare.vocabularies:
                self.counts.add_earlier(rare.vocabularies[cross_key(old)])

    def add(self, hashes: pl.DataFrame) -> None:
        if self.counts is not None:
            self.counts.add(self._mixes(hashes))

    def add_counted(self, hashes: pl.DataFrame, counts: NDArray[np.int64]) -> None:
        """`add` of rows that hold each combination as often as it counts."""
        if self.counts is not None:
            self.counts.add_counted(pl.DataFrame({"value": self._mixes(hashes), "count": counts}))

    def _mixes(self, hashes: pl.DataFrame) -> pl.Series:
        return hashes.select(self.unfitted.mixed()).to_series()

    def rule(self) -> CountRule:
        """How the counts are settled."""
        return CountRule.of("crosses", self.unfitted.name, self.cross)

    def result(self) -> FittedCross:
        if self.counts is None:
            return self.unfitted
        settled = self.settled
        if settled is None:
            first = NO_MIXES if self.old is None else self.old.vocabulary
            rule = self.rule() if self.old is None else replace(self.rule(), finds_buckets=False)
            settled = rule.settle(self.counts, first)
        if settled.buckets is not None:
            return replace(self.unfitted, buckets=settled.buckets)
        self.rare.vocabularies[cross_key(self.unfitted)] = settled.rare
        return replace(self.unfitted, vocabulary=settled.vocabulary, distinct=settled.distinct)


NO_MIXES = pl.DataFrame(schema={"value": pl.UInt64, "count": pl.Int64})
