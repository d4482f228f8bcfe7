"""When a row happened: numbers as they are, dates and ISO 8601 or formatted texts as seconds since 1970 UTC."""

import polars as pl

from widedeep.errors import DataError
from widedeep.recipe.schema import TimeSettings
from widedeep.table.blocks import RawBlock
from widedeep.table.canonical import canonical_text

_ISO_8601 = r"^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(?::(\d{2}(?:\.\d{1,9})?))?(Z|[+-]\d{2}(?::?\d{2})?)?)?$"
_UTC = pl.Datetime("us", "UTC")


def time_values(block: RawBlock, settings: TimeSettings) -> pl.Series:
    """Float64, one per row. Raises DataError with place and value for a time that is missing or cannot be understood."""
    raw = block.frame[settings.column]
    if raw.dtype == pl.Time or raw.dtype == pl.Boolean:
        raise DataError(
            f"{block.source_name}: column {settings.column!r}: {raw.dtype} values do not say when a row happened"
        )
    try:
        moments = block.frame.select(_moment(settings, raw.dtype)).to_series()
    except pl.exceptions.ComputeError as error:
        raise DataError(f"data.time.format: {settings.format!r} is not a usable strptime pattern: {error}") from error
    if moments.null_count():
        row = moments.is_null().arg_true()[0]
        place = f"{block.place_of(row)}: column {settings.column!r}"
        if raw[row] is None:
            raise DataError(f"{place}: the time is missing; every row needs one: fill it or drop the row")
        expected = settings.format or "a number, or ISO 8601 as in 2024-01-31 17:45:00"
        raise DataError(
            f"{place}: {str(raw[row])!r} is not a time ({expected}); mend the row, or set data.time.format to a strptime pattern"
        )
    return moments


def _moment(settings: TimeSettings, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(settings.column)
    if dtype.is_temporal():
        return _seconds(column.cast(pl.Datetime("us")))
    if settings.format is not None:
        return _seconds(canonical_text(column, dtype).str.strptime(_UTC, settings.format, strict=False))
    number = column.cast(pl.Float64, strict=False)
    number = pl.when(number.is_finite()).then(number)
    return number if dtype.is_numeric() else pl.coalesce(number, _seconds(_iso_8601(column)))


def _iso_8601(text: pl.Expr) -> pl.Expr:
    """A date, with or without a time of day, seconds and a zone (none: UTC)."""
    parts = text.str.extract_groups(_ISO_8601).struct
    minutes, seconds, zone = (
        pl.coalesce(parts.field(str(group)), pl.lit(default)) for group, default in ((2, "00:00"), (3, "00"), (4, "Z"))
    )
    whole = pl.concat_str(parts.field("1"), pl.lit("T"), minutes, pl.lit(":"), seconds, zone)
    return whole.str.strptime(_UTC, "%Y-%m-%dT%H:%M:%S%.f%#z", strict=False)


def _seconds(instant: pl.Expr) -> pl.Expr:
    return instant.dt.epoch("us") / 1e6
