"""Reads dates, epoch numbers and texts as seconds since 1970 UTC, and takes moments apart (hour, weekday, …)."""

import math
import re

import polars as pl

from widedeep.errors import DataError
from widedeep.recipe.schema import DatePart, TimeSettings
from widedeep.source.blocks import RawBlock
from widedeep.source.canonical import canonical_text

_ISO_8601 = r"^(\d{4}-\d{2}-\d{2})(?:[T ](\d{1,2}:\d{2})(?::(\d{2}(?:[.,]\d{1,9})?))?(Z|[+-]\d{2}(?::?\d{2})?)?)?$"
_UTC = pl.Datetime("us", "UTC")
_EPOCHS = {"epoch": 1.0, "epoch_ms": 1e3, "epoch_us": 1e6, "epoch_ns": 1e9}
"""Formats of numbers → how many of their units make a second."""
_ALL_DIGITS = re.compile(r"(?:%[YymdHMS])+")
_HOURS = ("%H", "%k", "%I", "%l")
_MINUTES = ("%M", "%T", "%R", "%X", "%r")
_DATED = {
    4: ("%Y", r"^(?:199|20\d)\d$"),
    **{
        length: (form, rf"^(?:199|20\d)\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]){clock}$")
        for length, form, clock in (
            (8, "%Y%m%d", ""),
            (10, "%Y%m%d%H", r"(?:[01]\d|2[0-3])"),
            (12, "%Y%m%d%H%M", r"(?:[01]\d|2[0-3])[0-5]\d"),
            (14, "%Y%m%d%H%M%S", r"(?:[01]\d|2[0-3])[0-5]\d[0-5]\d"),
        )
    },
}
"""Number of digits → the pattern of a date of the years 1990 to 2099 that is written so, and what it looks like."""
_FIRST_EPOCH, _LAST_EPOCH = 631_152_000.0, 4_102_444_800.0
"""The years 1990 to 2099 in seconds since 1970: only there is a number a time without a format that says so."""
_LATEST = 253_402_300_800.0
"""The year 10000 in seconds since 1970. A larger number is not in seconds."""
_LAST_MOMENT = math.nextafter(_LATEST, 0.0)
"""The last moment of the year 9999, which stands for "never" in many tables, as a float: its microseconds round up."""
_WEEKDAYS = {
    str(number): name for number, name in enumerate(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), start=1)
}


def time_values(block: RawBlock, settings: TimeSettings) -> pl.Series:
    """The numbers that order the rows, Float64, one per row. Raises DataError for a time that is missing or unclear."""
    moments, _ = _read(block, settings, "data.time.format")
    raw = block.frame[settings.column]
    if moments.null_count():
        row = moments.is_null().arg_true()[0]
        if raw[row] is None:
            raise DataError(
                f"{block.place_of(row)}: column {settings.column!r}: the time is missing; every row needs one: fill it "
                "or drop the row"
            )
        raise _not_a_time(block, settings, row, "data.time.format")
    return moments


def moment_values(
    block: RawBlock, settings: TimeSettings, *, bad_is_missing: bool, where: str
) -> tuple[pl.Series, int]:
    """Seconds since 1970 UTC, Float64, one per row, null for a missing time; and how many bad times count as missing.

    `where` names the setting for the format, for messages. Raises DataError with place and value for a time that cannot
    be understood, unless `bad_is_missing`, and for numbers that cannot be seconds: those which no format explains lie
    in the years 1990 to 2099.
    """
    moments, bad = _read(block, settings, where)
    numbers = _bare_numbers(block, settings)
    if numbers is not None:
        odd = ~numbers.is_between(_FIRST_EPOCH, _LAST_EPOCH, closed="left").fill_null(True)
        if odd.any() and not bad_is_missing:
            row = odd.arg_true()[0]
            raise DataError(
                f"{block.place_of(row)}: column {settings.column!r}: {block.frame[settings.column][row]!r} is no time "
                "in seconds since 1970, or not of the years 1990 to 2099: say what it is, a strptime pattern, epoch, "
                f"epoch_ms, epoch_us or epoch_ns, in {where}"
            )
        moments = moments.set(odd, None)
        bad |= odd
    rows = bad.arg_true()
    if len(rows) and not bad_is_missing:
        raise _not_a_time(block, settings, rows[0], where)
    far = (moments.abs() > _LATEST).fill_null(False).arg_true()
    if len(far):
        value = block.frame[settings.column][far[0]]
        raise DataError(
            f"{block.place_of(far[0])}: column {settings.column!r}: {value!r} is no time in seconds since 1970; "
            f"set {where} to epoch_ms, epoch_us or epoch_ns"
        )
    return moments.clip(upper_bound=_LAST_MOMENT), len(rows)


