"""Bounded samples and tallies of any number of rows, what they estimate, and the rules of drift and ids."""

import math
import weakref

import numpy as np
import polars as pl
import pytest

from widedeep.draws import random_draws
from widedeep.profile.drift import STRONG_DRIFT, drift
from widedeep.profile.id_like import is_id_like, most_distinct_in_part
from widedeep.profile.row_sample import RowSample
from widedeep.profile.value_tally import SharedGroups, ValueTally, shared_groups
from widedeep.source.coded import CodedRows

# --------------------------------------------------------------------------------------------------------- sampled rows


def rows_of(first: int, count: int) -> CodedRows:
    return CodedRows(pl.DataFrame({"x": range(first, first + count)}))


@pytest.mark.parametrize("blocks", [[100], [1] * 100, [30, 0, 70], [99, 1], [12] * 8 + [4]])
def test_a_sample_holds_the_rows_with_the_smallest_draws_in_their_order(blocks: list[int]) -> None:
    sample = RowSample(max_rows=10, seed=5)
    for number, count in enumerate(blocks):
        sample.add(rows_of(sum(blocks[:number]), count))
    smallest = np.sort(np.argsort(random_draws(5, 0, 100))[:10]).tolist()
    assert sample.rows()["x"].to_list() == smallest
    assert (sample.rows_seen, sample.num_rows, sample.is_whole) == (100, 10, False)


@pytest.mark.parametrize(("count", "is_whole"), [(9, True), (10, True), (11, False)])
def test_a_sample_is_whole_as_long_as_all_rows_fit(count: int, is_whole: bool) -> None:
    sample = RowSample(max_rows=10)
    sample.add(rows_of(0, count))
    assert (sample.is_whole, sample.num_rows) == (is_whole, min(count, 10))
    assert sample.rows().height == min(count, 10)


def test_a_sample_lets_go_of_the_blocks_that_it_was_taken_from() -> None:
    for rows, most in ((50, 1), (2, 9)):
        sample = RowSample(max_rows=20)
        added = []
        for number in range(30):
            block = rows_of(rows * number, rows)
            added.append(weakref.ref(block))
            sample.add(block)
            del block
        assert sum(one() is not None for one in added) <= most


def test_a_sample_of_nothing_is_empty() -> None:
    sample = RowSample()
    assert (sample.rows().height, sample.num_rows, sample.is_whole) == (0, 0, True)


def test_coded_values_come_out_as_texts() -> None:
    coded = CodedRows(
        pl.DataFrame({"x": pl.Series([2, 0, 1] * 10, dtype=pl.UInt8)}), {"x": pl.Series([None, "a", "b"])}
    )
    for max_rows in (5, 100):
        sample = RowSample(max_rows=max_rows)
        sample.add(coded)
        assert set(sample.rows()["x"]) <= {"b", None, "a"}
        assert sample.rows().height == min(max_rows, 30)


# ------------------------------------------------------------------------------------------------------------- tallies


def tally_of(values: list[str | None], max_values: int = 1000, block: int = 7) -> ValueTally:
    tally = ValueTally(max_values)
    for start in range(0, len(values), block):
        tally.add(pl.Series(values[start : start + block], dtype=pl.String))
    return tally


def test_a_tally_counts_rows_per_value_and_no_missing_ones() -> None:
    tally = tally_of(["a", "b", None, "a", "c", "a", "b", None])
    assert (tally.distinct(), tally.is_exact) == (3, True)
    assert sorted(tally.counts()["rows"].to_list()) == [1, 2, 3]
    assert ValueTally(5).distinct() == 0


@pytest.mark.parametrize(("values", "is_exact"), [(100, True), (101, False)])
def test_beyond_its_bound_a_tally_holds_so_many_values(values: int, is_exact: bool) -> None:
    tally = tally_of([f"v{number}" for number in range(values)], max_values=100)
    assert tally.counts().height == 100
    assert tally.is_exact == is_exact
    assert tally.distinct() == pytest.approx(values, rel=0.3)


