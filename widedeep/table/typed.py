"""The typed table: which source columns a recipe needs, as what, and their conversion block by block."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from widedeep.errors import ColumnError, DataError
from widedeep.recipe.schema import FeatureSettings, Recipe
from widedeep.table.blocks import RawBlock
from widedeep.table.canonical import Kind, canonical_text, kind_of
from widedeep.table.label import label_values, weight_values
from widedeep.table.moments import time_values

Role = Literal["number", "text", "label", "weight", "time"]

LABEL = "__label__"
"""Float32: 0 or 1, or the number that regression predicts."""
WEIGHT = "__weight__"
"""Float32, finite, not negative; only where the recipe names a weight."""
TIME = "__time__"
"""Float64: the number as it is, or seconds since 1970 UTC of a date or time; only where the recipe names a time."""


@dataclass(frozen=True)
class TypedColumn:
    """One column of the typed table."""

    name: str
    """Its name there."""
    column: str
    """The source column that it is read from."""
    role: Role


def text_name(column: str, features: FeatureSettings) -> str:
    """Name of a column's canonical text in the typed table; the plain name belongs to its numbers where it has both."""
    return f"{column}@text" if any(field.column == column for field in features.numeric) else column


def typed_columns(recipe: Recipe) -> tuple[TypedColumn, ...]:
    """The typed table's columns in order: label, weight, time, numbers (Float64), texts (String).

    Raises ColumnError where two of them would have one name.
    """
    data, features = recipe.data, recipe.features
    columns = [TypedColumn(LABEL, data.label.column, "label")]
    if data.weight is not None:
        columns.append(TypedColumn(WEIGHT, data.weight, "weight"))
    if data.time is not None:
        columns.append(TypedColumn(TIME, data.time.column, "time"))
    numbers = dict.fromkeys(field.column for field in features.numeric)
    columns += [TypedColumn(column, column, "number") for column in numbers]
    texts = dict.fromkeys(field.column for field in features.categorical)
    columns += [TypedColumn(text_name(column, features), column, "text") for column in texts]
    names = Counter(column.name for column in columns)
    for column in columns:
        if names[column.name] > 1:
            raise ColumnError(
                f"column {column.column!r}: the name {column.name!r} is taken in the typed table; rename it"
            )
    return tuple(columns)


def check_kinds(trained: Mapping[str, Kind], seen: Mapping[str, Kind], name: str) -> None:
    """Raise DataError if a column of the source `name` holds another kind of value than it did in training.

    Text stands for any kind, because delimited text has no other.
    """
    for column, kind in seen.items():
        before = trained.get(column, kind)
        if kind != before and "text" not in (kind, before):
            raise DataError(
                f"{name}: column {column!r} holds {kind} values where training saw {before}: "
                f"write it as {before}, or as text, or train anew on the changed table"
            )


class Typing:
    """Turns raw blocks of one table into typed ones; counts what was missing or bad on the way."""

    def __init__(
        self, recipe: Recipe, *, require_label: bool = True, trained_kinds: Mapping[str, Kind] | None = None
    ) -> None:
        """Without `require_label` (scoring), label, weight and time are left out and may be absent."""
        self._data = recipe.data
        self.columns = tuple(
            column for column in typed_columns(recipe) if require_label or column.role in ("number", "text")
        )
        self.needed = tuple(dict.fromkeys(column.column for column in self.columns))
        """The source columns to read."""
        self.kinds: dict[str, Kind] = dict(trained_kinds or {})
        """What each source column holds: as in training if that was given, else as first seen."""
        self.missing: Counter[str] = Counter()
        """Rows without a usable value, per typed column; bad numbers are among them."""
        self.bad_numbers: Counter[str] = Counter()
        """Texts, NaN and infinities counted as missing, per typed column."""

    def apply(self, block: RawBlock) -> pl.DataFrame:
        """The block's rows, typed; same order. Raises DataError with the row's place for a value that is refused."""
        self._note_kinds(block)
        series = {column.name: self._special(block, column) for column in self.columns if column.role not in _FEATURES}
        features = block.frame.select(
            self._feature(block, column) for column in self.columns if column.role in _FEATURES
        )
        typed = pl.DataFrame(list(series.values())).hstack(features) if series else features
        for column in self.columns:
            self.missing[column.name] += typed[column.name].null_count()
            if column.role == "number":
                self._check_numbers(block, column, typed[column.name])
        return typed

    def _note_kinds(self, block: RawBlock) -> None:
        seen: dict[str, Kind] = {}
        for column in self.needed:
            try:
                kind = kind_of(block.frame.schema[column])
            except DataError as error:
                raise DataError(f"{block.source_name}: column {column!r}: {error}") from None
            if kind is not None:
                seen[column] = kind
        check_kinds(self.kinds, seen, block.source_name)
        self.kinds = {**seen, **self.kinds}

    def _special(self, block: RawBlock, column: TypedColumn) -> pl.Series:
        if column.role == "label":
            return label_values(block, self._data.label).alias(LABEL)
        if column.role == "weight":
            return weight_values(block, column.column).alias(WEIGHT)
        assert self._data.time is not None
        return time_values(block, self._data.time).alias(TIME)

    def _feature(self, block: RawBlock, column: TypedColumn) -> pl.Expr:
        dtype = block.frame.schema[column.column]
        if column.role == "text":
            return canonical_text(pl.col(column.column), dtype).alias(column.name)
        return finite_number(column.column, dtype, block.source_name).alias(column.name)

    def _check_numbers(self, block: RawBlock, column: TypedColumn, numbers: pl.Series) -> None:
        raw = block.frame[column.column]
        if numbers.null_count() == raw.null_count():
            return
        bad = numbers.is_null() & raw.is_not_null()
        if raw.dtype == pl.String:
            bad &= (raw != "").fill_null(False)
        self.bad_numbers[column.name] += int(bad.sum())
        if bad.any() and self._data.bad_numbers == "error":
            row = bad.arg_true()[0]
            raise DataError(
                f"{block.place_of(row)}: column {column.column!r}: {raw[row]!r} is not a finite number; "
                "list it in data.format.missing, or set data.bad_numbers: missing"
            )


_FEATURES = ("number", "text")


def finite_number(column: str, dtype: pl.DataType, source_name: str) -> pl.Expr:
    """The column as Float64, null where it holds no finite number. Raises DataError for dates and times."""
    if kind_of(dtype) == "temporal":
        raise DataError(
            f"{source_name}: column {column!r} holds {dtype} values, not numbers; use it as a categorical field, or as data.time"
        )
    number = pl.col(column).cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)
