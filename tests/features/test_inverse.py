"""From an index back to its values: intervals of buckets, and the values found among rows against a literal search."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widedeep.features.fields import bucket_interval
from widedeep.features.fit import fit_plan
from widedeep.features.inverse import find_values, planned_values
from widedeep.features.plan import FeaturePlan
from widedeep.recipe.schema import CrossSettings, FeatureSettings
from widedeep.reporting import Reporter

FRAME = pl.DataFrame(
    {
        "city": ["oslo", "rome", None, "oslo", "rome", "oslo", "rome"],
        "price": [1.0, 2.0, 3.0, None, 5.0, 6.0, 1.0],
        "tags@values": [["a", "b"], ["a", "a"], None, ["c"], ["b"], ["a", "b"], None],
    }
)
FEATURES = {
    "numeric": [{"column": "price", "buckets": 3}],
    "categorical": [{"column": "city", "min_count": 1}, {"column": "city", "name": "hashed city", "buckets": 1}],
    "multi_valued": [{"column": "tags", "separator": "|", "buckets": 1}],
}
CROSSES = [
    {"fields": ["city", "price"], "min_count": 1},
    {"fields": ["tags", "city"], "min_count": 1},
    {"fields": ["tags", "price"], "buckets": 1},
]


@pytest.fixture
def plan(tmp_path: Path) -> FeaturePlan:
    return fit_plan(
        FeatureSettings.model_validate(FEATURES),
        [CrossSettings.model_validate(cross) for cross in CROSSES],
        lambda: iter([FRAME]),
        spill_dir=tmp_path,
        reporter=Reporter(),
        total_rows=None,
    )


@pytest.mark.parametrize(
    ("cuts", "bucket", "text"),
    [
        ((3.0, 12.5), 0, "< 3"),
        ((3.0, 12.5), 1, "[3, 12.5)"),
        ((3.0, 12.5), 2, ">= 12.5"),
        ((3.0,), 1, ">= 3"),
        ((), 0, "any number"),
        ((0.1234567, 1234567.0), 1, "[0.123457, 1234567)"),
        ((0.12345671, 0.12345672), 1, "[0.12345671, 0.12345672)"),
    ],
)
def test_a_buckets_interval_is_written_shortly_but_never_with_equal_bounds(cuts, bucket, text) -> None:
    assert bucket_interval(cuts, bucket) == text


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=9, unique=True))
def test_the_intervals_of_different_buckets_read_differently(cuts) -> None:
    ascending = sorted(cuts)
    texts = [bucket_interval(ascending, bucket) for bucket in range(1, len(ascending))]
    assert all(low != high for low, high in (text[1:-1].split(", ") for text in texts))


def test_the_plan_knows_vocabularies_and_buckets_but_no_hashes(plan: FeaturePlan) -> None:
    known = {column.name: planned_values(plan, column, 2) for column in plan.index_columns}
    assert known.pop("city") == {"city": "oslo"}
    assert known.pop("price\x01buckets") == {"price": "< 2"}
    assert set(known.values()) == {None}


def test_every_index_of_a_cross_is_found_with_the_values_of_a_row_that_holds_it(
    plan: FeaturePlan, tmp_path: Path
) -> None:
    for cross in plan.crosses[:2]:
        wanted = {cross.name: range(2, cross.size)}
        found = find_values(plan, wanted, FRAME.iter_slices(2), tmp_path)
        assert found.keys() == {(cross.name, index) for index in wanted[cross.name]}
        combinations = {tuple(one.values.values()) for one in found.values()}
        assert len(combinations) == cross.distinct
        assert all((one.shared_by, one.rows) == (None, None) for one in found.values())
    assert combinations == {
        *((city, tag) for city, tags in FRAME.select("city", "tags@values").rows() for tag in tags or [None])
    }


def test_no_block_is_read_once_every_index_is_found(plan: FeaturePlan, tmp_path: Path) -> None:
    (index,) = plan.encode(FRAME.head(1))["city x price"]

    def blocks():
        yield FRAME.head(1)
        raise AssertionError("read on")

    found = find_values(plan, {"city x price": [index]}, blocks(), tmp_path)
    assert found["city x price", index].values == {"city": "oslo", "price": "< 2"}


def test_of_a_hashed_index_the_most_frequent_value_is_found_and_the_values_are_counted(
    plan: FeaturePlan, tmp_path: Path
) -> None:
    wanted = {"hashed city": [2], "tags": [2], "price x tags": [2]}
    found = find_values(plan, wanted, FRAME.iter_slices(3), tmp_path)
    city, tags, cross = (found[name, 2] for name in wanted)
    assert (city.values, city.shared_by, city.rows) == ({"hashed city": "oslo"}, 2, 3)
    # `a` twice in one row's list is one row that holds it; equal counts go by the value.
    assert (tags.values, tags.shared_by, tags.rows) == ({"tags": "a"}, 3, 3)
    assert cross.shared_by == 8
    assert cross.values == {"price": ">= 5", "tags": "b"}
    assert cross.rows == 2


def test_an_index_that_no_row_holds_is_left_out(plan: FeaturePlan, tmp_path: Path) -> None:
    assert find_values(plan, {"city x price": [2, 3], "tags": [2]}, iter([]), tmp_path) == {}
