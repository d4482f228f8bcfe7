"""What a label is, and which class is the positive one."""

from datetime import date
from typing import Any

import polars as pl
import pytest

from widedeep.errors import DataError, UsageError
from widedeep.suggest.look_label import LabelLook, look_at_label


def label_of(*values: Any, whole: bool = True) -> LabelLook:
    return look_at_label(pl.Series("y", values), "log.csv", whole=whole)


@pytest.mark.parametrize(
    "values",
    [("0", "1", "0"), (0, 1, 0), (False, True, False), ("False", "true", "0"), (0.0, 1.0, 0.0), ("0.0", "1.0", "0")],
    ids=str,
)
def test_0_1_and_true_false_need_no_word(values: tuple[Any, ...]) -> None:
    look = label_of(*values)
    assert (look.kind, look.positive, look.negative, look.note) == ("binary", None, None, "")
    assert look.values.tolist() == [0.0, 1.0, 0.0]
    assert look.positive_share == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("values", "positive", "negative", "note"),
    [
        (("no", "yes", "no"), ["yes"], ["no"], "reads as a yes"),
        (("clicked", "x", "x"), ["clicked"], ["x"], "reads as a yes"),
        (("n", "y", "n"), ["y"], ["n"], "reads as a yes"),
        (("Y", "Y", "N"), ["Y"], ["N"], "reads as a yes"),
        (("f", "m", "m"), ["f"], ["m"], "the rarer of the two"),
        (("f", "t", "t"), ["t"], ["f"], "reads as a yes"),
        (("not bought", "sold", "sold"), ["sold"], ["not bought"], "the other reads as a no"),
        (("lost", "kept", "kept", "kept"), ["kept"], ["lost"], "the other reads as a no"),
        (("<=50K", ">50K", "<=50K"), [">50K"], ["<=50K"], "reads as a yes"),
        (("a", "b", "a"), ["b"], ["a"], "the rarer of the two"),
        (("b", "a", "a"), ["b"], ["a"], "the rarer of the two"),
        (("off", "on", "on"), ["on"], ["off"], "reads as a yes"),
        (("nein", "ja", "ja"), ["ja"], ["nein"], "reads as a yes"),
        (("won", "win", "win"), ["won"], ["win"], "the rarer of the two"),
        # Spelled in several ways, as in the test file of adult.
        (("<=50K", ">50K.", "<=50K.", ">50K", "<=50K"), [">50K", ">50K."], ["<=50K", "<=50K."], "reads as a yes"),
        (("Yes", "yes", "yes"), ["Yes"], ["yes"], "the rarer of the two"),
    ],
)
def test_of_two_classes_the_positive_one_is_named_with_the_reason(
    values: tuple[Any, ...], positive: list[str], negative: list[str], note: str
) -> None:
    look = label_of(*values)
    assert (look.kind, sorted(look.positive or ()), sorted(look.negative or ())) == ("binary", positive, negative)
    assert look.note == note
    assert look.values.tolist() == [float(str(value) in positive) for value in values]


@pytest.mark.parametrize(
    ("values", "positive", "negative"),
    [
        (("1", "2", "2"), 2, 1),
        (("2", "1", "1"), 2, 1),
        (("-1.0", "1.0", "1.0"), 1, -1),
        ((-1.0, 1.0, 1.0), 1, -1),
        (("0.50", "2.5e0", "2.5"), 2.5, 0.5),
        ((3, 5, 3), 5, 3),
    ],
)
def test_two_numbers_are_named_as_numbers_which_mean_any_writing_of_them(
    values: tuple[Any, ...], positive: float, negative: float
) -> None:
    look = label_of(*values)
    assert (look.kind, look.positive, look.negative) == ("binary", (positive,), (negative,))
    assert look.note == "the larger of the two"
    assert look.values.tolist() == [float(float(value) == positive) for value in values]


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ((3, 1, 2), "3 values: 1, 2, 3"),
        (("10", "9", "-1.5"), "3 values: -1.5, 9, 10"),
        (tuple(range(12)), "12 values: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11"),
        (tuple(range(13)), "13 values"),
    ],
)
def test_more_numbers_are_predicted_as_numbers(values: tuple[Any, ...], note: str) -> None:
    look = label_of(*values)
    assert (look.kind, look.positive, look.negative, look.note) == ("regression", None, None, note)
    assert look.values.tolist() == [float(value) for value in values]


@pytest.mark.parametrize(
    ("values", "whole", "error", "message"),
    [
        (
            ("1", None, None),
            True,
            DataError,
            "log.csv: column 'y': the label is missing in 2 of the 3 rows looked at, first in row 2; every row needs one: "
            "fill it or drop the rows",
        ),
        (("1", None, "0"), False, DataError, "is missing in 1 of the 3 rows looked at; every row"),
        (
            ("1", "1"),
            True,
            DataError,
            "log.csv: column 'y': the label is '1' in all 2 rows looked at: there is nothing to learn",
        ),
        (("a", "b", "c"), True, UsageError, "has 3 values ('"),
        (
            tuple("abcdefg"),
            True,
            UsageError,
            ", …): a label has two, or is a number everywhere; name another column, or make a column with two values of it",
        ),
        (("1", "2", "x"), True, UsageError, "has 3 values"),
        (("1", "2", "inf"), True, UsageError, "has 3 values"),
        ((date(2024, 1, 2), date(2024, 1, 3)), True, UsageError, "holds Date values, which cannot be a label"),
        (([1], [2]), True, UsageError, "cannot be a label"),
    ],
)
def test_what_is_no_label_is_refused_with_what_it_holds(
    values: tuple[Any, ...], whole: bool, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        label_of(*values, whole=whole)
    assert message in str(caught.value)


@pytest.mark.parametrize("values", [("0,0", "1,0", "1,0"), ("1,0", "0,0", "0,0"), ("-1,0", "1,0", "1,0")])
def test_of_numbers_with_a_decimal_comma_the_larger_is_positive(values: tuple[str, ...]) -> None:
    look = label_of(*values)
    assert (look.positive, look.note) == (("1,0",), "the larger of the two")


def test_a_label_of_many_numbers_with_a_decimal_comma_is_refused_as_that() -> None:
    with pytest.raises(UsageError, match=r"the label holds numbers that are written as '0,5'.*a decimal point"):
        label_of("0,5", "1,25", "2,0", "3,5")


def test_six_of_many_values_are_shown() -> None:
    with pytest.raises(UsageError) as caught:
        label_of(*"aabbccddeeffg")
    assert str(caught.value).count("'") == 2 * (1 + 6)
