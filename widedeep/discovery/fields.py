"""The fields that may stand in a cross, as codes of the train rows: read column by column, sampled where there are many."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.draws import random_draws
from widedeep.features.fields import clipped
from widedeep.features.quantiles import QuantileGrid
from widedeep.lists import Lists
from widedeep.memory.additive import Target
from widedeep.memory.columns import CodeColumn, Column, ListColumn
from widedeep.recipe.schema import NumericField, Recipe
from widedeep.table.parts import read_typed, typed_blocks, typed_names
from widedeep.table.typed import LABEL, TIME, WEIGHT, text_name, values_name

GRANULARITIES = (8, 4, 16, 32)
"""Quantile buckets that numbers are cut into for crosses; the first is what pairs are screened with."""
MOST_CODES = 100_000_000
"""Rows times fields that are held, at four bytes and about three copies; the rows of a larger table are sampled."""
PROOF_SHARE = 1 / 3
"""Of the rows: what takes no part in the choice."""
_SAMPLE_SEED, _PART_SEED = 0x73616D70, 0x70617274  # "samp" and "part" in ASCII

Codes = NDArray[np.int32]


@dataclass(frozen=True)
class CrossField:
    """One field, N rows. A code is negative where the value occurs once: its combinations occur once, too."""

    name: str
    codes: Codes | Lists
    """[N], or the lists of N rows."""
    size: int
    """Codes are below it."""
    cuts: tuple[tuple[int, Codes], ...] = ()
    """Of numbers: each granularity, and the bucket there of each code, [size]."""
    buckets: int | None = None
    """Of numbers: the granularity of the field's own buckets, if the recipe cuts it."""

    def at(self, granularity: int | None) -> "CrossField":
        """A number cut into so many buckets; any other field as it is."""
        if granularity is None or not self.cuts:
            return self
        assert not isinstance(self.codes, Lists), "lists have no numbers"
        buckets = dict(self.cuts)[granularity]
        return CrossField(self.name, buckets[self.codes], int(buckets.max()) + 1)

    @property
    def first_granularity(self) -> int | None:
        """Of a number: what pairs are screened with."""
        return self.cuts[0][0] if self.cuts else None

    def taken(self, rows: NDArray[np.int64]) -> "CrossField":
        """The rows with these numbers, in this order."""
        return replace(self, codes=self.codes.gather(rows) if isinstance(self.codes, Lists) else self.codes[rows])

    def column(self) -> Column:
        """The field as a column of main effects."""
        return _column(self.codes, self.size)


@dataclass(frozen=True)
class TrainRows:
    """What discovery sees: train rows only."""

    fields: tuple[CrossField, ...]
    target: Target
    proof: NDArray[np.bool_]
    """[N]: the rows that take no part in the choice, later ones where the recipe has time."""
    by_time: bool
    train_rows: int
    """Rows before any are left out."""
    rows: NDArray[np.int64] | None
    """[N] places in the typed table, where some of its rows are left out."""

    @property
    def num_rows(self) -> int:
        """N."""
        return len(self.proof)

    @cached_property
    def by_name(self) -> dict[str, CrossField]:
        """Name → field, in order."""
        return {field.name: field for field in self.fields}


def read_train_rows(recipe: Recipe, typed_dir: Path) -> TrainRows:
    """The train rows of a typed table that have a weight; a sample where they are many."""
    names = typed_names(typed_dir, "train")
    total = sum(block.height for block in typed_blocks(typed_dir, "train", columns=[LABEL]))
    features, rows = recipe.features, None
    num_fields = len(features.all_fields())
    share = MOST_CODES / max(1, total * num_fields)
    if share < 1.0:
        rows = np.flatnonzero(random_draws(_SAMPLE_SEED, 0, total) < share)

    def read(name: str) -> pl.Series:
        series = read_typed(typed_dir, "train", [name])[name]
        return series if rows is None else series.gather(rows)

    weight = read(WEIGHT).to_numpy() if WEIGHT in names else None
    if weight is not None and not weight.all():
        # Rows of no weight count for nothing; a part of none but them would have no mean.
        (held,) = np.nonzero(weight)
        rows, weight = held if rows is None else rows[held], weight[held]
    label = read(LABEL).to_numpy()
    proof = _later(read(TIME).to_numpy()) if TIME in names else np.zeros(len(label), dtype=np.bool_)
    # No row is later than the others where all times, or the last ones of many rows, are equal.
    by_time = bool(proof.any())
    if not by_time:
        proof = random_draws(_PART_SEED, 0, len(label)) < PROOF_SHARE
    return TrainRows(
        fields=tuple(_fields(recipe, read)),
        target=Target(recipe.data.label.kind, label, weight),
        proof=proof,
        by_time=by_time,
        train_rows=total,
        rows=rows,
    )


def _later(times: NDArray[np.float64]) -> NDArray[np.bool_]:
    late: NDArray[np.bool_] = times > np.quantile(times, 1.0 - PROOF_SHARE, method="lower")
    return late


