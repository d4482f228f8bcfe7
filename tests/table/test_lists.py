"""Multi-valued columns: splitting, weights, what is left out and what is refused."""

from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widedeep.errors import DataError
from widedeep.recipe.schema import DataSettings, MultiValuedField
from widedeep.source.blocks import BLANKS, RawBlock
from widedeep.table.lists import ListTally, list_values

DATA = DataSettings.model_validate({"train": "log.csv", "label": "y"})
LENIENT = DataSettings.model_validate({"train": "log.csv", "label": "y", "bad_numbers": "missing"})


def read(values, data=DATA, dtype=pl.String, tally=None, **settings):
    block = RawBlock(pl.DataFrame({"tags": pl.Series(values, dtype=dtype)}), "log.csv", 0, 0, first_line=2)
    field = MultiValuedField(column="tags", **settings)
    lists, weights = list_values(block, field, data, tally or ListTally())
    return lists.to_list(), None if weights is None else weights.to_list()


def test_a_text_is_split_and_its_items_are_trimmed() -> None:
    assert read(["a| b |c", "a", None], separator="|") == ([["a", "b", "c"], ["a"], None], None)


def test_a_separator_may_be_longer_than_a_character_or_a_regex_sign() -> None:
    assert read(["a||b", "c"], separator="||")[0] == [["a", "b"], ["c"]]
    assert read(["a.*b:1", "c"], separator="|", weight_separator=":")[0] == [["a.*b"], ["c"]]


def test_empty_items_are_left_out_and_counted_and_a_row_of_nothing_else_is_missing() -> None:
    tally = ListTally()
    assert read(["a||b|", "||", "c"], separator="|", tally=tally)[0] == [["a", "b"], None, ["c"]]
    assert tally.empty_items["tags"] == 5


def test_values_beyond_max_length_are_cut_off_and_their_rows_counted() -> None:
    tally = ListTally()
    lists, _ = read(["a|b|c", "a|b", "a", None], separator="|", max_length=2, tally=tally)
    assert lists == [["a", "b"], ["a", "b"], ["a"], None]
    assert tally.cut_rows["tags"] == 1


def test_a_weight_stands_behind_the_last_separator_and_is_1_without_one() -> None:
    lists, weights = read(["a:0.5|b", "x:y:2"], separator="|", weight_separator=":")
    assert lists == [["a", "b"], ["x:y"]]
    assert weights == [[0.5, 1.0], [2.0]]


@pytest.mark.parametrize("bad", ["a:heavy", "a:-1", "a:nan", "a:inf", "a:"])
def test_a_weight_that_is_no_number_is_refused_with_its_line(bad: str) -> None:
    with pytest.raises(DataError, match=r"^log\.csv:3: column 'tags': .* weight .* not a finite number"):
        read(["a:1", f"b:2|{bad}"], separator="|", weight_separator=":")


def test_with_bad_numbers_as_missing_a_value_with_a_bad_weight_is_dropped_and_counted() -> None:
    tally = ListTally()
    assert read(["a:x|b:2", "c:x"], LENIENT, separator="|", weight_separator=":", tally=tally) == (
        [["b"], None],
        [[2.0], None],
    )
    assert tally.bad_weights["tags"] == 2


def test_a_list_column_needs_no_separator_and_its_items_are_canonical() -> None:
    assert read([[1.0, 2.5], [], None], dtype=pl.List(pl.Float64))[0] == [["1", "2.5"], None, None]
    assert read([[date(2024, 1, 2)]], dtype=pl.List(pl.Date))[0] == [["2024-01-02"]]
    assert read([[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2))[0] == [["1", "2"], ["3", "4"]]


def test_a_null_in_a_list_is_an_empty_item() -> None:
    tally = ListTally()
    assert read([["a", None]], dtype=pl.List(pl.String), tally=tally)[0] == [["a"]]
    assert tally.empty_items["tags"] == 1


def test_text_without_a_separator_is_refused_with_what_to_set() -> None:
    with pytest.raises(DataError, match="holds String values, not lists: set `separator`"):
        read(["a|b"])


def test_a_list_of_lists_is_refused() -> None:
    with pytest.raises(DataError, match="column 'tags'"):
        read([[["a"]]], dtype=pl.List(pl.List(pl.String)))


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="|\x00"), max_size=5)


@given(st.lists(st.none() | st.lists(TEXTS, max_size=4)))
def test_joining_and_splitting_gives_the_items_back(rows: list[list[str] | None]) -> None:
    joined = [None if row is None or not "|".join(row) else "|".join(row) for row in rows]
    expected = [
        [item for item in (text.strip(BLANKS) for text in row) if item] or None if row else None for row in rows
    ]
    assert read(joined, separator="|")[0] == expected
