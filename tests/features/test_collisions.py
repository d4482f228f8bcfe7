"""Collisions: exact for the hashes at hand in any order and memory, as many as chance makes, and enough buckets found."""

import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.features.collisions import SHOWN_VALUES, WORST_BUCKETS, HashTraffic, expected_collisions
from widedeep.features.vocabulary import SPILL_ENTRIES, ValueCounts


def traffic_of(
    blocks: list[list[int]], spill_dir: Path, *, spill_entries: int = SPILL_ENTRIES, held_values: int = SPILL_ENTRIES
) -> HashTraffic:
    counts = ValueCounts(pl.UInt64(), spill_dir, spill_entries=spill_entries)
    for block in blocks:
        counts.add(pl.Series(block, dtype=pl.UInt64))
    return HashTraffic(counts, held_values=held_values)


def collided_by_hand(counts: Counter[int], buckets: int) -> dict[int, list[tuple[int, int]]]:
    """Bucket → its values and rows, by (-rows, value), where it has more than one value."""
    held: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for value, rows in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        held[value % buckets].append((value, rows))
    return {bucket: values for bucket, values in held.items() if len(values) > 1}


def rows_of(collided: dict[int, list[tuple[int, int]]]) -> int:
    return sum(rows for values in collided.values() for _, rows in values)


hashes = st.integers(0, 40) | st.integers(0, 2**64 - 1) | st.integers(0, 30).map(lambda k: 2**k)
memories = st.sampled_from([(SPILL_ENTRIES, SPILL_ENTRIES), (3, SPILL_ENTRIES), (3, 4), (SPILL_ENTRIES, 2)])


@settings(max_examples=100)
@given(
    st.lists(st.lists(hashes, max_size=20), max_size=5),
    st.integers(1, 50) | st.sampled_from([2**31 - 3]),
    memories,
    st.randoms(use_true_random=False),
)
def test_collisions_equal_a_plain_count_in_any_order_spilled_or_not(
    tmp_path_factory: pytest.TempPathFactory,
    blocks: list[list[int]],
    buckets: int,
    memory: tuple[int, int],
    chance: random.Random,
) -> None:
    shuffled = [chance.sample(block, len(block)) for block in chance.sample(blocks, len(blocks))]
    counts = Counter(value for block in blocks for value in block)
    spill_entries, held_values = memory
    spill_dir = tmp_path_factory.mktemp("spill")
    traffic = traffic_of(shuffled, spill_dir, spill_entries=spill_entries, held_values=held_values)
    found = traffic.collisions(buckets)
    collided = collided_by_hand(counts, buckets)
    assert (found.buckets, found.distinct, found.rows) == (buckets, len(counts), counts.total())
    assert found.observed == sum(len(values) for values in collided.values())
    assert found.collided_rows == rows_of(collided)
    assert found.load == len(counts) / buckets
    assert found.traffic == (rows_of(collided) / counts.total() if counts else 0.0)
    ranked = sorted(collided.items(), key=lambda pair: (-sum(rows for _, rows in pair[1]), pair[0]))
    assert [(one.bucket, one.rows, one.num_values, list(one.top)) for one in found.worst] == [
        (bucket, sum(rows for _, rows in values), len(values), values[:SHOWN_VALUES])
        for bucket, values in ranked[:WORST_BUCKETS]
    ]


@settings(max_examples=100)
@given(st.lists(hashes, max_size=40), st.sampled_from([0.01, 0.1, 0.5]), memories)
def test_enough_buckets_are_the_least_power_of_two_below_the_limit(
    tmp_path_factory: pytest.TempPathFactory, values: list[int], limit: float, memory: tuple[int, int]
) -> None:
    spill_entries, held_values = memory
    spill_dir = tmp_path_factory.mktemp("spill")
    traffic = traffic_of([values], spill_dir, spill_entries=spill_entries, held_values=held_values)
    counts = Counter(values)
    sizes = [2**bits for bits in range(31)]
    enough = [n for n in sizes if not counts or rows_of(collided_by_hand(counts, n)) / counts.total() < limit]
    assert traffic.enough_buckets(limit) == (enough[0] if enough else None)


def test_no_number_of_buckets_is_enough_for_values_that_meet_in_the_largest(tmp_path: Path) -> None:
    assert traffic_of([[5, 5 + 2**30]], tmp_path).enough_buckets() is None
    assert traffic_of([[5, 5 + 2**29]], tmp_path).enough_buckets() == 2**30
    assert traffic_of([[5] * 990 + [7] * 9 + [7 + 2**30]], tmp_path).enough_buckets() is None
    assert traffic_of([[5] * 991 + [7] * 8 + [7 + 2**30]], tmp_path).enough_buckets() == 4


def test_nothing_collides_where_there_is_no_value_or_one(tmp_path: Path) -> None:
    for block in ([], [9, 9]):
        traffic = traffic_of([block], tmp_path)
        assert traffic.enough_buckets() == 1
        found = traffic.collisions(1)
        assert (found.observed, found.expected, found.traffic, found.worst) == (0, 0.0, 0.0, ())


@pytest.mark.parametrize(("distinct", "buckets"), [(5_000, 100_000), (20_000, 20_000), (30_000, 3_000)])
def test_uniform_hashes_collide_as_often_as_expected(distinct: int, buckets: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    repeats = [
        traffic_of([draw.integers(0, 2**64, distinct, dtype=np.uint64).tolist()], tmp_path).collisions(buckets)
        for _ in range(20)
    ]
    mean = np.mean([found.observed for found in repeats])
    deviation = np.std([found.observed for found in repeats], ddof=1) / np.sqrt(len(repeats))
    assert abs(mean - repeats[0].expected) < 4 * deviation


def test_expected_collisions_are_the_mean_over_all_placements() -> None:
    assert expected_collisions(2, 1) == 2
    assert expected_collisions(2, 10) == pytest.approx(2 / 10)
    # Of the 4**3 placements of three values: 24 apart, 36 with one pair, 4 all together.
    assert expected_collisions(3, 4) == pytest.approx((36 * 2 + 4 * 3) / 64)
    assert expected_collisions(10**8, 2**31 - 3) == pytest.approx(10**16 / 2**31, rel=0.05)
