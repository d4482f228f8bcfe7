"""Texts that stand for a missing value."""

from typing import Any

import polars as pl
import pytest

from widedeep.suggest.look_markers import find_markers


def markers(label: str = "y", **columns: list[Any]) -> set[str]:
    return set(find_markers(pl.DataFrame(columns), label).texts)


@pytest.mark.parametrize("text", ["?", "\\N", "NULL", "n/a", "<NA>", "nan", "0000-00-00", "#DIV/0!", "-1.#IND"])
def test_some_texts_are_never_a_value(text: str) -> None:
    assert markers(x=["a", text, "b"]) == {text}


@pytest.mark.parametrize("text", ["NA", "none", "-", ".", "unknown", "missing", "nil"])
def test_others_are_values_among_texts_and_none_among_numbers_and_dates(text: str) -> None:
    assert markers(x=["a", text, "b"]) == set()
    assert markers(x=["1", text, "2.5"]) == {text}
    assert markers(x=["2024-01-02", text, "3/4/2024"]) == {text}
    assert markers(x=[text, text]) == set()
    assert markers(x=["1", "2", text, None]) == {text}


@pytest.mark.parametrize(("words", "expected"), [(2, {"NA"}), (3, set())])
def test_two_odd_texts_in_a_hundred_numbers_do_not_make_words_of_them(words: int, expected: set[str]) -> None:
    assert markers(x=["NA", *["word"] * words, *map(str, range(100 - words))]) == expected


def test_what_the_label_holds_is_a_value() -> None:
    assert markers(y=["?", "b"], x=["?", "a"]) == set()
    assert markers(y=["?", "b", "c"], x=["a", "?", "c"]) == {"?"}
    assert markers(y=["a", "?"], x=["a", "b"]) == set()
    assert markers(y=["a", "b"], x=["?", "NULL"]) == {"?", "NULL"}


def test_cleaned_rows_have_nulls_in_the_place_of_markers_and_of_nan() -> None:
    frame = pl.DataFrame({"x": ["?", "a"], "n": [float("nan"), 1.0], "i": [1, 2]})
    cleaned = find_markers(frame, "y").cleaned(frame)
    assert cleaned.rows() == [(None, None, 1), ("a", 1.0, 2)]
    plain = pl.DataFrame({"x": ["a", "b"], "n": [float("nan"), 1.0]})
    assert find_markers(plain, "y").cleaned(plain).rows() == [("a", None), ("b", 1.0)]


def test_a_table_without_texts_has_no_markers() -> None:
    assert markers(x=[1, 2]) == set()
