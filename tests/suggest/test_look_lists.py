"""Texts that hold several values at once."""

import random
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

from widedeep.suggest.look_lists import ListLook, look_for_lists


def lists_in(texts: Sequence[Any] | pl.Series, rows: Sequence[int] | None = None) -> ListLook | None:
    column = texts if isinstance(texts, pl.Series) else pl.Series(texts)
    values = column.unique(maintain_order=True) if column.dtype == pl.String else column
    counts = pl.Series(rows or [1] * len(values)).cast(pl.Float64)
    return look_for_lists(column, values, counts)


def drawn(items: Sequence[str], mark: str, rows: int = 80, most: int = 3, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    texts = (mark.join(draw.sample(items, draw.randrange(1, most + 1))) for _ in range(rows))
    return list(dict.fromkeys(texts))


GENRES = ["Comedy", "Drama", "War", "Action", "Sci-Fi"]


@pytest.mark.parametrize("mark", ["|", ";", ",", "^"])
def test_a_few_items_that_come_again_in_any_place_are_a_list(mark: str) -> None:
    texts = drawn(GENRES, mark)
    look = lists_in(texts)
    assert look is not None
    assert (look.separator, look.weight_separator, look.num_values, look.longest) == (mark, None, 5, 3)
    assert look.mean_length == pytest.approx(sum(text.count(mark) + 1 for text in texts) / len(texts))


def test_the_mean_length_is_that_of_the_rows_not_of_the_different_texts() -> None:
    texts = ["a|b", "b|a", "a|c|b", "c", "b|c"]
    look = lists_in(texts, [10, 1, 1, 1, 1])
    assert look is not None
    assert look.mean_length == pytest.approx((20 + 2 + 3 + 1 + 2) / 14)


def test_blanks_around_items_and_empty_items_are_no_values() -> None:
    look = lists_in(["a | b", "b |a ", "c|| a", "a |c", "b| c|a"])
    assert look is not None
    assert (look.separator, look.num_values, look.longest) == ("|", 3, 3)


def test_items_with_weights_are_counted_without_them() -> None:
    texts = [f"{a}:{w} {b}:0.5" for w in (1, 2.5, "1e-3") for a in "abcd" for b in "abcd" if a != b]
    look = lists_in(texts)
    assert look is not None
    assert (look.separator, look.weight_separator, look.num_values) == (" ", ":", 4)


@pytest.mark.parametrize(
    "texts",
    [
        [f"{1 + row},{100 + row * 7 % 900}" for row in range(40)],  # thousands
        [f"{city}, {state}" for city in ("Reno", "Troy", "Bath", "Rome") for state in ("NV", "NY", "ME", "GA")],
        [f"word{row} of the day {row * 7 % 90}" for row in range(60)],  # phrases
        ["plain", "texts", "without", "any", "mark"],
        ["a|b", "b|a", "c|a"],  # too few
        [f"item {row}|item {row + 1000}" for row in range(40)],  # nothing comes again
        drawn([genre * 8 for genre in GENRES], "|"),  # sentences
        drawn(GENRES, "/"),
        pl.Series([1, 2, 3, 4, 5, 6]),
    ],
    ids=["thousands", "city, state", "phrases", "no mark", "few", "singles", "long", "other mark", "numbers"],
)
def test_what_only_looks_like_a_list_is_none(texts: Any) -> None:
    assert lists_in(texts) is None


@pytest.mark.parametrize(("items", "is_list"), [(5, True), (30, False)])
def test_words_between_blanks_are_a_list_where_they_are_few(items: int, is_list: bool) -> None:
    assert (lists_in(drawn([f"w{number}" for number in range(items)], " ")) is not None) == is_list


def test_long_lists_of_few_words_between_blanks_are_phrases() -> None:
    words = [f"w{number}" for number in range(14)]
    assert lists_in([" ".join(random.Random(row).sample(words, 10)) for row in range(80)]) is not None
    assert lists_in([" ".join(random.Random(row).sample(words, 11)) for row in range(80)]) is None


def test_a_mark_in_hardly_any_row_makes_no_list() -> None:
    pairs = [
        "War|Drama",
        "Drama|War",
        "Action|War",
        "Comedy|War",
        "War|Comedy",
        "Drama|Sci-Fi",
        "Sci-Fi|War",
        "War|Action",
    ]
    texts = [*GENRES, *pairs]
    assert lists_in(texts, [1] * 13) is not None
    assert lists_in(texts, [70] * 5 + [1] * 8) is not None
    assert lists_in(texts, [80] * 5 + [1] * 8) is None


def test_of_two_marks_the_one_that_leaves_fewer_values_separates() -> None:
    look = lists_in([text.replace("Sci-Fi", "Sci,Fi").replace("War", "War,Film") for text in drawn(GENRES, "|")])
    assert look is not None
    assert (look.separator, look.num_values) == ("|", 5)


def test_lists_of_a_type_of_their_own_need_no_separator() -> None:
    look = lists_in(pl.Series([["a", "b"], None, [], ["a", None, "c"]]))
    assert look == ListLook(None, None, 3, pytest.approx(5 / 3), 3)
    assert lists_in(pl.Series([[], None, [None]], dtype=pl.List(pl.String))) is None
