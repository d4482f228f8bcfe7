"""The fields that may be crossed, as codes of the train rows: read column by column, or a sample of many rows."""

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
from widedeep.table.typed_columns import LABEL, TIME, WEIGHT, text_name, values_name

GRANULARITIES = (8, 4, 16, 32)
"""Numbers of quantile buckets that numbers are cut into for crosses; pairs are screened with the first."""
MOST_CODES = 100_000_000
"""Rows times fields that are held, at four bytes and about three copies. Of a larger table, rows are sampled."""
PROOF_SHARE = 1 / 3
"""Share of the rows that crosses are proved on; they take no part in the choice."""
_SAMPLE_SEED, _PART_SEED = 0x73616D70, 0x70617274  # "samp" and "part" in ASCII

Codes = NDArray[np.int32]


@dataclass(frozen=True)
class CrossField:
    """One field of N rows. The code of a value that occurs once is negative: its combinations occur once, too."""

    name: str
    codes: Codes | Lists
    """[N], or the lists of N rows."""
    size: int
    """Codes are below this number."""
    cuts: tuple[tuple[int, Codes], ...] = ()
    """For numbers: each granularity, and the bucket of each code at that granularity, [size]."""
    buckets: int | None = None
    """For numbers: the number of the field's own buckets, if the recipe sets it."""

    def at(self, granularity: int | None) -> "CrossField":
        """A numeric field cut into this many buckets; any other field as it is."""
        if granularity is None or not self.cuts:
            return self
        assert not isinstance(self.codes, Lists), "lists have no numbers"
        buckets = dict(self.cuts)[granularity]
        return CrossField(self.name, buckets[self.codes], int(buckets.max()) + 1)

    @property
    def first_granularity(self) -> int | None:
        """For a number, the granularity that pairs are screened with."""
        return self.cuts[0][0] if self.cuts else None

    def gather(self, rows: NDArray[np.int64]) -> "CrossField":
        """The rows with these numbers, in this order."""
        return replace(self, codes=self.codes.gather(rows) if isinstance(self.codes, Lists) else self.codes[rows])

    def column(self) -> Column:
        """The field as a column of main effects."""
        return _column(self.codes, self.size)


@dataclass(frozen=True)
class TrainRows:
    """The rows that discovery reads, which are train rows only."""

    fields: tuple[CrossField, ...]
    target: Target
    proof: NDArray[np.bool_]
    """[N]: whether a row belongs to the proof and takes no part in the choice."""
    by_time: bool
    """Whether the rows of the proof are later than the others; else they are drawn at random."""
    train_rows: int
    """Number of train rows before any are left out."""
    rows: NDArray[np.int64] | None
    """[N]: the rows' numbers in the typed table; None if no row is left out."""

    @property
    def num_rows(self) -> int:
        """N."""
        return len(self.proof)

    def gather(self, rows: NDArray[np.int64]) -> "TrainRows":
        """The rows with these numbers, in this order."""
        return replace(
            self,
            fields=tuple(field.gather(rows) for field in self.fields),
            target=self.target.gather(rows),
            proof=self.proof[rows],
            rows=rows if self.rows is None else self.rows[rows],
        )

    @cached_property
    def by_name(self) -> dict[str, CrossField]:
        """Name → field, in order."""
        return {field.name: field for field in self.fields}


def read_train_rows(recipe: Recipe, typed_dir: Path) -> TrainRows:
    """The train rows of a typed table whose weight is not 0, or a sample of them if they are many."""
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
        # Rows of weight 0 tell nothing, and a part that has only such rows would have no mean.
        (positive,) = np.nonzero(weight)
        rows, weight = positive if rows is None else rows[positive], weight[positive]
    label = read(LABEL).to_numpy()
    proof = _later(read(TIME).to_numpy()) if TIME in names else np.zeros(len(label), dtype=np.bool_)
    # No row is later than the others if all times are equal, or those of many last rows.
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
        # A missing list holds a missing value, as in the encoding.
        lists = read(values_name(listed, features))
        lengths = np.maximum(lists.list.len().fill_null(1).to_numpy().astype(np.int64), 1)
        codes, size = _frequent_codes(lists.explode(), keep_missing=True)
        yield CrossField(listed.name or listed.column, Lists(codes, lengths), size)
    for number in features.all_numeric():
        name = number.name or number.column
        known = [cross.granularity[name] for cross in recipe.crosses if name in cross.granularity]
        yield _number(number, read(number.column), known)


