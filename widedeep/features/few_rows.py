"""Encodes few rows without a Polars query, which takes milliseconds to set up: a dictionary for every vocabulary.

The result is that of `FeaturePlan.encode` (one contract test holds both), which is quicker for many rows.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from xxhash import xxh64_intdigest

from widedeep.features.crosses import MISSING_MEMBER, mixed_members
from widedeep.features.fields import (
    FIRST,
    LARGEST,
    MISSING,
    UNKNOWN,
    FittedCategorical,
    FittedCross,
    FittedNumeric,
)
from widedeep.features.plan import FeaturePlan, IndexColumn, UnseenCounts
from widedeep.features.value_hash import CROSS_SEED
from widedeep.lists import Lists
from widedeep.memo import Memo

MOST_VALUES = 4_000_000
"""Dictionaries of more values than this, of all vocabularies together, would take gigabytes of memory."""

TypedValues = Mapping[str, Sequence[Any]]
"""Typed column → a Python value for each row: float, str, list of str, or None."""


@dataclass(frozen=True)
class EncodedRows:
    """Rows as the model reads them."""

    indices: NDArray[np.int32]
    """[F, B]"""
    numerics: NDArray[np.float32]
    """[D, B]"""
    lists: list[Lists]
    """One for each column of lists."""


class RowEncoder:
    """Encodes few typed rows at a time; keeps a dictionary of every vocabulary."""

    def __init__(
        self,
        plan: FeaturePlan,
        index_columns: Sequence[IndexColumn],
        numeric_columns: Sequence[str],
        list_columns: Sequence[IndexColumn],
    ) -> None:
        """The columns are those to make, in the order in which they are to stand."""
        self._index_columns, self._list_columns = index_columns, list_columns
        self._numeric_columns = list(numeric_columns)
        self._numbers = _Numbers(plan.numerics)
        fields = {field.name: field for field in plan.vocabulary_fields}
        made = {column.name for column in (*index_columns, *list_columns)}
        self._indices = {name: _index_of(field) for name, field in fields.items() if name in made}
        self._column_of = {name: field.column for name, field in fields.items()}
        self._list_fields = {field.name: field for field in plan.multi_valued}
        self._text_hashes: Memo[str | None, int] = Memo(_member_hash)
        crosses = [cross for cross in plan.crosses if cross.name in made]
        self._crosses = _by_width(cross for cross in crosses if not plan.list_members(cross))
        self._list_crosses = {
            cross.name: (cross, plan.list_members(cross), _rank_of(cross))
            for cross in crosses
            if plan.list_members(cross)
        }
        self._bucket_hashes = self._numbers.bucket_hashes(crosses)
        self._single_members = {name for cross in crosses for name in cross.fields if name not in self._list_fields}
        self._list_members = {name for cross in crosses for name in cross.fields if name in self._list_fields}
        self._categorical_rows = [
            (place, column.name) for place, column in enumerate(index_columns) if column.kind == "categorical"
        ]

    @classmethod
    def of(
        cls,
        plan: FeaturePlan,
        index_columns: Sequence[IndexColumn],
        numeric_columns: Sequence[str],
        list_columns: Sequence[IndexColumn],
    ) -> "RowEncoder | None":
        """The encoder, or None for a plan whose vocabularies are too large for dictionaries."""
        num_values = sum(len(field.vocabulary) for field in plan.vocabulary_fields)
        num_values += sum(len(cross.vocabulary) for cross in plan.crosses)
        return cls(plan, index_columns, numeric_columns, list_columns) if num_values <= MOST_VALUES else None

    def encode(self, typed: TypedValues, num_rows: int) -> EncodedRows | None:
        """The encoded rows; None for a number that is not finite, which typing lets nobody have.

        Raises UnicodeEncodeError for a text that holds half a character.
        """
        numbers = self._numbers.read(typed, num_rows)
        if numbers is None:
            return None
        indices = np.empty((len(self._index_columns), num_rows), dtype=np.int32)
        hashes: dict[tuple[str, tuple[float, ...] | None], NDArray[np.uint64]] = {}
        for name in self._single_members:
            if name in self._column_of:
                values = typed[self._column_of[name]]
                hashes[name, None] = np.fromiter(map(self._text_hashes.__getitem__, values), np.uint64, num_rows)
        for (name, cuts), (table, points) in self._bucket_hashes.items():
            hashes[name, cuts] = table[self._numbers.buckets(numbers, name, points)]
        crossed = self._crossed(hashes, num_rows)
        for place, column in enumerate(self._index_columns):
            if column.kind == "categorical":
                values = typed[self._column_of[column.name]]
                indices[place] = np.fromiter(map(self._indices[column.name].__getitem__, values), np.int32, num_rows)
            elif column.kind == "bucketed":
                indices[place] = self._numbers.bucket_indices(numbers, column.fields[0])
            else:
                indices[place] = crossed[column.name]
        return EncodedRows(indices, self._numbers.scaled(numbers, self._numeric_columns), self._lists(typed, hashes))

    def count_unseen(self, typed: TypedValues, encoded: EncodedRows) -> UnseenCounts:
        """What `FeaturePlan.count_unseen` counts, of the same rows."""
        missing, unseen = (np.count_nonzero(encoded.indices == odd, axis=1).tolist() for odd in (MISSING, UNKNOWN))
        counts = {name: {"missing": missing[place], "unseen": unseen[place]} for place, name in self._categorical_rows}
        for name, column in self._numbers.columns.items():
            counts[name] = {"missing": typed[column].count(None), "unseen": 0}
        for made, lists in zip(self._list_columns, encoded.lists, strict=True):
            if made.kind == "categorical":
                of_values = np.flatnonzero(lists.values == UNKNOWN)
                rows = lists.row_of_values()[of_values].tolist() if len(of_values) else []
                of_field = {"missing": typed[self._column_of[made.name]].count(None), "unseen": len(set(rows))}
                counts[made.name] = of_field
        return counts

    def frame(self, encoded: EncodedRows) -> pl.DataFrame:
        """The encoded rows as `FeaturePlan.encode` gives them."""
        columns = [
            *(pl.Series(made.name, encoded.indices[place]) for place, made in enumerate(self._index_columns)),
            *(pl.Series(name, encoded.numerics[place]) for place, name in enumerate(self._numeric_columns)),
        ]
        for made, lists in zip(self._list_columns, encoded.lists, strict=True):
            columns.append(_packed(made.name, lists.values, lists, pl.Int32()))
            if made.weights is not None:
                assert lists.weights is not None
                columns.append(_packed(made.weights, lists.weights, lists, pl.Float32()))
        return pl.DataFrame(columns)

    def _crossed(
        self, hashes: Mapping[tuple[str, tuple[float, ...] | None], NDArray[np.uint64]], num_rows: int
    ) -> dict[str, NDArray[Any]]:
        """Cross → its indices, of crosses without lists. Crosses of equally many members are mixed at once."""
        crossed: dict[str, NDArray[Any]] = {}
        for width, crosses in self._crosses.items():
            members = np.empty((width, len(crosses), num_rows), dtype=np.uint64)
            for place, (cross, _) in enumerate(crosses):
                for number, name in enumerate(cross.fields):
                    members[number, place] = hashes[name, cross.cuts.get(name)]
            mixes = mixed_members(list(members))
            for place, (cross, ranks) in enumerate(crosses):
                crossed[cross.name] = _cross_indices(cross, ranks, mixes[place])
        return crossed

    def _lists(
        self, typed: TypedValues, hashes: Mapping[tuple[str, tuple[float, ...] | None], NDArray[np.uint64]]
    ) -> list[Lists]:
        flat = {
            name: _Flat.of(typed, self._list_fields[name].column, self._list_fields[name].weights)
            for name in {*self._list_members, *(c.name for c in self._list_columns if c.kind == "categorical")}
        }
        made = []
        for column in self._list_columns:
            if column.kind == "categorical":
                values = flat[column.name].values
                indices = np.fromiter(map(self._indices[column.name].__getitem__, values), np.int32, len(values))
                made.append(Lists(indices, flat[column.name].lengths, flat[column.name].weights))
                continue
            cross, fields, ranks = self._list_crosses[column.name]
            rows, places = _combinations([flat[field.name] for field in fields])
            members, weights = [], None
            for name in cross.fields:
                if name in flat:
                    of_values = flat[name].hashes(self._text_hashes)
                    members.append(of_values[places[[field.name for field in fields].index(name)]])
                else:
                    members.append(hashes[name, cross.cuts.get(name)][rows])
            for field, at in zip(fields, places, strict=True):
                of_field = flat[field.name].weights
                if of_field is not None:
                    weights = of_field[at] if weights is None else weights * of_field[at]
            lengths = np.bincount(rows, minlength=len(flat[fields[0].name].lengths)).astype(np.int64)
            made.append(Lists(_cross_indices(cross, ranks, mixed_members(members)), lengths, weights))
        return made


class _Numbers:
    """All numeric fields at once: a few operations on a matrix for the scaling of all."""

    def __init__(self, numerics: Sequence[FittedNumeric]) -> None:
        self.columns = {number.name: number.column for number in numerics}
        self._numerics = numerics
        self._place = {number.name: place for place, number in enumerate(numerics)}
        self._cuts = [np.array(number.cuts, dtype=np.float64) for number in numerics]
        self._bucket_cuts = {
            number.name: np.array(number.bucket_cuts, dtype=np.float64)
            for number in numerics
            if number.bucket_cuts is not None
        }
        clips = [number.clip or (None, None) for number in numerics]
        self._low = _column([-math.inf if low is None else low for low, _ in clips])
        self._high = _column([math.inf if high is None else high for _, high in clips])
        self._is_clipped = any(number.clip is not None for number in numerics)
        plain = [number.transform in ("cdf", "none") for number in numerics]
        self._mean = _column([0.0 if is_plain else n.mean for n, is_plain in zip(numerics, plain, strict=True)])
        divisors = [max(1, len(n.cuts)) if n.transform == "cdf" else n.scale for n in numerics]
        self._scale = _column([1.0 if n.transform == "none" else by for n, by in zip(numerics, divisors, strict=True)])
        self._fill = _column([0.5 if number.transform in ("cdf", "minmax") else 0.0 for number in numerics])
        self._minmax = [place for place, number in enumerate(numerics) if number.transform == "minmax"]
        self._is_scaled = not all(plain)

    def read(self, typed: TypedValues, num_rows: int) -> NDArray[np.float64] | None:
        """The clipped numbers, NaN where there is none; None if one is not finite."""
        columns = [typed[number.column] for number in self._numerics]
        values = np.array(columns, dtype=np.float64).reshape(len(columns), num_rows)
        if np.count_nonzero(~np.isfinite(values)) != sum(column.count(None) for column in columns):
            return None
        return np.clip(values, self._low, self._high) if self._is_clipped else values

    def buckets(self, values: NDArray[np.float64], name: str, cuts: NDArray[np.float64]) -> NDArray[np.int64]:
        """The bucket number of each row, and the number of buckets where there is no number."""
        of_field = values[self._place[name]]
        buckets = np.searchsorted(cuts, of_field, side="right")
        return np.where(np.isnan(of_field), len(cuts) + 1, buckets)

    def bucket_indices(self, values: NDArray[np.float64], name: str) -> NDArray[np.int64]:
        cuts = self._bucket_cuts[name]
        buckets = self.buckets(values, name, cuts)
        return np.where(buckets > len(cuts), MISSING, buckets + FIRST)

    def bucket_hashes(
        self, crosses: Iterable[FittedCross]
    ) -> dict[tuple[str, tuple[float, ...] | None], tuple[NDArray[np.uint64], NDArray[np.float64]]]:
        """(Field, cut points of its own) → the hash of each bucket and of a missing number, and the cut points."""
        made = {}
        for cross in crosses:
            for name in cross.fields:
                if name in self._place:
                    own = cross.cuts.get(name)
                    cuts = self._bucket_cuts[name] if own is None else np.array(own, dtype=np.float64)
                    hashes = [_member_hash(str(bucket)) for bucket in range(len(cuts) + 1)]
                    made[name, own] = np.array([*hashes, MISSING_MEMBER], dtype=np.uint64), cuts
        return made

    def scaled(self, values: NDArray[np.float64], columns: Sequence[str]) -> NDArray[np.float32]:
        """The scaled numbers and missing flags, [columns, rows]."""
        missing = np.isnan(values)
        scaled = values.copy()
        for place, number in enumerate(self._numerics):
            if number.transform == "cdf":
                scaled[place] = self._cuts[place].searchsorted(values[place], "right")
            elif number.transform == "log1p":
                # The C library's, as Polars takes: NumPy's own differs in the last bit.
                logarithms = [math.copysign(math.log1p(abs(value)), value) for value in values[place].tolist()]
                scaled[place] = logarithms
        with np.errstate(all="ignore"):  # of numbers past float64, which are clipped below
            if self._is_scaled:
                scaled -= self._mean
            scaled /= self._scale
        for place in self._minmax:
            scaled[place] = np.clip(scaled[place], 0.0, 1.0)
        scaled = np.minimum(np.maximum(np.where(missing, self._fill, scaled), -LARGEST), LARGEST)
        if len(columns) == len(self._numerics):  # no flags
            return scaled.astype(np.float32)
        made: list[NDArray[Any]] = []
        for place, number in enumerate(self._numerics):
            made.append(scaled[place])
            if number.flagged:
                made.append(missing[place])
        return np.array(made, dtype=np.float32).reshape(len(made), values.shape[1])


@dataclass(frozen=True)
class _Flat:
    """The values of a field's lists, one row after the other; None stands for a missing list and a missing value."""

    values: list[str | None]
    lengths: NDArray[np.int64]
    weights: NDArray[np.float32] | None

    @classmethod
    def of(cls, typed: TypedValues, column: str, weights: str | None) -> "_Flat":
        lists = [values or (None,) for values in typed[column]]
        lengths = np.fromiter(map(len, lists), np.int64, len(lists))
        of_values = None
        if weights is not None:
            pairs = zip(lists, typed[weights], strict=True)
            flat = chain.from_iterable(weights or [None] * len(values) for values, weights in pairs)
            of_values = np.array([1.0 if weight is None else weight for weight in flat], dtype=np.float32)
        return cls(list(chain.from_iterable(lists)), lengths, of_values)

    def hashes(self, hash_of: Memo[str | None, int]) -> NDArray[np.uint64]:
        return np.fromiter(map(hash_of.__getitem__, self.values), np.uint64, len(self.values))


