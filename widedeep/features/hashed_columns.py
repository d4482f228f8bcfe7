"""The hashed fields and crosses of a plan, and the hashes of their values."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from widedeep.features.fields import FittedCategorical, FittedCross, FittedMultiValued, FittedNumeric
from widedeep.features.plan import FeaturePlan
from widedeep.features.value_hash import value_hash

HASH = "\0hash"
"""Column of the hash whose remainder is the bucket."""


@dataclass(frozen=True)
class HashedColumn:
    """A hashed cross, or a hashed field with those that share its vocabulary and so its buckets."""

    name: str
    kind: Literal["field", "cross"]
    fields: tuple[str, ...]
    """Names of the fields that share the buckets, or of the cross's members."""
    buckets: int

    def values(self, plan: FeaturePlan, block: pl.DataFrame) -> pl.LazyFrame:
        """A row per value of a typed block: `HASH` (UInt64) and, under the fields' names, what was hashed."""
        if self.kind == "field":
            return pl.concat([_field_values(plan, name, block, self.fields[0]) for name in self.fields])
        cross = next(cross for cross in plan.crosses if cross.name == self.name)
        return _cross_values(plan, cross, block)


def hashed_columns(plan: FeaturePlan) -> tuple[HashedColumn, ...]:
    """Fields first, in the order of the plan."""
    sharing: dict[tuple[str, str], list[FittedCategorical]] = {}
    for field in plan.vocabulary_fields:
        if field.buckets is not None:
            key = ("field", field.name) if field.shared is None else ("vocabulary", field.shared)
            sharing.setdefault(key, []).append(field)
    columns = [
        HashedColumn(name, "field", tuple(field.name for field in fields), buckets)
        for (_, name), fields in sharing.items()
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
    shown = (_shown(member).alias(name) for name, member in plan.cross_members(cross).items())
    return plan.cross_rows(block.lazy(), cross).select(cross.mixed().alias(HASH), *shown)


def _shown(member: FittedNumeric | FittedCategorical) -> pl.Expr:
    if not isinstance(member, FittedNumeric):
        return pl.col(member.column)
    intervals = {bucket: member.interval(bucket) for bucket in range(len(member.bucket_cuts or ()) + 1)}
    return member.bucket().replace_strict(intervals, return_dtype=pl.String)
