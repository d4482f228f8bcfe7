"""Lists: rows taken, put in order and joined are the rows that Python's own lists say."""

import itertools
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from widedeep.lists import Lists, joined_lists

Rows = list[list[int]]
DRAWN_ROWS = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), max_size=12)


def lists_of(rows: Rows, *, weighted: bool) -> Lists:
    values = pl.Series(rows, dtype=pl.List(pl.Int32))
    weights = pl.Series([[value / 2 for value in row] for row in rows], dtype=pl.List(pl.Float32))
    return Lists.of(values, weights if weighted else None)


def rows_of(lists: Lists) -> Rows:
    bounds = lists.bounds
    rows = [lists.values[start:stop].tolist() for start, stop in itertools.pairwise(bounds)]
    if lists.weights is not None:
        assert (lists.weights * 2).tolist() == lists.values.tolist()
    return rows


@given(DRAWN_ROWS, st.booleans(), st.data())
def test_slices_and_rows_in_any_order_hold_what_the_rows_held(rows: Rows, weighted: bool, data: Any) -> None:
    lists = lists_of(rows, weighted=weighted)
    assert rows_of(lists) == rows
    assert lists.row_of_values().tolist() == [number for number, row in enumerate(rows) for _ in row]

    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(rows))] * 2)))
    assert rows_of(lists.slice(start, stop)) == rows[start:stop]

    order = data.draw(st.lists(st.sampled_from(range(len(rows))), max_size=8)) if rows else []
    taken = lists.gather(np.array(order, dtype=np.int64))
    assert rows_of(taken) == [rows[number] for number in order]


@given(st.lists(DRAWN_ROWS, min_size=1, max_size=3), st.booleans())
def test_joined_lists_are_the_rows_of_all_parts_in_order(parts: list[Rows], weighted: bool) -> None:
    joined = joined_lists([lists_of(rows, weighted=weighted) for rows in parts])
    assert rows_of(joined) == [row for rows in parts for row in rows]
    assert (joined.weights is None) == (not weighted)
