"""The hashed fields and crosses of a plan: the hashes of their values, and from a hash back to the real values."""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import polars as pl

from widedeep.features.fields import FittedCategorical, FittedCross, FittedMultiValued, FittedNumeric
from widedeep.features.plan import FeaturePlan
from widedeep.features.value_hash import value_hash

HASH = "\0hash"
"""Column of the hash whose remainder is the bucket."""

Members = dict[str, str | None]
"""Field → its value as text, None for a missing one; a numeric field's is the range of its bucket."""


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
    for field in (*plan.categoricals, *plan.multi_valued):
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


def look_up(
    plan: FeaturePlan, wanted: Mapping[HashedColumn, Set[int]], blocks: Iterable[pl.DataFrame]
) -> dict[HashedColumn, dict[int, Members]]:
    """The values behind the wanted hashes, read from the blocks until none is missing.

    A field's value stands under the name of its column's first field. Of values with one hash (a number's bucket has
    many) it is the first in the block that is shown.
    """
    found: dict[HashedColumn, dict[int, Members]] = {column: {} for column in wanted}
    for block in blocks:
        open_columns = [column for column in wanted if wanted[column] - found[column].keys()]
        if not open_columns:
            break
        for column in open_columns:
            found[column] |= _found_in(plan, column, wanted[column] - found[column].keys(), block)
    return found


def _found_in(plan: FeaturePlan, column: HashedColumn, hashes: Set[int], block: pl.DataFrame) -> dict[int, Members]:
    asked = pl.LazyFrame({HASH: sorted(hashes)}, schema={HASH: pl.UInt64})
    values = column.values(plan, block).join(asked, on=HASH, how="semi")
    rows = values.unique(HASH, keep="first", maintain_order=True).collect().rows(named=True)
    return {row.pop(HASH): row for row in rows}


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
    ranges = dict(enumerate(_ranges(member.bucket_cuts or ())))
    return member.bucket().replace_strict(ranges, return_dtype=pl.String)


def _ranges(cuts: tuple[float, ...]) -> Iterator[str]:
    """The buckets between ascending cut points, as `below 2`, `2 to below 5`, `5 or more`."""
    ends = [f"{cut:.15g}" for cut in cuts]
    if not ends:
        yield "any number"
        return
    yield f"below {ends[0]}"
    for low, high in pairwise(ends):
        yield f"{low} to below {high}"
    yield f"{ends[-1]} or more"
