"""The canonical text of a value, whatever type stores it. A change here changes all value hashes (file format)."""

from typing import Literal

import polars as pl

from widedeep.errors import DataError
from widedeep.recipe.schema import Scalar

_SHOWN = 60
_BYTES_AS_TEXTS = "if they are texts in UTF-8, as Impala and others write them, set data.format.binary: text"
ValueKind = Literal["text", "number", "boolean", "temporal", "list"]


def kind_of(dtype: pl.DataType) -> ValueKind | None:
    """The kind of values in a column of this type; None for nulls only. Raises DataError for a type without a text."""
    if dtype.is_numeric():
        return "number"
    if dtype == pl.Boolean:
        return "boolean"
    if dtype in (pl.Date, pl.Datetime, pl.Time):
        return "temporal"
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "text"
    if dtype == pl.Null:
        return None
    if isinstance(dtype, pl.List | pl.Array):
        return "list"
    if dtype == pl.Binary:
        raise DataError(f"values of type Binary are not supported: {_BYTES_AS_TEXTS}")
    raise DataError(
        f"values of type {_short(dtype)} are not supported: expected text, numbers, booleans, dates or times"
    )


def why_unusable(dtype: pl.DataType) -> str | None:
    """Why no field can be made of a column of this type, to follow `column 'x'`; None if one can."""
    if dtype == pl.Binary:
        return f"holds bytes: {_BYTES_AS_TEXTS}"
    try:
        if kind_of(dtype) != "list":
            return None
    except DataError:
        return f"holds {_short(dtype)} values; text, numbers, booleans, dates or times are needed, or lists of them"
    assert isinstance(dtype, pl.List | pl.Array)
    inner = dtype.inner
    assert isinstance(inner, pl.DataType)
    if inner == pl.Binary:
        return f"holds lists of bytes: {_BYTES_AS_TEXTS}"
    if isinstance(inner, pl.List | pl.Array) or why_unusable(inner) is not None:
        return f"holds lists of {_short(inner)}; a list holds plain values"
    return None


def _short(dtype: pl.DataType) -> str:
    """The type as a message names it: of a long one (an object of many parts) the beginning."""
    text = dtype.ext_name() if isinstance(dtype, pl.BaseExtension) else str(dtype)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def canonical_text(expr: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """`expr`, of type `dtype`, as String: a pure expression, whose result does not depend on chunks or engine.

    Integers in decimal; integral floats as integers (1.0 → `1`, -0.0 → `0`; from 2^127 on with an exponent), other
    floats in the shortest decimal that reads back the same, NaN null; decimals without trailing zeros; booleans `true`
    and `false`; dates `2024-01-02`; datetimes `2024-01-02T03:04:05[.ffffff]` (nine digits where nanoseconds count),
    with a zone as UTC with a `Z` behind; texts as they are. Raises DataError for any other type.
    """
    kind = kind_of(dtype)
    if kind == "list":
        raise DataError("holds lists, which belong under features.multi_valued")
    if dtype.is_float():
        return _float_text(expr)
    if isinstance(dtype, pl.Decimal):
        text = expr.cast(pl.String)
        return text.str.strip_chars_end("0").str.strip_chars_end(".") if dtype.scale else text
    if kind != "temporal" or dtype == pl.Date:
        return expr.cast(pl.String)
    if isinstance(dtype, pl.Datetime):
        instant = expr.dt.convert_time_zone("UTC") if dtype.time_zone is not None else expr
        zone = "Z" if dtype.time_zone is not None else ""
        return _clock_text(instant, "%Y-%m-%dT%H:%M:%S", zone)
    return _clock_text(expr, "%H:%M:%S", "")


def as_decimals(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with numbers of float32, in lists too, as the decimals that files of texts hold, in Float64.

    0.1 is 0.1, where widening gives 0.10000000149.
    """
    narrow = pl.col(pl.Float32).cast(pl.String).cast(pl.Float64)
    in_lists = pl.col(pl.List(pl.Float32)).cast(pl.List(pl.String)).cast(pl.List(pl.Float64))
    return frame.with_columns(narrow, in_lists)


def canonical_scalar(value: Scalar) -> str:
    """The canonical text of a value that is written in a recipe."""
    if isinstance(value, str):
        return value
    series = pl.Series([value])
    text: str = pl.select(canonical_text(pl.lit(series), series.dtype)).item()
    return text


def _float_text(expr: pl.Expr) -> pl.Expr:
    integral = expr.is_finite() & (expr.floor() == expr)
    # Polars computes both branches: the integer that a fraction is cast to is not used, and an overflow gives null.
    as_integer = expr.cast(pl.Int128, strict=False).cast(pl.String)
    shortest = expr.cast(pl.String)
    return pl.when(integral).then(pl.coalesce(as_integer, shortest)).when(expr.is_not_nan()).then(shortest)


def _clock_text(expr: pl.Expr, form: str, zone: str) -> pl.Expr:
    nanosecond = expr.dt.nanosecond()
    fraction = (
        pl.when(nanosecond == 0)
        .then(pl.lit(""))
        .when(nanosecond % 1000 == 0)
        .then(expr.dt.strftime("%.6f"))
        .otherwise(expr.dt.strftime("%.9f"))
    )
    return pl.concat_str(expr.dt.strftime(form), fraction, pl.lit(zone))
