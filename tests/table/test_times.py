"""Times as people write them, the parts of a moment, and what is refused."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widedeep.errors import DataError
from widedeep.recipe.schema import TimeSettings
from widedeep.source.blocks import RawBlock
from widedeep.table.times import moment_values, part_of, time_values

MOMENT = datetime(2017, 11, 7, 9, 30, tzinfo=UTC).timestamp()


def block(values, dtype=None) -> RawBlock:
    return RawBlock(pl.DataFrame({"t": pl.Series(values, dtype=dtype)}), "log.csv", 0, 0, first_line=2)


def moments(values, format=None, bad_is_missing=False, dtype=None):
    settings = TimeSettings(column="t", format=format)
    return moment_values(block(values, dtype), settings, bad_is_missing=bad_is_missing, where="`format`")


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("2017-11-07 9:30", None),
        ("2017-11-07T09:30:00Z", None),
        ("2017-11-07 10:30+01", None),
        ("2017-11-07 9:30", "%Y-%m-%d %H:%M"),
        ("7/11/2017 9:30", "%d/%m/%Y %H:%M"),
        ("1510047000", None),
        ("1510047000", "epoch"),
        ("1510047000000", "epoch_ms"),
        ("1510047000000000", "epoch_us"),
    ],
)
def test_a_moment_is_understood_as_people_write_it(text: str, format: str | None) -> None:
    assert moments([text], format)[0].to_list() == [MOMENT]


def test_numbers_and_temporal_columns_are_moments_too() -> None:
    assert moments([1510047000000], "epoch_ms")[0].to_list() == [MOMENT]
    assert moments([datetime(2017, 11, 7, 9, 30)])[0].to_list() == [MOMENT]


@pytest.mark.parametrize(
    ("value", "format"),
    [(17110709, "%y%m%d%H"), ("2017110709", "%Y%m%d%H"), ("7.11.2017 9h", "%d.%m.%Y %Hh")],
)
def test_a_log_may_write_hours_without_minutes(value: str | int, format: str) -> None:
    assert moments([value, None], format)[0].to_list() == [MOMENT - 30 * 60, None]


@pytest.mark.parametrize("value", [20171107, 20171107.0, "20171107", "20171107.0"])
def test_a_date_in_digits_is_read_whatever_stores_the_number(value: float | str) -> None:
    midnight = datetime(2017, 11, 7, tzinfo=UTC).timestamp()
    assert moments([value, None], "%Y%m%d")[0].to_list() == [midnight, None]


def test_mixed_formats_are_refused_with_row_and_value() -> None:
    with pytest.raises(DataError, match=r"^log\.csv:3: column 't': '07\.11\.2017' is not a time"):
        moments(["2017-11-07", "07.11.2017"])


def test_a_missing_moment_stays_missing_and_a_bad_one_may() -> None:
    values, bad = moments(["2017-11-07", None, "soon"], bad_is_missing=True)
    assert values.to_list() == [datetime(2017, 11, 7, tzinfo=UTC).timestamp(), None, None]
    assert bad == 1


def test_milliseconds_taken_for_seconds_are_refused_with_the_remedy() -> None:
    with pytest.raises(DataError, match="epoch_ms"):
        moments([1510047000000])


def test_a_time_to_order_by_may_be_any_number_but_never_missing() -> None:
    assert time_values(block([3, 1]), TimeSettings(column="t")).to_list() == [3.0, 1.0]
    with pytest.raises(DataError, match=r"^log\.csv:3: column 't': the time is missing"):
        time_values(block(["3", None]), TimeSettings(column="t"))


@given(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)))
def test_parts_are_those_of_pythons_calendar(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    seconds = (moment - datetime(1970, 1, 1)) / timedelta(seconds=1)
    frame = pl.DataFrame({"m": [seconds, None]})
    parts = ["hour", "weekday", "day", "part_of_day"]
    read = frame.select(part_of(pl.col("m"), part).alias(part) for part in parts)  # type: ignore[arg-type]
    names = ["night", "morning", "afternoon", "evening"]
    expected = (str(moment.hour), moment.strftime("%a"), str(moment.day), names[moment.hour // 6])
    assert read.row(0) == expected
    assert read.row(1) == (None,) * 4
