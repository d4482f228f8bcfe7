"""The time at a rank is that of all times sorted, though few of them are seen twice."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widedeep.table.time_cuts import RankedTimes, TimeMarks, TimesAround

DAYS = st.integers(0, 3).map(float)


@given(
    st.lists(st.lists(DAYS | st.floats(-10.0, 10.0), max_size=30), min_size=1, max_size=8).filter(any),
    st.sampled_from([1, 2, 5]),
    st.sampled_from([0, 1000]),
)
def test_every_rank_has_its_time_and_the_rows_before_it_and_up_to_it(
    blocks: list[list[float]], marks: int, held: int
) -> None:
    arrays = [np.array(block, dtype=np.float64) for block in blocks]
    ordered = np.sort(np.concatenate(arrays))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("widedeep.table.time_cuts._MARKS", marks)
        patch.setattr("widedeep.table.time_cuts.HELD_TIMES", held)
        times = RankedTimes.in_passes(lambda: arrays)
        found = [times.at(rank) for rank in range(len(ordered))]

    assert times.num_rows == len(ordered)
    assert [(of_rank.time, of_rank.before, of_rank.through) for of_rank in found] == [
        (time, int((ordered < time).sum()), int((ordered <= time).sum())) for time in ordered.tolist()
    ]


@pytest.mark.parametrize(("is_sorted", "most_blocks"), [(True, 1), (False, 50)])
def test_few_times_are_seen_twice_and_few_blocks_of_a_log_in_the_order_of_time(
    is_sorted: bool, most_blocks: int
) -> None:
    all_times = np.random.default_rng(0).uniform(0, 1e6, 50_000)
    blocks = np.array_split(np.sort(all_times) if is_sorted else all_times, 50)
    asked: list[int] = []
    between: list[int] = []

    def look(numbers: Sequence[int], low: float, high: float) -> Iterator[TimesAround]:
        asked.extend(numbers)
        for number in numbers:
            around = TimesAround.of(blocks[number], low, high)
            between.append(len(around.between))
            yield around

    found = RankedTimes([TimeMarks.of(block) for block in blocks], look).at(44_321)

    assert found.time == np.sort(all_times)[44_321]
    assert len(asked) <= most_blocks
    assert sum(between) < 0.02 * len(all_times)
