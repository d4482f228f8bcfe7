"""Value counts: the same for any order and blocks, in memory or spilled to disk, and ranked without ties left open."""

import random
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.features.vocabulary import SPILL_ENTRIES, ValueCounts


def counted(blocks: list[list[str | None]], spill_dir: Path, spill_entries: int = SPILL_ENTRIES) -> ValueCounts:
    counts = ValueCounts(pl.String(), spill_dir, spill_entries=spill_entries)
    for block in blocks:
        counts.add(pl.Series(block, dtype=pl.String))
    return counts


def expected(blocks: list[list[str | None]], min_count: int, max_size: int | None) -> list[tuple[str, int]]:
    counts = Counter(value for block in blocks for value in block if value is not None)
    kept = [(value, count) for value, count in counts.items() if count >= min_count]
    return sorted(kept, key=lambda pair: (-pair[1], pair[0].encode()))[:max_size]


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.none() | st.text(alphabet="abéZ😀", max_size=2), max_size=20), max_size=5),
    st.integers(1, 3),
    st.none() | st.integers(1, 4),
    st.sampled_from([2, 5, SPILL_ENTRIES]),
    st.randoms(use_true_random=False),
)
def test_counts_equal_a_plain_count_in_any_order_spilled_or_not(
    tmp_path_factory: pytest.TempPathFactory,
    blocks: list[list[str | None]],
    min_count: int,
    max_size: int | None,
    spill_entries: int,
    chance: random.Random,
) -> None:
    tmp_path = tmp_path_factory.mktemp("spill")
    shuffled = [chance.sample(block, len(block)) for block in chance.sample(blocks, len(blocks))]
    result = counted(shuffled, tmp_path, spill_entries).result(min_count=min_count, max_size=max_size)
    assert result.rows() == expected(blocks, min_count, max_size)
    assert list(tmp_path.iterdir()) == []


def test_counts_past_the_limit_do_go_to_disk(tmp_path: Path) -> None:
    blocks: list[list[str | None]] = [
        [f"v{i % 700}" for i in range(start, start + 500)] for start in range(0, 5000, 500)
    ]
    counts = counted(blocks, tmp_path, spill_entries=300)
    assert any(tmp_path.iterdir())
    assert counts.result(min_count=7, max_size=None).rows() == expected(blocks, 7, None)


def test_counts_of_hashes_are_ranked_by_count_then_hash(tmp_path: Path) -> None:
    counts = ValueCounts(pl.UInt64(), tmp_path)
    counts.add(pl.Series([2**64 - 1, 5, 5, 2**63, 9, 9], dtype=pl.UInt64))
    assert counts.result(min_count=1, max_size=None).rows() == [(5, 2), (9, 2), (2**63, 1), (2**64 - 1, 1)]


@pytest.mark.parametrize("spill_entries", [1, SPILL_ENTRIES])
def test_no_values_make_an_empty_vocabulary(spill_entries: int, tmp_path: Path) -> None:
    result = counted([[], [None, None]], tmp_path, spill_entries).result(min_count=1, max_size=None)
    assert result.schema == {"value": pl.String, "count": pl.Int64}
    assert result.is_empty()


def test_counts_that_hold_a_value_twice_are_summed(tmp_path: Path) -> None:
    counts = ValueCounts(pl.String(), tmp_path)
    for _ in range(2):  # cleared by `result`, counts begin anew
        counts.add_counted(pl.DataFrame({"value": ["a", "b", None, "a"], "count": [1, 2, 5, 3]}))
        assert counts.result(min_count=1, max_size=None).rows() == [("a", 4), ("b", 2)]
        assert counts.distinct == 2