def part_of(moment: pl.Expr, part: DatePart) -> pl.Expr:
    """The part of a moment given in seconds, as String (see `DateTimeField.parts`); null for null."""
    instant = (moment * 1e6).cast(pl.Int64).cast(pl.Datetime("us"))
    match part:
        case "hour":
            return instant.dt.hour().cast(pl.String)
        case "weekday":
            return instant.dt.weekday().cast(pl.String).replace(_WEEKDAYS)
        case "day":
            return instant.dt.day().cast(pl.String)
        case "part_of_day":
            names = pl.lit(pl.Series(["night", "morning", "afternoon", "evening"]))
            return names.gather((instant.dt.hour() // 6).cast(pl.UInt32))


def _read(block: RawBlock, settings: TimeSettings, where: str) -> tuple[pl.Series, pl.Series]:
    """The moments, and which of them are null although the row has a value."""
    raw = block.frame[settings.column]
    if raw.dtype == pl.Null:
        return raw.cast(pl.Float64), raw.is_not_null()
    if raw.dtype in (pl.Time, pl.Boolean) or raw.dtype.is_nested():
        raise DataError(
            f"{block.source_name}: column {settings.column!r}: {raw.dtype} values do not say when a row happened"
        )
    if settings.format is not None and "%Z" in settings.format:
        raise DataError(
            f"{where}: {settings.format!r} has %Z, which takes any name of a time zone for UTC, EST too: give offsets "
            "such as +0100 and %z, or, where every row says UTC, put UTC in its place"
        )
    _refuse_dates_in_digits(block, settings, where)
    try:
        moments = block.frame.select(_moment(settings, raw.dtype).alias(settings.column)).to_series()
    except pl.exceptions.ComputeError as error:
        raise DataError(
            f"{where}: {settings.format!r} is not a usable strptime pattern: {str(error).splitlines()[0]}"
        ) from error
    return moments, moments.is_null() & raw.is_not_null()


def _bare_numbers(block: RawBlock, settings: TimeSettings) -> pl.Series | None:
    """The numbers among the values, which no format explains; None where there can be none."""
    raw = block.frame[settings.column]
    if settings.format is not None or not (raw.dtype.is_numeric() or raw.dtype == pl.String):
        return None
    return raw.cast(pl.Float64, strict=False)


def _refuse_dates_in_digits(block: RawBlock, settings: TimeSettings, where: str) -> None:
    """Raise DataError where all numbers of a block read as dates, such as 20240131, and no format says so."""
    numbers = _bare_numbers(block, settings)
    if numbers is None or numbers.null_count() == len(numbers):
        return
    known = numbers.drop_nulls()
    lowest = known.min()
    assert isinstance(lowest, float)
    form, pattern = _DATED.get(len(f"{lowest:.0f}"), (None, ""))
    if form is None or not (known == known.floor()).all():
        return
    if known.unique().cast(pl.Int64, strict=False).cast(pl.String).str.contains(pattern).fill_null(False).all():
        row = numbers.is_not_null().arg_true()[0]
        raise DataError(
            f"{block.place_of(row)}: column {settings.column!r}: {block.frame[settings.column][row]!r} reads as a date"
            f", not as seconds since 1970: set {where} to {form!r}, or to epoch if it is a number of seconds"
        )


def _not_a_time(block: RawBlock, settings: TimeSettings, row: int, where: str) -> DataError:
    expected = settings.format or "a number, or ISO 8601 as in 2024-01-31 17:45:00"
    return DataError(
        f"{block.place_of(row)}: column {settings.column!r}: {str(block.frame[settings.column][row])!r} is not a time "
        f"({expected}); mend the row, or set {where} to a strptime pattern"
    )


def _moment(settings: TimeSettings, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(settings.column)
    if dtype.is_temporal():
        return _seconds(column.cast(pl.Datetime("us")))
    number = column.cast(pl.Float64, strict=False)
    number = pl.when(number.is_finite()).then(number)
    if settings.format in _EPOCHS:
        return number / _EPOCHS[settings.format]
    if settings.format is not None:
        text, form = canonical_text(column, dtype), settings.format
        if dtype == pl.String and _ALL_DIGITS.fullmatch(form):
            # The float of a Parquet file, and what a program writes into a CSV file for it: 20240131.0.
            text = text.str.replace(r"^(\d+)\.0+$", "${1}")
        if ",%f" in form:
            text, form = text.str.replace(r"^(.*),(\d)", "${1}.${2}"), form.replace(",%f", ".%f")
        form = form.replace(".%f", "%.f")  # in Polars a %f of its own counts nanoseconds
        # Polars reads no hour without its minutes, which logs often lack.
        if any(hour in form for hour in _HOURS) and not any(minute in form for minute in _MINUTES):
            text, form = pl.concat_str(text, pl.lit(" 00")), f"{form} %M"
        return _seconds(text.str.strptime(_UTC, form, strict=False))
    return number if dtype.is_numeric() else pl.coalesce(number, _seconds(_iso_8601(column)))


def _iso_8601(text: pl.Expr) -> pl.Expr:
    """A date, with or without a time of day, seconds and a zone (none: UTC)."""
    parts = text.str.extract_groups(_ISO_8601).struct
    minutes, seconds, zone = (
        pl.coalesce(parts.field(str(group)), pl.lit(default)) for group, default in ((2, "00:00"), (3, "00"), (4, "Z"))
    )
    seconds = seconds.str.replace(",", ".", literal=True)
    whole = pl.concat_str(parts.field("1"), pl.lit("T"), minutes, pl.lit(":"), seconds, zone)
    return whole.str.strptime(_UTC, "%Y-%m-%dT%H:%M:%S%.f%#z", strict=False)


def _seconds(instant: pl.Expr) -> pl.Expr:
    return instant.dt.epoch("us") / 1e6
