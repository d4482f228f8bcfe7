"""Quantile cut points: exact while values fit the grid, independent of order always, and aware of heavy values."""

import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.features.fields import bucket_number
from widedeep.features.quantiles import QuantileGrid

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def grid_of(values: object, max_cells: int = 1 << 16) -> QuantileGrid:
    grid = QuantileGrid(max_cells)
    grid.add(np.array(values, dtype=np.float64))
    return grid


def numbers_of(values: list[float | None], cuts: list[float]) -> list[int | None]:
    frame = pl.DataFrame({"x": values}, schema={"x": pl.Float64})
    return frame.select(bucket_number(pl.col("x"), cuts)).to_series().to_list()


def least_shift(values: list[float], max_cells: int) -> int:
    """By trying them all, with a key per float of its own making."""

    def key(value: float) -> int:
        bits = int(np.array([value + 0.0]).view(np.uint64)[0])
        return bits + 2**63 if bits < 2**63 else 2**64 - 1 - bits

    return next(shift for shift in range(65) if len({key(value) >> shift for value in values}) <= max_cells)


@settings(max_examples=100)
@given(st.lists(FINITE, max_size=40), st.integers(1, 8), st.randoms(use_true_random=False), st.integers(1, 5))
def test_the_grid_is_the_same_for_every_order_chunking_and_merge(
    values: list[float], max_cells: int, chance: random.Random, parts: int
) -> None:
    whole = grid_of(values, max_cells)
    shuffled = values[:]
    chance.shuffle(shuffled)
    partials = [grid_of(shuffled[part::parts], max_cells) for part in range(parts)]
    chance.shuffle(partials)
    merged = QuantileGrid(max_cells)
    for partial in partials:
        merged.merge(partial)
    blockwise = QuantileGrid(max_cells)
    for part in range(parts):
        blockwise.add(np.array(shuffled[part::parts], dtype=np.float64))
    counted = QuantileGrid(max_cells)
    for part in range(parts):
        # By their bits, in any order, so that both zeros are there and some values twice.
        bits, counts = np.unique(np.array(shuffled[part::parts], dtype=np.float64).view(np.uint64), return_counts=True)
        counted.add_counted(np.tile(bits.view(np.float64), 2), np.concatenate([counts - 1, np.ones_like(counts)]))
    for other in (merged, blockwise, counted):
        assert other.shift == whole.shift == least_shift(values, max_cells)
        assert other.cells.tolist() == whole.cells.tolist()
        assert other.counts.tolist() == whole.counts.tolist()
        assert other.cut_points(4) == whole.cut_points(4)


def test_cut_points_hold_equal_shares_of_the_rows() -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    cuts = grid_of(values).cut_points(100)
    assert cuts == [np.sort(values)[100 * k] for k in range(1, 100)]
    assert np.bincount(numbers_of(values.tolist(), cuts)).tolist() == [100] * 100


def test_cut_points_stay_close_when_the_grid_is_coarse() -> None:
    values = np.random.default_rng(0).lognormal(0.0, 3.0, 100_000)
    grid = grid_of(values, 4096)
    assert len(grid.cells) <= 4096
    shares = np.searchsorted(np.sort(values), grid.cut_points(50)) / len(values)
    assert shares == pytest.approx(np.arange(1, 50) / 50, abs=0.003)


def test_a_value_of_over_half_of_the_rows_gets_a_bucket_of_its_own() -> None:
    grid = grid_of([0.0] * 900 + list(range(1, 101)))
    cuts = grid.bucket_cuts(5)
    counts = np.bincount(numbers_of([0.0] * 900 + [float(x) for x in range(1, 101)], cuts))
    assert counts.tolist() == [900, 25, 25, 25, 25]


@pytest.mark.parametrize("place", [-1000.0, 50.5, 1000.0])
def test_a_heavy_value_is_alone_wherever_it_lies(place: float) -> None:
    others = [float(x) for x in range(1, 101)]
    cuts = grid_of([place] * 101 + others).bucket_cuts(6)
    (heavy,) = set(numbers_of([place], cuts))
    assert heavy not in numbers_of([*others, np.nextafter(place, 1e9)], cuts) or place == 1000.0
    assert heavy not in numbers_of(others, cuts)
    assert len(cuts) + 1 in (6, 7)


def test_a_value_of_exactly_half_of_the_rows_is_an_ordinary_one() -> None:
    values = [0.0] * 100 + [float(x) for x in range(1, 101)]
    assert grid_of(values).cut_points(4) == [0.0, 1.0, 51.0]


def test_buckets_have_no_repeats_and_none_is_empty_in_train() -> None:
    values = [1.0] * 40 + [2.0] * 30 + [3.0] * 30
    cuts = grid_of(values).bucket_cuts(10)
    assert cuts == [2.0, 3.0]
    assert np.bincount(numbers_of(values, cuts)).tolist() == [40, 30, 30]


def test_a_constant_column_and_an_empty_one_have_one_bucket() -> None:
    assert grid_of([7.0] * 10).bucket_cuts(4) == grid_of([]).bucket_cuts(4) == []
    assert grid_of([7.0] * 10).cut_points(4) == grid_of([]).cut_points(4) == []


@settings(max_examples=100)
@given(st.lists(FINITE, min_size=1, max_size=40), st.integers(1, 8), st.integers(2, 6))
def test_cut_points_are_finite_and_ascending_for_any_values(
    values: list[float], max_cells: int, quantiles: int
) -> None:
    cuts = grid_of(values, max_cells).cut_points(quantiles)
    assert np.isfinite(cuts).all()
    assert cuts == sorted(cuts)
    assert len(cuts) <= quantiles


def test_bucket_numbers_count_the_cuts_at_or_below_and_keep_missing_values() -> None:
    assert numbers_of([-5.0, 0.0, -0.0, 0.5, 1.0, 9.0, None], [0.0, 1.0]) == [0, 1, 1, 1, 2, 2, None]
    assert numbers_of([5.0, None], []) == [0, None]


SMALL = st.integers(-3, 3).map(float)


@settings(max_examples=200)
@given(st.lists(SMALL | FINITE, min_size=1, max_size=40), st.integers(1, 8) | st.just(1 << 16), st.integers(2, 50))
def test_no_bucket_is_empty_in_train(values: list[float], max_cells: int, buckets: int) -> None:
    cuts = grid_of(values, max_cells).bucket_cuts(buckets)
    assert set(numbers_of(values, cuts)) == set(range(len(cuts) + 1))


@settings(max_examples=100)
@given(st.lists(SMALL, max_size=20), SMALL, st.integers(2, 50))
def test_a_value_of_over_half_of_the_rows_shares_its_bucket_with_no_other(
    others: list[float], heavy: float, buckets: int
) -> None:
    others = [value for value in others if value != heavy]
    values = others + [heavy] * (len(others) + 1)
    cuts = grid_of(values).bucket_cuts(buckets)
    (own,) = set(numbers_of([heavy], cuts))
    assert own not in numbers_of(others, cuts)
