"""The hashed fields and crosses of a plan, and the hashes of their values."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from widedeep.features.fields import FittedCategorical, FittedCross, FittedMultiValued, FittedNumeric
from widedeep.features.plan import FeaturePlan
from widedeep.features.value_hash import value_hash

HASH = "\0hash"
"""Column of the value hash; its remainder modulo the number of buckets is the bucket."""


@dataclass(frozen=True)
class HashedColumn:
    """A hashed cross, or a hashed field together with the fields that share its vocabulary and so its buckets."""

    name: str
    kind: Literal["field", "cross"]
    fields: tuple[str, ...]
    """The fields that share the buckets, or the cross's members."""
    buckets: int

    def values(self, plan: FeaturePlan, block: pl.DataFrame) -> pl.LazyFrame:
        """A row for each value in a typed block: `HASH` (UInt64) and the texts that were hashed.

        A field's text is in a column with the name of the first field, a cross's texts in columns with its members'
        names.
        """
        if self.kind == "field":
            return pl.concat([_field_values(plan, name, block, self.fields[0]) for name in self.fields])
        cross = next(cross for cross in plan.crosses if cross.name == self.name)
        return _cross_values(plan, cross, block)


def hashed_columns(plan: FeaturePlan) -> tuple[HashedColumn, ...]:
    """The hashed fields of a plan, then its hashed crosses, each in the plan's order."""
    fields_by_vocabulary: dict[tuple[str, str], list[FittedCategorical]] = {}
    for field in plan.vocabulary_fields:
        if field.buckets is not None:
            key = ("field", field.name) if field.shared is None else ("vocabulary", field.shared)
            fields_by_vocabulary.setdefault(key, []).append(field)
    columns = [
        HashedColumn(name, "field", tuple(field.name for field in fields), buckets)
        for (_, name), fields in fields_by_vocabulary.items()
        if (buckets := fields[0].buckets) is not None
    ]
    columns += [
        HashedColumn(cross.name, "cross", cross.fields, cross.buckets)
        for cross in plan.crosses
        if cross.buckets is not None
    ]
    return tuple(columns)


def _field_values(plan: FeaturePlan, name: str, block: pl.DataFrame, title: str) -> pl.LazyFrame:
    field = plan.members()[name]
    assert isinstance(field, FittedCategorical)
    text = block.lazy().select(pl.col(field.column).alias(title))
    if isinstance(field, FittedMultiValued):
        text = text.explode(title)
    return text.select(value_hash(pl.col(title), field.seed).alias(HASH), title).drop_nulls()


def _cross_values(plan: FeaturePlan, cross: FittedCross, block: pl.DataFrame) -> pl.LazyFrame:
    texts = (_text(member).alias(name) for name, member in plan.cross_members(cross).items())
    return plan.cross_rows(block.lazy(), cross).select(cross.mixed().alias(HASH), *texts)


def _text(member: FittedNumeric | FittedCategorical) -> pl.Expr:
    """The member's value as text; for a number the interval of its bucket."""
    if not isinstance(member, FittedNumeric):
        return pl.col(member.column)
    intervals = {bucket: member.interval(bucket) for bucket in range(len(member.bucket_cuts or ()) + 1)}
    return member.bucket().replace_strict(intervals, return_dtype=pl.String)