def _combinations(lists: Sequence[_Flat]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """All combinations of the values of each row's lists: their rows, and for each list the places of their values."""
    rows = np.arange(len(lists[0].lengths))
    if len(lists) == 1:
        return np.repeat(rows, lists[0].lengths), [np.arange(len(lists[0].values))]
    places: list[NDArray[np.int64]] = []
    for of_field in lists:
        counts = of_field.lengths[rows]
        starts = (np.cumsum(of_field.lengths) - of_field.lengths)[rows]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        places = [np.repeat(earlier, counts) for earlier in places]
        places.append(np.repeat(starts, counts) + within)
        rows = np.repeat(rows, counts)
    return rows, places


class _Known(dict[Any, int]):
    """Value → index; of any other value UNKNOWN."""

    def __missing__(self, value: Any) -> int:
        return UNKNOWN


def _index_of(field: FittedCategorical) -> dict[Any, int]:
    """Text → index, MISSING for None."""
    buckets = field.buckets
    if buckets is None:
        return _Known({None: MISSING, **_numbered(field.vocabulary)})
    seed = field.seed
    return Memo(lambda text: MISSING if text is None else xxh64_intdigest(text.encode(), seed) % buckets + FIRST)


def _rank_of(cross: FittedCross) -> dict[int, int] | None:
    """Mix → index; None for a hashed cross."""
    return None if cross.buckets is not None else _Known(_numbered(cross.vocabulary))


def _numbered(vocabulary: pl.DataFrame) -> dict[Any, int]:
    values = vocabulary["value"].to_list()
    return dict(zip(values, range(FIRST, FIRST + len(values)), strict=True))


def _by_width(crosses: Iterable[FittedCross]) -> dict[int, list[tuple[FittedCross, dict[int, int] | None]]]:
    widths: dict[int, list[tuple[FittedCross, dict[int, int] | None]]] = {}
    for cross in crosses:
        widths.setdefault(len(cross.fields), []).append((cross, _rank_of(cross)))
    return widths


def _cross_indices(cross: FittedCross, ranks: dict[int, int] | None, mixes: NDArray[np.uint64]) -> NDArray[np.int32]:
    if ranks is None:
        assert cross.buckets is not None
        return (mixes % np.uint64(cross.buckets)).astype(np.int32) + np.int32(FIRST)
    return np.fromiter(map(ranks.__getitem__, mixes.tolist()), np.int32, len(mixes))


def _member_hash(text: str | None) -> int:
    return MISSING_MEMBER if text is None else xxh64_intdigest(text.encode(), CROSS_SEED)


def _column(values: Sequence[float]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64).reshape(-1, 1)


def _packed(name: str, values: NDArray[Any], lists: Lists, dtype: pl.DataType) -> pl.Series:
    # The names are ours, whatever the field is called.
    flat = pl.DataFrame({"row": lists.row_of_values(), "value": pl.Series(values, dtype=dtype)})
    return flat.group_by("row", maintain_order=True).agg("value")["value"].alias(name)