def _frequent_codes(values: pl.Series, *, keep_missing: bool) -> tuple[Codes, int]:
    """Codes of the values that occur at least twice, by falling count, then by value; -1 for the others."""
    frame = values.to_frame("value")  # whatever the column is called
    counted = frame.group_by("value").len().filter(pl.col("len") > 1)
    if not keep_missing:
        counted = counted.drop_nulls("value")
    ranked = counted.sort(["len", "value"], descending=[True, False]).with_row_index("code")
    ranked = ranked.select("value", pl.col("code").cast(pl.Int32))
    joined = frame.join(ranked, on="value", how="left", nulls_equal=keep_missing, maintain_order="left")
    return joined["code"].fill_null(-1).to_numpy(writable=True), max(1, len(ranked))


def _number(field: NumericField, values: pl.Series, known: Sequence[int]) -> CrossField:
    """A numeric field; `known` are the granularities that the recipe's crosses use."""
    numbers = values.to_frame().select(clipped(pl.col(values.name), field.clip)).to_series()
    grid = QuantileGrid()
    grid.add(np.ascontiguousarray(numbers.drop_nulls().to_numpy()))
    granularities = dict.fromkeys([*GRANULARITIES, *([field.buckets] if field.buckets else []), *known])
    cuts = {granularity: np.array(grid.bucket_cuts(granularity)) for granularity in granularities}
    finest = np.unique(np.concatenate(list(cuts.values())))
    codes = np.searchsorted(finest, numbers.fill_null(0.0).to_numpy(), side="right").astype(np.int32)
    missing = len(finest) + 1
    codes[numbers.is_null().to_numpy()] = missing
    # `finest` holds the cut points of all granularities, so each of its buckets is inside one bucket of each
    # granularity.
    edges = np.concatenate([[-np.inf], finest])
    coarser = []
    for granularity, points in cuts.items():
        buckets = np.append(np.searchsorted(points, edges, side="right"), len(points) + 1).astype(np.int32)
        coarser.append((granularity, buckets))
    return CrossField(field.name or field.column, codes, missing + 1, cuts=tuple(coarser), buckets=field.buckets)


def cell_codes(fields: Sequence[CrossField]) -> tuple[Codes | Lists, int]:
    """Exact codes of the combinations of the fields' values, and the number of codes.

    The codes are [N], or lists of N rows if a field has lists. A code is -1 if the combination, or a member's value,
    occurs once.
    """
    rows, members = expanded(fields)
    key = np.zeros(len(members[0]), dtype=np.int64)
    frequent = np.ones(len(key), dtype=np.bool_)
    for field, codes in zip(fields, members, strict=True):
        # Numbering the combinations so far anew keeps keys below 2^62, because sizes are below 2^31.
        if len(members) > 2:
            _, key = np.unique(key, return_inverse=True)
        frequent &= codes >= 0
        key = key * field.size + codes
    key[~frequent] = -1
    codes, size = _frequent_codes(pl.Series("key", key).set(pl.Series(~frequent), None), keep_missing=False)
    if rows is None:
        return codes, size
    return Lists(codes, np.bincount(rows, minlength=_num_rows(fields[0])).astype(np.int64)), size


def cross_column(members: Sequence[CrossField]) -> Column:
    """The combinations of the members' values as a column with exact codes."""
    return _column(*cell_codes(members))


def _column(codes: Codes | Lists, size: int) -> Column:
    return ListColumn([codes], size) if isinstance(codes, Lists) else CodeColumn([codes], size)


def count_combinations(chunk: NDArray[Any] | Lists) -> tuple[int, int]:
    """The number of combinations in a chunk of a cross column, and of those that occur once.

    A row has one combination, or several with lists.
    """
    codes = chunk.values if isinstance(chunk, Lists) else chunk
    return len(codes), int((codes < 0).sum())


def expanded(fields: Sequence[CrossField]) -> tuple[NDArray[np.int64] | None, list[Codes]]:
    """All combinations of the rows' values: the row of each combination, and each field's codes in it.

    The rows are None if no field has lists, so that combination i is that of row i.
    """
    single = [field.codes for field in fields if not isinstance(field.codes, Lists)]
    if len(single) == len(fields):
        return None, single
    rows = np.arange(_num_rows(fields[0]), dtype=np.int64)
    members: list[Codes] = []
    for field in fields:
        if isinstance(field.codes, Lists):
            lists = field.codes.gather(rows)
            members = [np.repeat(codes, lists.lengths) for codes in members] + [lists.values]
            rows = np.repeat(rows, lists.lengths)
        else:
            members.append(field.codes[rows])
    return rows, members


def _num_rows(field: CrossField) -> int:
    return len(field.codes.lengths if isinstance(field.codes, Lists) else field.codes)
