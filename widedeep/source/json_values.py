"""Makes typed columns of values that Python read from JSON, and chooses the types with which Polars may read them."""

from typing import Any

import polars as pl

from widedeep.source.canonical import canonical_text

_EXACT = 2**53
"""Up to this number every integer is exact as a float."""


def column_of(name: str, values: list[Any]) -> pl.Series:
    """A column of scalars or lists of scalars, with nulls, as booleans, integers (Int64, Int128), Float64, texts or
    Lists.

    Values of several kinds, integers beyond 128 bits, and integers among fractions that no float holds become canonical
    texts. Raises UnicodeEncodeError for a text that holds half a character.
    """
    lists = [value for value in values if type(value) is list]
    if not lists:
        return _scalars(name, values)
    items = _scalars(name, [item for value in lists for item in value])
    remaining = iter(items.to_list())
    rows = [None if value is None else [next(remaining) for _ in value] for value in values]
    return pl.Series(name, rows, pl.List(pl.String if items.dtype == pl.Null else items.dtype))


def _scalars(name: str, values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return pl.Series(name, values, pl.Null)
    if kinds == {bool} or kinds == {str}:
        return pl.Series(name, values, pl.Boolean if kinds == {bool} else pl.String)
    if kinds == {int}:
        largest = max(abs(value) for value in values if value is not None)
        if largest < 1 << 127:
            return pl.Series(name, values, pl.Int64 if largest < 1 << 63 else pl.Int128)
    elif kinds <= {int, float} and all(abs(value) <= _EXACT for value in values if type(value) is int):
        return pl.Series(name, values, pl.Float64, strict=False)
    return _canonical_texts(name, values)


def _canonical_texts(name: str, values: list[Any]) -> pl.Series:
    is_float = [type(value) is float for value in values]
    floats = pl.Series(
        [value if number else None for value, number in zip(values, is_float, strict=True)], dtype=pl.Float64
    )
    rest = [None if number else _plain_text(value) for value, number in zip(values, is_float, strict=True)]
    frame = pl.DataFrame({"float": floats, name: pl.Series(rest, dtype=pl.String)})
    return frame.select(pl.coalesce(name, canonical_text(pl.col("float"), floats.dtype)).alias(name)).to_series()


def _plain_text(value: bool | int | str | None) -> str | None:
    if value is None:
        return None
    return str(value).lower() if type(value) is bool else str(value)


# ----------------------------------------------------------------------------------------------------- types for Polars


def wider(known: pl.DataType, seen: pl.DataType) -> pl.DataType:
    """The type to try on the next block, after a column of type `known` turned out to be of type `seen`."""
    if seen == pl.Null:
        return known
    if {known, seen} == {pl.Int64(), pl.Float64()}:
        return pl.Float64()
    return seen


def strict_types(types: dict[str, pl.DataType]) -> dict[str, pl.DataType]:
    """Types with which Polars refuses every value of another kind, except those that `is_exact` finds.

    Where a text is expected, only categories refuse a number, a boolean, a list or an object. They get a random name,
    so that Polars forgets them with the block.
    """
    text = pl.Categorical(pl.Categories.random())
    strict: dict[str, pl.DataType] = {}
    for column, dtype in types.items():
        if dtype == pl.String:
            dtype = text
        elif isinstance(dtype, pl.List) and dtype.inner == pl.String:
            dtype = pl.List(text)
        strict[column] = dtype
    return strict


def is_exact(frame: pl.DataFrame) -> bool:
    """Whether Polars, with strict types, has certainly read every value exactly."""
    for column in frame.iter_columns():
        values = column.explode() if isinstance(column.dtype, pl.List) else column
        # A large float may be a rounded integer.
        if values.dtype == pl.Float64 and not (values.drop_nulls().abs() < _EXACT).all():
            return False
        # An integer of over 64 bits arrives as a text in Rust's notation, and half a character as a NUL in a text.
        if values.dtype == pl.String and values.str.contains("^Static\\(|\0").any():
            return False
    return True
