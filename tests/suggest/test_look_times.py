"""Columns of moments, however they are written, and the format that reads them."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from widedeep.profile.value_table import Target, value_table
from widedeep.suggest.look_numbers import look_at_numbers
from widedeep.suggest.look_times import TimeLook, look_for_time

START = datetime(2024, 2, 27, 22, 5, 9, tzinfo=UTC)
MOMENTS = [START + timedelta(hours=7 * row) for row in range(40)]
SECONDS = [moment.timestamp() for moment in MOMENTS]


def read(values: Sequence[Any] | pl.Series, name: str = "x") -> TimeLook | None:
    column = values.alias(name) if isinstance(values, pl.Series) else pl.Series(name, values)
    table = value_table(column, Target.of(np.zeros(len(column)), is_binary=True))
    numbers = look_at_numbers(table)
    return look_for_time(column, table.values, numbers.values if numbers else None)


@pytest.mark.parametrize(
    ("written", "form", "unit"),
    [
        ("%Y-%m-%dT%H:%M:%SZ", None, 1),
        ("%Y-%m-%d %H:%M", None, 60),
        ("%Y-%m-%d", None, 86400),
        ("%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M:%S", 1),
        ("%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M", 60),
        ("%d/%m/%Y", "%d/%m/%Y", 86400),
        ("%d/%b/%Y:%H:%M:%S +0000", "%d/%b/%Y:%H:%M:%S%#z", 1),
        ("%B %d, %Y", "%B %d, %Y", 86400),
        ("%d %b %Y %I:%M %p", "%d %b %Y %I:%M %p", 60),
        ("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %Y", 1),
        ("%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S UTC", 1),
        ("%Y%m%d", "%Y%m%d", 86400),
        ("%Y%m%d%H%M%S", "%Y%m%d%H%M%S", 1),
        ("%Y%m%d%H", "%Y%m%d%H", 3600),
        ("%Y%m%dT%H%M%S", "%Y%m%dT%H%M%S", 1),
        ("%Y%m%dT%H%M", "%Y%m%dT%H%M", 60),
        ("%Y%m%dT%H", "%Y%m%dT%H", 3600),
        ("%d%b%Y:%H:%M:%S", "%d%b%Y:%H:%M:%S", 1),
        ("%d%b%Y", "%d%b%Y", 86400),
    ],
)
def test_a_written_time_is_read_with_the_format_it_was_written_with(written: str, form: str | None, unit: int) -> None:
    look = read([moment.strftime(written) for moment in MOMENTS])
    assert look is not None
    assert look.format == form
    assert look.moments.tolist() == [second // unit * unit for second in SECONDS]
    assert look.is_text
    assert look.note == ""


@pytest.mark.parametrize(("unit", "form"), [(1, None), (1000, "epoch_ms"), (1_000_000, "epoch_us")])
@pytest.mark.parametrize("kind", [int, str])
def test_numbers_of_our_time_are_seconds_since_1970_or_thousandths_or_millionths(
    unit: int, form: str | None, kind: type
) -> None:
    look = read([kind(int(second * unit)) for second in SECONDS])
    assert look is not None
    assert (look.format, look.moments.tolist(), look.is_text) == (form, SECONDS, kind is str)


DAY = 86400


@pytest.mark.parametrize(
    ("name", "numbers", "is_time"),
    [
        ("x", [631_152_000, 631_152_001], True),  # 1990
        ("x", [631_151_999, 631_152_001], False),
        ("x", [2_208_988_800, 2_208_988_799], True),  # 2040
        ("x", [2_208_988_801, 2_208_988_799], False),
        ("x", [1_000_000_000, 1_000_000_000 + 5 * 365 * DAY], True),
        ("x", [1_000_000_000, 1_000_000_000 + 6 * 365 * DAY], False),
        ("time", [1_000_000_000, 1_000_000_000 + 6 * 365 * DAY], True),
        ("time", [1_700_000_000], False),
        ("x", [20240102, 20240103], False),
        ("x", [20240102, 20240103, 20240104], True),
        ("day", [20240102, 20240103], True),
        ("x", [240102, 240103, 240104], False),
        ("day", [240102, 240103, 240104], True),
        ("day", [240102, 240103, 10104], False),
        ("day", [20240102.5, 20240103], False),
        ("day", [20241302, 20240103, 20240104], False),
        ("day", [19800102, 19800103, 19800104], False),
        ("day", [20410102, 20400103, 20400104], False),
        ("x", [24010203, 24010204, 24010205], False),
        ("hour", [24010203, 24010204, 24010205], True),
        ("x", [2024010203, 2024010204, 2024010205], True),
        ("x", [2030000000, 2030000001, 2030000002], True),
        ("x", [5, 6, 7], False),
    ],
)
def test_numbers_are_times_where_they_lie_in_our_time_and_the_name_or_the_span_says_so(
    name: str, numbers: list[float], is_time: bool
) -> None:
    assert (read(numbers, name) is not None) == is_time


def test_digits_of_a_day_and_an_hour_are_no_seconds_since_1970() -> None:
    digits, seconds = read([2024010203, 2024010204, 2024010205]), read([2030000000, 2030000001, 2030000002])
    assert digits is not None
    assert seconds is not None
    assert (digits.format, digits.span) == ("%Y%m%d%H", 7200)
    assert (seconds.format, seconds.span) == (None, 2)


@pytest.mark.parametrize(
    ("values", "is_time"),
    [
        (pl.Series([date(2024, 1, 2), date(2024, 1, 3)]), True),
        (pl.Series(MOMENTS), True),
        (pl.Series([time(1, 2)]), False),
        (pl.Series([timedelta(1)]), False),
        (pl.Series([date(1899, 12, 31)]), False),
        (pl.Series([date(2100, 1, 2)]), False),
        (pl.Series([None], dtype=pl.Date), False),
        (pl.Series([None], dtype=pl.String), False),
        (pl.Series([True, False]), False),
        (["2024-01-02", "2024-13-02"], False),
        (["2024-01-02", "soon"], False),
        (["1850-01-02", "1850-01-03"], False),
        (["a1b2c3", "d4e5f6"], False),
        (["12:30", "12:31"], False),
    ],
    ids=str,
)
def test_types_of_their_own_and_texts_are_times_where_all_lie_in_two_centuries(values: Any, is_time: bool) -> None:
    assert (read(values) is not None) == is_time


def test_a_missing_moment_is_nan_and_stands_in_no_span() -> None:
    look = read(["2024-01-02", None, "2024-01-05"])
    assert look is not None
    assert np.isnan(look.moments[1])
    assert look.span == 3 * DAY


@pytest.mark.parametrize(
    ("values", "form", "note"),
    [
        # A day above 12 tells; else the order of the rows does; else the reading whose days lie closer together.
        (["13/01/2024", "02/02/2024"], "%d/%m/%Y", ""),
        (["01/13/2024", "02/02/2024"], "%m/%d/%Y", ""),
        (["01/02/2024", "02/02/2024", "03/02/2024"], "%d/%m/%Y", "day first"),
        (["02/01/2024", "02/02/2024", "02/03/2024"], "%m/%d/%Y", "month first"),
        (["11/12/2024", "01/02/2025"], "%m/%d/%Y", "month first"),
        (["12-11-2024", "02-01-2025"], "%d-%m-%Y", "day first"),
        (["01/01/2024", "02/02/2024"], "%m/%d/%Y", "month first"),
        (["01-01-2024", "02-02-2024"], "%d-%m-%Y", "day first"),
    ],
)
def test_where_day_and_month_may_be_swapped_the_rows_order_decides_and_a_note_says_check(
    values: list[str], form: str, note: str
) -> None:
    look = read(values)
    assert look is not None
    assert look.format == form
    assert look.note == (f"day and month never tell apart; read {note}: check" if note else "")


@pytest.mark.parametrize(
    ("values", "has_clock", "has_weekdays"),
    [
        (["2024-01-02 10:00", "2024-01-09 10:30"], False, False),
        (["2024-01-02 10:59", "2024-01-09 11:00"], True, False),
        (["2024-01-02 10:00", "2024-01-03 10:00"], False, True),
        (["2024-01-02 23:00", "2024-01-03 01:00"], True, True),
    ],
)
def test_hours_and_weekdays_are_told_where_they_differ(values: list[str], has_clock: bool, has_weekdays: bool) -> None:
    look = read(values)
    assert look is not None
    assert (look.has_clock, look.has_weekdays) == (has_clock, has_weekdays)
