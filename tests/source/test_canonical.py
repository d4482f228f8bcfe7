"""The canonical text is file format: golden texts, agreement between types, independence of chunks and engine."""

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widedeep.errors import DataError
from widedeep.source.canonical import canonical_scalar, canonical_text, kind_of


def texts(series: pl.Series) -> list[str | None]:
    return series.to_frame("x").select(canonical_text(pl.col("x"), series.dtype)).to_series().to_list()


GOLDEN = [
    (pl.Series([0, -7, 2**63 - 1, None]), ["0", "-7", "9223372036854775807", None]),
    (pl.Series([2**64 - 1], dtype=pl.UInt64), ["18446744073709551615"]),
    (
        pl.Series([1.0, -0.0, 0.0, -3.0, 1e15, 1e22]),
        ["1", "0", "0", "-3", "1000000000000000", "10000000000000000000000"],
    ),
    (pl.Series([0.1, -2.5, 1e-7, 123456789.125, 5e-324]), ["0.1", "-2.5", "1e-7", "123456789.125", "5e-324"]),
    (pl.Series([1e300, math.inf, -math.inf, math.nan, None]), ["1e+300", "inf", "-inf", None, None]),
    (pl.Series([0.1, 16777216.0], dtype=pl.Float32), ["0.1", "16777216"]),
    (pl.Series([Decimal("1.50"), Decimal("100.00"), Decimal("-0.05")]), ["1.5", "100", "-0.05"]),
    (pl.Series([Decimal("100")], dtype=pl.Decimal(10, 0)), ["100"]),
    (pl.Series([True, False, None]), ["true", "false", None]),
    (pl.Series([date(2024, 1, 2)]), ["2024-01-02"]),
    (pl.Series([time(3, 4, 5), time(3, 4, 5, 7)]), ["03:04:05", "03:04:05.000007"]),
    (pl.Series([" a ", "", "1.0", None]), [" a ", "", "1.0", None]),
    (pl.Series(["b", "a"], dtype=pl.Categorical), ["b", "a"]),
    (pl.Series(["b", "a"], dtype=pl.Enum(["a", "b"])), ["b", "a"]),
    (pl.Series([None, None]), [None, None]),
]


@pytest.mark.parametrize(("series", "expected"), GOLDEN, ids=[str(series.dtype) for series, _ in GOLDEN])
def test_every_type_has_its_golden_texts(series, expected):
    assert texts(series) == expected


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_datetimes_text_does_not_depend_on_its_unit(unit):
    moments = pl.Series([datetime(2024, 1, 2, 3, 4, 5), datetime(1969, 12, 31, 23, 59, 59, 500_000)])
    assert texts(moments.cast(pl.Datetime(unit))) == ["2024-01-02T03:04:05", "1969-12-31T23:59:59.500000"]
    assert texts(pl.Series([1], dtype=pl.Datetime("ns"))) == ["1970-01-01T00:00:00.000000001"]


def test_a_datetime_with_a_zone_is_written_as_utc():
    moment = datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))).astimezone(UTC)
    zoned = pl.Series([moment]).dt.convert_time_zone("Europe/Berlin")
    assert texts(zoned) == ["2024-01-02T01:04:05Z"]


@given(st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=20))
def test_integers_integral_floats_and_their_decimal_texts_agree(values):
    expected = [str(value) for value in values]
    assert texts(pl.Series(values, dtype=pl.Int64)) == expected
    assert texts(pl.Series([float(value) for value in values])) == expected
    assert texts(pl.Series(expected)) == expected


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_a_floats_text_reads_back_as_the_same_float(values):
    assert [float(text) for text in texts(pl.Series(values))] == values


@given(st.lists(st.floats() | st.none(), min_size=2, max_size=20), st.data())
def test_chunks_and_engine_do_not_matter(values, data):
    whole = pl.DataFrame({"x": values}, schema={"x": pl.Float64})
    cut = data.draw(st.integers(1, len(values) - 1))
    chunked = pl.concat([whole[:cut], whole[cut:]], rechunk=False)
    expr = canonical_text(pl.col("x"), pl.Float64())
    expected = whole.select(expr)
    assert chunked.select(expr).equals(expected)
    assert chunked.lazy().select(expr).collect(engine="streaming").equals(expected)


@pytest.mark.parametrize(
    "series", [pl.Series([[1]]), pl.Series([{"a": 1}]), pl.Series([b"x"]), pl.Series([timedelta(1)])], ids=str
)
def test_a_type_without_a_text_is_refused(series):
    with pytest.raises(DataError, match=r"not supported|features\.multi_valued"):
        texts(series)


def test_a_value_in_a_recipe_has_the_text_of_the_same_value_in_a_column():
    assert [canonical_scalar(value) for value in (1, 1.0, -0.0, 0.5, True, False, ">50K")] == [
        "1",
        "1",
        "0",
        "0.5",
        "true",
        "false",
        ">50K",
    ]


def test_kinds_are_what_a_person_would_call_them():
    assert [
        kind_of(dtype) for dtype in (pl.Int8(), pl.Decimal(5, 2), pl.Boolean(), pl.Date(), pl.String(), pl.Null())
    ] == [
        "number",
        "number",
        "boolean",
        "temporal",
        "text",
        None,
    ]
