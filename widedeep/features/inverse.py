"""From an index or a hash back to the real values behind it: read off the plan where it knows them, else found among typed
rows."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from widedeep.features.fields import FIRST, FittedCategorical, FittedCross, FittedMultiValued, FittedNumeric
from widedeep.features.hashed_columns import HASH, HashedColumn
from widedeep.features.plan import FeaturePlan, IndexColumn
from widedeep.features.vocabulary import SPILL_ENTRIES, ValueCounts

Values = dict[str, str | None]
"""Field → the text of its value, or the interval of its bucket; None where the value is missing."""
_ROW, _INDEX, _VALUES = "\0row", "\0index", "\0values"


@dataclass(frozen=True)
class Found:
    """What stands behind a known index."""

    values: Values
    """Of a hashed column the most frequent ones."""
    shared_by: int | None = None
    """Distinct values, or combinations, that share the index; None where the column is not hashed."""
    rows: int | None = None
    """Rows that hold `values` themselves, where others share their index."""


def planned_values(plan: FeaturePlan, column: IndexColumn, index: int) -> Values | None:
    """The values behind an index from FIRST on, if the plan holds them; of hashed columns and crosses it has but hashes."""
    field = plan.members()[column.fields[0]]
    if column.kind == "cross":
        return None
    if isinstance(field, FittedNumeric):
        return {field.name: field.interval(index - FIRST)}
    return None if field.buckets is not None else {field.name: field.vocabulary["value"][index - FIRST]}


def find_values(
    plan: FeaturePlan,
    wanted: Mapping[str, Iterable[int]],
    blocks: Iterable[pl.DataFrame],
    spill_dir: Path,
) -> dict[tuple[str, int], Found]:
    """(column, index) → its values, for the `wanted` indices of hashed columns and crosses, among typed rows.

    Reads no further than it must: a vocabulary's index is known with its first row, a hashed one's values are counted
    over all rows, in bounded memory (beyond it in `spill_dir`). What no row holds is left out.
    """
    columns = {column.name: column for column in plan.index_columns}
    open_indices = {name: set(indices) for name, indices in wanted.items() if name in columns}
    hashed = [(name, i) for name, indices in open_indices.items() if _is_hashed(plan, columns[name]) for i in indices]
    share = SPILL_ENTRIES // max(1, len(hashed))
    counts = {key: ValueCounts(pl.String(), spill_dir, spill_entries=share) for key in hashed}
    found: dict[tuple[str, int], Found] = {}
    for block in blocks:
        for name, indices in open_indices.items():
            for index, held in _behind(plan, columns[name], indices, block):
                if (name, index) in counts:
                    counts[name, index].add(held)
                else:
                    found[name, index] = Found(_decoded(plan, columns[name], held[0]))
        for name, index in found:
            open_indices[name].discard(index)
        if not any(open_indices.values()):
            break
    for (name, index), counted in counts.items():
        top = counted.result(min_count=1, max_size=1)
        if len(top):
            values = _decoded(plan, columns[name], top["value"][0])
            found[name, index] = Found(values, counted.distinct, int(top["count"][0]))
    return found


def values_of_hashes(
    plan: FeaturePlan, wanted: Mapping[HashedColumn, Set[int]], blocks: Iterable[pl.DataFrame]
) -> dict[HashedColumn, dict[int, Values]]:
    """The values behind the wanted hashes, read from the blocks until none is missing.

    A field's value stands under the name of its column's first field. Of values with one hash (a number's bucket has
    many) it is the first in the block that is shown.
    """
    found: dict[HashedColumn, dict[int, Values]] = {column: {} for column in wanted}
    for block in blocks:
        open_columns = [column for column in wanted if wanted[column] - found[column].keys()]
        if not open_columns:
            break
        for column in open_columns:
            found[column] |= _found_in(plan, column, wanted[column] - found[column].keys(), block)
    return found


def _found_in(plan: FeaturePlan, column: HashedColumn, hashes: Set[int], block: pl.DataFrame) -> dict[int, Values]:
    asked = pl.LazyFrame({HASH: sorted(hashes)}, schema={HASH: pl.UInt64})
    values = column.values(plan, block).join(asked, on=HASH, how="semi")
    rows = values.unique(HASH, keep="first", maintain_order=True).collect().rows(named=True)
    return {row.pop(HASH): row for row in rows}


def _is_hashed(plan: FeaturePlan, column: IndexColumn) -> bool:
    holders: list[FittedCategorical | FittedCross] = [*plan.vocabulary_fields, *plan.crosses]
    return any(holder.buckets is not None for holder in holders if holder.name == column.name)


def _behind(
    plan: FeaturePlan, column: IndexColumn, indices: set[int], frame: pl.DataFrame
) -> Iterator[tuple[int, pl.Series]]:
    """The rows' values as JSON texts, of each of `indices` that a row holds; a row's list tells each value once."""
    if not indices:
        return
    members = list(_members(plan, column).values())
    flat = frame.lazy().select(list({member.column: None for member in members})).with_row_index(_ROW)
    for member in members:
        if isinstance(member, FittedMultiValued):
            flat = flat.explode(member.column)
    values = pl.struct(_value(member).alias(member.name) for member in members).struct.json_encode()
    held = (
        _with_index(plan, column, members, flat)
        .filter(pl.col(_INDEX).is_in(sorted(indices)))
        .select(_ROW, _INDEX, values.alias(_VALUES))
        .unique(maintain_order=True)
        .collect()
    )
    for (index,), rows in held.partition_by(_INDEX, as_dict=True, maintain_order=True).items():
        yield int(index), rows[_VALUES]


def _with_index(
    plan: FeaturePlan, column: IndexColumn, members: Sequence[FittedNumeric | FittedCategorical], flat: pl.LazyFrame
) -> pl.LazyFrame:
    for cross in plan.crosses:
        if cross.name == column.name:
            hashes = [member.member_hash().alias(cross.hash_columns[member.name]) for member in members]
            return flat.with_columns(hashes).with_columns(cross.index().alias(_INDEX))
    (field,) = members
    assert isinstance(field, FittedCategorical)
    return flat.with_columns(field.index().alias(_INDEX))


def _members(plan: FeaturePlan, column: IndexColumn) -> dict[str, FittedNumeric | FittedCategorical]:
    for cross in plan.crosses:
        if cross.name == column.name:
            return plan.cross_members(cross)
    return {name: plan.members()[name] for name in column.fields}


def _value(member: FittedNumeric | FittedCategorical) -> pl.Expr:
    return member.bucket() if isinstance(member, FittedNumeric) else pl.col(member.column)


def _decoded(plan: FeaturePlan, column: IndexColumn, text: str) -> Values:
    values = json.loads(text)
    for name, member in _members(plan, column).items():
        if isinstance(member, FittedNumeric) and values[name] is not None:
            values[name] = member.interval(values[name])
    return {name: values[name] for name in column.fields}
