"""Which columns hold numbers, and which numbers are amounts."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from widedeep.profile.value_table import Target, ValueTable, value_table
from widedeep.suggest.look_numbers import NumberLook, is_quantity, look_at_numbers


def table_of(values: Sequence[Any] | pl.Series) -> ValueTable:
    column = values if isinstance(values, pl.Series) else pl.Series(values)
    return value_table(column, Target.of(np.zeros(len(column)), is_binary=True))


def numbers_in(values: Sequence[Any] | pl.Series) -> NumberLook:
    look = look_at_numbers(table_of(values))
    assert look is not None
    return look


def quantity(name: str, values: Sequence[Any], by_value: float = 0.5, by_bucket: float | None = 0.5) -> bool:
    return is_quantity(name, numbers_in(pl.Series(values)), by_value, by_bucket, noise=0.01)


@pytest.mark.parametrize(
    "values",
    [
        ["a", "b"],
        ["1", "012"],
        ["-05", "7"],
        ["1" * 16, "2"],
        ["12", "x", "13"],
        ["nan", None],
        [None, None],
        [True, False],
        pl.Series([2**53, 1]),
        pl.Series([-(2**53), 1]),
        ["1"] * 97 + ["x"] * 3,
    ],
    ids=str,
)
def test_codes_words_and_whole_numbers_that_would_run_into_each_other_are_no_numbers(values: Any) -> None:
    column = (
        pl.Series(values, dtype=None if values != [None, None] else pl.String) if isinstance(values, list) else values
    )
    assert look_at_numbers(table_of(column)) is None


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (["1", "-2.5", "1e3", None], -2.5, 1000.0),
        (["0", "0.5"], 0.0, 0.5),
        (["1" * 15, "2"], 2.0, float("1" * 15)),
        (pl.Series([2**53 - 1, 1]), 1.0, 2.0**53 - 1),
        (pl.Series([0.5, None]), 0.5, 0.5),
    ],
    ids=str,
)
def test_numbers_are_known_from_the_lowest_to_the_highest(values: Any, low: float, high: float) -> None:
    look = numbers_in(values)
    assert (look.low, look.high, look.odd, look.example) == (low, high, 0.0, "")


def test_a_few_odd_values_do_not_make_a_text_of_a_column_and_one_is_told() -> None:
    look = numbers_in(["1"] * 49 + ["2"] * 49 + ["-", "-"] + [None] * 20)
    assert look.odd == pytest.approx(0.02)
    assert look.example == "-"
    assert look.known.tolist() == [True, True, False, False]
    assert look.values[:2].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("halves", "is_whole"), [(1, True), (2, False)])
def test_a_column_is_whole_where_99_of_100_rows_are(halves: int, is_whole: bool) -> None:
    assert numbers_in([0.5] * halves + [float(number) for number in range(100 - halves)]).is_whole == is_whole


def spread(values: int, rows: int, step: int = 1) -> list[int]:
    """Whole numbers that are equally frequent and lie `step` apart."""
    return [step * (row % values) + 1000 for row in range(rows)]


# By counts: small ones are frequent and all there, large ones rare and far apart.
COUNTS = [number for number in range(30) for _ in range(2000 // (number + 1) ** 2 + 1)] + [50, 70, 100, 200, 400, 900]
AGES = [number for number in range(18, 90) for _ in range(2 + (90 - number) * (number - 10) // 60)]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("x", [0.5, 1.5, 2.5, 3.5] * 9, True),
        ("x", [0.5, 1.5, 2.5] * 9, False),
        ("price", [1, 2] * 99, False),
        ("user_id", COUNTS, False),
        ("price", spread(11, 500, 7), True),
        ("price", spread(10, 500, 7), False),
        ("x", spread(20, 500), False),
        ("x", spread(20, 500, 97), False),
        ("x", spread(21, 500), True),
        ("x", spread(21, 500, 97), False),
        ("x", spread(100, 5000), True),
        ("x", spread(60, 5000, 2), True),
        ("x", spread(60, 5000, 3), False),
        ("x", COUNTS, True),
        ("x", AGES, True),
        ("x", spread(400, 1000, 97), True),
        ("x", spread(400, 1400, 97), False),
    ],
)
def test_amounts_are_told_from_codes_by_name_spread_and_frequencies(
    name: str, values: list[int], expected: bool
) -> None:
    assert quantity(name, values) == expected


@pytest.mark.parametrize(("noise", "is_count"), [(0, True), (30, True), (60, False)])
def test_of_counts_the_small_ones_are_more_frequent_but_for_some_noise(noise: int, is_count: bool) -> None:
    draw = random.Random(1)
    numbers = [*range(30), 50, 70, 100, 200, 400, 900]
    rows = [max(1, round(40 - place + draw.uniform(-noise, noise))) for place in range(len(numbers))]
    values = [number for number, count in zip(numbers, rows, strict=True) for _ in range(count)]
    assert quantity("x", values) == is_count


@pytest.mark.parametrize(("first", "is_count"), [(-10, True), (-11, False), (2, True), (3, False)])
def test_a_count_starts_at_a_small_number(first: int, is_count: bool) -> None:
    assert quantity("x", [number + first for number in COUNTS]) == is_count


@pytest.mark.parametrize(
    ("values", "by_value", "by_bucket", "expected"),
    [
        # What neighbours share says more of amounts, what each value has of its own says more of codes.
        (spread(65, 5000, 97), 0.55, 0.58, True),
        (spread(65, 5000), 0.58, 0.55, False),
        (spread(65, 5000), 0.519, 0.5, True),
        (spread(65, 5000, 97), 0.5, 0.519, False),
        (spread(64, 5000, 97), 0.55, 0.6, False),
        (spread(65, 5000, 97), 0.5, None, False),
    ],
)
def test_many_numbers_are_judged_by_how_they_predict_where_that_differs(
    values: list[int], by_value: float, by_bucket: float | None, expected: bool
) -> None:
    assert quantity("x", values, by_value, by_bucket) == expected


def test_odd_values_among_few_numbers_speak_for_an_amount() -> None:
    values = [str(number % 20 + 1) for number in range(990)]
    assert not quantity("x", values)
    assert quantity("x", [*values, "many"])


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (
            {number: 1200 - number for number in range(1000, 1150)},
            False,
        ),  # falls all along, as the popularity of ids does
        ({number: 100 + abs(75 - number % 150) for number in range(1000, 1150)}, True),
        ({number: 50 + 100 * (number * 7919 % 11 == 0) for number in range(1000, 1150)}, False),
    ],
    ids=["falling", "smooth", "jumping"],
)
def test_dense_numbers_are_amounts_where_neighbours_are_about_equally_frequent(
    counts: dict[int, int], expected: bool
) -> None:
    assert quantity("x", [number for number, rows in counts.items() for _ in range(rows)]) == expected
