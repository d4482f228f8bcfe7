"""From an index or a hash back to its values: read from the plan if it holds them, else found in typed rows."""

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
"""Field → the text of its value, or the interval of its bucket; None for a missing value."""
_ROW, _INDEX, _VALUES = "\0row", "\0index", "\0values"


@dataclass(frozen=True)
class Found:
    """The values that an index stands for."""

    values: Values
    """In a hashed column the most frequent values."""
    shared_by: int | None = None
    """Number of distinct values, or combinations, that share the index; None if the column is not hashed."""
    rows: int | None = None
    """Rows that hold `values`; None if the column is not hashed."""


def planned_values(plan: FeaturePlan, column: IndexColumn, index: int) -> Values | None:
    """The values of an index from FIRST on; None for hashed fields and crosses, of which the plan holds only hashes."""
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
    """(column, index) → its values, searched in typed rows for the `wanted` indices of hashed columns and crosses.

    Reading stops when all are found. An index of a vocabulary is found in the first row that holds it. The values of a
    hashed index are counted over all rows, in bounded memory, the rest in `spill_dir`. An index that no row holds is
    left out.
    """
    columns = {column.name: column for column in plan.index_columns}
    open_indices = {name: set(indices) for name, indices in wanted.items() if name in columns}
    hashed = [(name, i) for name, indices in open_indices.items() if _is_hashed(plan, columns[name]) for i in indices]
    share = SPILL_ENTRIES // max(1, len(hashed))
    counts = {key: ValueCounts(pl.String(), spill_dir, spill_entries=share) for key in hashed}
    found: dict[tuple[str, int], Found] = {}
    for block in blocks:
        for name, indices in open_indices.items():
            for index, texts in _values_by_index(plan, columns[name], indices, block):
                if (name, index) in counts:
                    counts[name, index].add(texts)
                else:
                    found[name, index] = Found(_decoded(plan, columns[name], texts[0]))
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
    """Hash → its values, for the wanted hashes of each column. Blocks are read until all are found.

    The key of a field's value is the name of its column's first field. Several values can have one hash (the numbers of
    a bucket do): the first in the block is taken.
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
    wanted = pl.LazyFrame({HASH: sorted(hashes)}, schema={HASH: pl.UInt64})
    values = column.values(plan, block).join(wanted, on=HASH, how="semi")
    rows = values.unique(HASH, keep="first", maintain_order=True).collect().rows(named=True)
    return {row.pop(HASH): row for row in rows}


def _is_hashed(plan: FeaturePlan, column: IndexColumn) -> bool:
    fitted: list[FittedCategorical | FittedCross] = [*plan.vocabulary_fields, *plan.crosses]
    return any(entry.buckets is not None for entry in fitted if entry.name == column.name)


def _values_by_index(
    plan: FeaturePlan, column: IndexColumn, indices: set[int], frame: pl.DataFrame
) -> Iterator[tuple[int, pl.Series]]:
    """(index, values of the rows that hold it, as JSON texts) for `indices`. A value counts once per row."""
    if not indices:
        return
    members = list(_members(plan, column).values())
    flat = frame.lazy().select(list({member.column: None for member in members})).with_row_index(_ROW)
    for member in members:
        if isinstance(member, FittedMultiValued):
            flat = flat.explode(member.column)
    values = pl.struct(_value(member).alias(member.name) for member in members).struct.json_encode()
    matches = (
        _with_index(plan, column, members, flat)
        .filter(pl.col(_INDEX).is_in(sorted(indices)))
        .select(_ROW, _INDEX, values.alias(_VALUES))
        .unique(maintain_order=True)
        .collect()
    )
    for (index,), rows in matches.partition_by(_INDEX, as_dict=True, maintain_order=True).items():
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