def _fields(recipe: Recipe, read: Any) -> Iterator[CrossField]:
    features = recipe.features
    for categorical in features.all_categorical():
        codes, size = _frequent_codes(read(text_name(categorical.column, features)), keep_missing=True)
        yield CrossField(categorical.name or categorical.column, codes, size)
    for listed in features.multi_valued:
        # A missing list holds the missing value alone, as it is encoded.
        lists = read(values_name(listed))
        lengths = np.maximum(lists.list.len().fill_null(1).to_numpy().astype(np.int64), 1)
        codes, size = _frequent_codes(lists.explode(), keep_missing=True)
        yield CrossField(listed.name or listed.column, Lists(codes, lengths), size)
    for number in features.all_numeric():
        name = number.name or number.column
        known = [cross.granularity[name] for cross in recipe.crosses if name in cross.granularity]
        yield _number(number, read(number.column), known)


def _frequent_codes(values: pl.Series, *, keep_missing: bool) -> tuple[Codes, int]:
    """Codes by falling count (then by value) of the values seen twice at least, -1 for the others."""
    name = values.name
    counted = values.to_frame().group_by(name).len().filter(pl.col("len") > 1)
    if not keep_missing:
        counted = counted.drop_nulls(name)
    ranked = counted.sort(["len", name], descending=[True, False]).with_row_index("code")
    ranked = ranked.select(name, pl.col("code").cast(pl.Int32))
    joined = values.to_frame().join(ranked, on=name, how="left", nulls_equal=keep_missing, maintain_order="left")
    return joined["code"].fill_null(-1).to_numpy(writable=True), max(1, len(ranked))


def _number(field: NumericField, values: pl.Series, known: Sequence[int]) -> CrossField:
    """`known`: granularities that crosses of the recipe have."""
    clip = field.clip
    kept = values.to_frame().select(clipped(pl.col(values.name), clip)).to_series()
    grid = QuantileGrid()
    grid.add(np.ascontiguousarray(kept.drop_nulls().to_numpy()))
    granularities = dict.fromkeys([*GRANULARITIES, *([field.buckets] if field.buckets else []), *known])
    cuts = {granularity: np.array(grid.bucket_cuts(granularity)) for granularity in granularities}
    finest = np.unique(np.concatenate(list(cuts.values())))
    numbers = kept.fill_null(0.0).to_numpy()
    codes = np.searchsorted(finest, numbers, side="right").astype(np.int32)
    missing = len(finest) + 1
    codes[kept.is_null().to_numpy()] = missing
    # Every granularity's cut points are among the finest ones, so that a finest bucket lies in one bucket of each.
    edges = np.concatenate([[-np.inf], finest])
    coarser = []
    for granularity, points in cuts.items():
        buckets = np.append(np.searchsorted(points, edges, side="right"), len(points) + 1).astype(np.int32)
        coarser.append((granularity, buckets))
    return CrossField(field.name or field.column, codes, missing + 1, cuts=tuple(coarser), buckets=field.buckets)


def cell_codes(fields: Sequence[CrossField]) -> tuple[Codes | Lists, int]:
    """Exact codes of the combinations of the fields' values: [N], or N rows' lists where a field has lists; and their number.

    -1 where a member's value occurs once, or the combination does.
    """
    rows, members = expanded(fields)
    key = np.zeros(len(members[0]), dtype=np.int64)
    alive = np.ones(len(key), dtype=np.bool_)
    for field, codes in zip(fields, members, strict=True):
        # Kept below 2^62 by numbering the combinations so far anew; sizes are below 2^31.
        if len(members) > 2:
            _, key = np.unique(key, return_inverse=True)
        alive &= codes >= 0
        key = key * field.size + codes
    key[~alive] = -1
    codes, size = _frequent_codes(pl.Series("key", key).set(pl.Series(~alive), None), keep_missing=False)
    if rows is None:
        return codes, size
    return Lists(codes, np.bincount(rows, minlength=_num_rows(fields[0])).astype(np.int64)), size


def cross_column(members: Sequence[CrossField]) -> Column:
    """The combinations of the members' values as a column with exact codes."""
    return _column(*cell_codes(members))


def _column(codes: Codes | Lists, size: int) -> Column:
    return ListColumn([codes], size) if isinstance(codes, Lists) else CodeColumn([codes], size)


def places(column: Column, rows: NDArray[np.bool_]) -> tuple[int, int]:
    """The combinations that some of a cross column's rows [N] hold, one a row but for lists; and those that occur once."""
    (chunk,) = column.chunks
    if isinstance(chunk, Lists):
        held = np.repeat(rows, chunk.lengths)
        return int(held.sum()), int((chunk.values[held] < 0).sum())
    return int(rows.sum()), int((chunk[rows] < 0).sum())


def expanded(fields: Sequence[CrossField]) -> tuple[NDArray[np.int64] | None, list[Codes]]:
    """A place for every combination of a row's values: its row (None where that is its number), the fields' codes."""
    plain = [field.codes for field in fields if not isinstance(field.codes, Lists)]
    if len(plain) == len(fields):
        return None, plain
    rows = np.arange(_num_rows(fields[0]), dtype=np.int64)
    done: list[Codes] = []
    for field in fields:
        if isinstance(field.codes, Lists):
            lists = field.codes.gather(rows)
            done = [np.repeat(codes, lists.lengths) for codes in done] + [lists.values]
            rows = np.repeat(rows, lists.lengths)
        else:
            done.append(field.codes[rows])
    return rows, done


def _num_rows(field: CrossField) -> int:
    return len(field.codes.lengths if isinstance(field.codes, Lists) else field.codes)
