"""Fits vocabularies: counts the values of fields and of crosses, and settles what their counts come to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.errors import Fault, RecipeError
from widedeep.features.collisions import COLLISION_LIMIT, HashTraffic
from widedeep.features.crosses import cross_members
from widedeep.features.fields import FittedCategorical, FittedCross, FittedMultiValued
from widedeep.features.plan import FeaturePlan
from widedeep.features.rare import CROSS_PREFIX, RareCounts
from widedeep.features.value_hash import value_hash, vocabulary_seed
from widedeep.features.vocabulary import SPILL_ENTRIES, ValueCounts
from widedeep.recipe.base import OURS
from widedeep.recipe.schema import CategoricalField, CrossSettings, FeatureSettings, MultiValuedField
from widedeep.source.coded import CodedRows
from widedeep.table.typed_columns import text_name, values_name, weights_name

NO_VALUES = pl.DataFrame(schema={"value": pl.String, "count": pl.Int64})
NO_MIXES = pl.DataFrame(schema={"value": pl.UInt64, "count": pl.Int64})


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
        task()


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