def test_the_estimate_of_many_values_is_close_and_what_is_held_has_all_its_rows() -> None:
    values = [f"v{number}" for number in range(20_000)] * 2
    tally = tally_of(values, max_values=2000, block=900)
    assert tally.distinct() == pytest.approx(20_000, rel=0.07)
    assert tally.counts()["rows"].to_list() == [2] * 2000
    other = tally_of(values[::-1], max_values=2000, block=1100)
    assert other.counts().equals(tally.counts())
    assert other.distinct() == tally.distinct()


def test_groups_of_a_split_are_shared_where_train_has_rows_of_them() -> None:
    tallies = {
        "train": tally_of(["a", "b", "b", "c"]),
        "valid": tally_of(["a", "a", "a", "x"]),
        "test": tally_of(["y", None]),
    }
    assert shared_groups(tallies) == {
        "valid": SharedGroups(rows=4, shared_rows=3, groups=2, shared_groups=1, is_exact=True),
        "test": SharedGroups(rows=1, shared_rows=0, groups=1, shared_groups=0, is_exact=True),
    }


def test_shared_groups_of_a_choice_are_about_those_of_all() -> None:
    train = [f"v{number}" for number in range(9000)]
    valid = [f"v{number}" for number in range(6000, 12_000)]
    found = shared_groups({"train": tally_of(train, 1000, 500), "valid": tally_of(valid, 1000, 500)})["valid"]
    assert not found.is_exact
    assert found.shared_groups / found.groups == pytest.approx(0.5, abs=0.06)
    assert found.shared_rows == found.shared_groups
    assert found.groups < 1000


# --------------------------------------------------------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("before", "after"),
    [([0, 0], [5, 5]), ([5, 5], [0, 0]), ([9, 0], [7, 0]), ([], []), ([10, 20], [10, 20]), ([6, 6], [7, 5])],
)
def test_there_is_no_drift_without_rows_in_one_cell_or_within_chance(before: list[int], after: list[int]) -> None:
    assert drift(np.array(before, dtype=np.int64), np.array(after, dtype=np.int64)) == 0.0


def test_drift_is_the_stability_index_less_what_chance_may_show() -> None:
    before, after = np.array([800, 150, 50, 0]), np.array([200, 300, 500, 0])
    p, q = ((one[:3] + 0.5) / (one[:3] + 0.5).sum() for one in (before, after))
    index = sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))
    chance = (2 + 4 * math.sqrt(4)) * (1 / 1000 + 1 / 1000)
    assert drift(before, after) == pytest.approx(index - chance)
    assert drift(after, before) == pytest.approx(index - chance)
    assert STRONG_DRIFT == 0.25


@pytest.mark.parametrize(
    ("distinct", "rows", "expected"),
    [
        (95, 100, True),
        (94, 100, False),
        (100, 100, True),
        (30, 30, True),
        (29, 29, False),
        (29, 30, True),
        (28, 30, False),
    ],
)
def test_an_id_has_a_value_of_its_own_in_95_of_100_rows_of_thirty_at_least(
    distinct: int, rows: int, expected: bool
) -> None:
    assert is_id_like(distinct, rows) == expected


@pytest.mark.parametrize(
    ("distinct", "rows", "share", "most"),
    [
        (1000, 1000, 0.7, 700.0),
        (900, 1000, 1.0, 900.0),
        (900, 1000, 0.5, 500 - 25 + 3 * math.sqrt(25 * 0.75)),
        (998, 1000, 0.5, 500.0),
    ],
)
def test_a_part_of_the_rows_has_at_most_so_many_values(distinct: int, rows: int, share: float, most: float) -> None:
    assert most_distinct_in_part(distinct, rows, share) == pytest.approx(most)


def test_rows_that_are_estimated_to_be_fewer_than_their_values_each_have_their_own() -> None:
    assert most_distinct_in_part(48.0, 48 * (1.0 - 1 / 3) * 1.4999999999, 0.8) == pytest.approx(38.4)
