"""Who goes where: draws by position, by key, by column, by time."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widedeep.draws import random_draws
from widedeep.errors import DataError
from widedeep.recipe.schema import DataSettings
from widedeep.source.blocks import RawBlock
from widedeep.table.split import drawn_parts, listed_folds, row_splits, split_columns
from widedeep.table.time_cuts import RankedTimes, time_cuts


def data_of(**split) -> DataSettings:
    return DataSettings.model_validate({"train": "log.csv", "label": "y", "time": "t", "split": split})


def block_of(**columns) -> RawBlock:
    return RawBlock(pl.DataFrame(columns), "log.csv", 0, 0, first_line=2)


def test_random_draws_are_pinned():
    assert random_draws(0, 0, 3).tolist() == [0.8833108082136426, 0.43152799704850997, 0.026433771592597743]
    assert random_draws(7, 2**40, 1).tolist() == [0.5452272270305447]


@given(seed=st.integers(0, 2**70), first=st.integers(0, 2**40), cut=st.integers(0, 50))
def test_a_draw_depends_on_seed_and_position_only(seed, first, cut):
    whole = random_draws(seed, first, 50)
    assert np.array_equal(
        whole, np.concatenate([random_draws(seed, first, cut), random_draws(seed, first + cut, 50 - cut)])
    )
    assert ((whole >= 0) & (whole < 1)).all()


def test_draws_are_uniform_and_differ_by_seed():
    draws = [random_draws(seed, 0, 100_000) for seed in range(3)]
    for one in draws:
        counts = np.bincount((one * 20).astype(int), minlength=20)
        assert ((counts - 5000) ** 2 / 5000).sum() < 45  # chi-square, 19 degrees of freedom: p < 1e-3
    assert abs(np.corrcoef(draws)[np.triu_indices(3, 1)]).max() < 0.02
    assert abs(np.corrcoef(draws[0][:-1], draws[0][1:])[0, 1]) < 0.02


def test_a_random_split_takes_its_shares():
    codes = row_splits(data_of(kind="random", valid=0.2, test=0.1), block_of(y=[0] * 50_000), 0, {})
    assert np.bincount(codes) / 50_000 == pytest.approx([0.7, 0.2, 0.1], abs=0.01)


def test_the_default_split_is_random_and_files_of_their_own_are_not_drawn():
    assert drawn_parts(DataSettings.model_validate({"train": "a", "label": "y"})) == ("valid", "test")
    data = DataSettings.model_validate({"train": "a", "test": "b", "label": "y"})
    assert drawn_parts(data) == ("valid",)
    assert np.bincount(row_splits(data, block_of(y=[0] * 10_000), 0, {}), minlength=3)[2] == 0


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.integers(0, 2**32))
def test_one_key_is_never_on_both_sides_whatever_its_type(keys, seed):
    data = data_of(kind="key", key="u", seed=seed, valid=0.3, test=0.3)
    codes = row_splits(data, block_of(u=keys), 0, {})
    for key in set(keys):
        assert len({int(code) for code, other in zip(codes, keys, strict=True) if other == key}) == 1
    assert np.array_equal(codes, row_splits(data, block_of(u=[str(key) for key in keys]), 999, {}))
    assert np.array_equal(codes, row_splits(data, block_of(u=[float(key) for key in keys]), 5, {}))


def test_a_key_split_takes_its_shares_of_the_keys_by_seed():
    keys = block_of(u=list(range(20_000)))
    codes = [row_splits(data_of(kind="key", key="u", seed=seed, valid=0.2, test=0.1), keys, 0, {}) for seed in (0, 1)]
    for one in codes:
        assert np.bincount(one) / 20_000 == pytest.approx([0.7, 0.2, 0.1], abs=0.015)
    assert (codes[0] != codes[1]).mean() > 0.3


def test_a_missing_key_is_refused_with_its_line():
    with pytest.raises(DataError, match=r"log.csv:3: column 'u': the key of data.split is missing"):
        row_splits(data_of(kind="key", key="u"), block_of(u=["a", None]), 0, {})


def test_a_column_split_sends_listed_values_and_trains_on_all_others():
    data = data_of(kind="column", column="fold", valid=[4], test=[5, "x"])
    assert row_splits(data, block_of(fold=["1", "4", "5", None, "x"]), 0, listed_folds(data)).tolist() == [
        0,
        1,
        2,
        0,
        2,
    ]
    assert row_splits(data, block_of(fold=[1.0, 4.0, 5.0, None, 6.0]), 0, listed_folds(data)).tolist() == [
        0,
        1,
        2,
        0,
        0,
    ]
    assert split_columns(data) == ("fold",)


FINITE = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-5, 5).map(float)


@given(
    st.lists(FINITE, min_size=1, max_size=60),
    st.integers(1, 10),
    st.floats(0.01, 0.45),
    st.sampled_from([0.0, 0.1, 0.4]),
    st.sampled_from([0, 30, 1000]),
    st.sampled_from([1, 3, 100]),
)
def test_a_time_split_cuts_exactly_where_sorting_would(times, block_rows, valid, test, held, marks):
    array = np.array(times)
    blocks = [array[first : first + block_rows] for first in range(0, len(array), block_rows)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("widedeep.table.time_cuts.HELD_TIMES", held)
        patch.setattr("widedeep.table.time_cuts._MARKS", marks)
        cuts = time_cuts(data_of(kind="time", valid=valid, test=test), RankedTimes.in_passes(lambda: iter(blocks)))
    ordered = sorted(times)
    expected_test = ordered[len(ordered) - max(1, round(test * len(ordered)))] if test else np.inf
    earlier = [value for value in ordered if value < expected_test]
    wanted = max(1, round(valid * len(ordered)))
    expected_valid = earlier[max(len(earlier) - wanted, 0)] if earlier else np.inf
    assert (cuts.valid, cuts.test) == (expected_valid, expected_test)
    codes = cuts.row_splits(array)
    for code, value in zip(codes, times, strict=True):
        assert code == (2 if value >= expected_test else 1 if value >= expected_valid else 0)
