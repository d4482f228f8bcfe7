"""Where a split by time cuts: the exact time at a rank among more times than memory may hold.

Of each block of times a few marks are kept, in order. They tell between which two times that of a rank lies; then the
blocks are looked at once more, and those between the two are few. Most logs come in the order of time: there, all
blocks but one or two need no second look.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widedeep.recipe.schema import DataSettings, TimeSplit
from widedeep.table.split import TEST, TRAIN, VALID, drawn_parts

HELD_TIMES = 1 << 24
"""Times that are held in memory at once (8 bytes each)."""
_MARKS = 128
"""Stretches of a block of times between its marks: so large a share of all rows, twice, may lie between two times."""


@dataclass(frozen=True)
class TimeCuts:
    """Rows from time `test` on are test, earlier ones from `valid` on are valid; infinity for an empty split."""

    valid: float
    test: float

    def row_splits(self, times: NDArray[np.float64]) -> NDArray[np.uint8]:
        """0 train, 1 valid, 2 test for each row."""
        return np.where(times >= self.test, TEST, np.where(times >= self.valid, VALID, TRAIN)).astype(np.uint8)


@dataclass(frozen=True)
class TimeMarks:
    """Some times of a block in order, the first and the last among them."""

    num_rows: int
    times: NDArray[np.float64]

    @classmethod
    def of(cls, times: NDArray[np.float64]) -> "TimeMarks":
        """The marks of a block."""
        return cls(len(times), np.sort(times)[_places(len(times))])

    @property
    def places(self) -> NDArray[np.int64]:
        """Where the marks stand among all times of the block in order."""
        return _places(self.num_rows)


def _places(num_rows: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, num_rows - 1, _MARKS + 1).astype(np.int64)) if num_rows else np.zeros(0, np.int64)


@dataclass(frozen=True)
class TimesAround:
    """The times of some rows, as seen from two times: how many come before both and at each, and what is between."""

    before: int
    at_low: int
    between: NDArray[np.float64]
    at_high: int

    @classmethod
    def of(cls, times: NDArray[np.float64], low: float, high: float) -> "TimesAround":
        """A block of times, seen from `low` and `high`; what is at both is at `low`."""
        at_high = int((times == high).sum()) if high > low else 0
        between = times[(times > low) & (times < high)]
        return cls(int((times < low).sum()), int((times == low).sum()), between, at_high)

    @classmethod
    def joined(cls, parts: Sequence["TimesAround"]) -> "TimesAround":
        """The times of all `parts`."""
        return cls(
            sum(part.before for part in parts),
            sum(part.at_low for part in parts),
            np.concatenate([np.zeros(0), *(part.between for part in parts)]),
            sum(part.at_high for part in parts),
        )


Look = Callable[[Sequence[int], float, float], Iterable[TimesAround]]
"""Gives what some blocks, by their numbers, hold around two times."""


@dataclass(frozen=True)
class RankedTime:
    """A time with the number of rows before it, and of those up to it."""

    time: float
    before: int
    through: int


class RankedTimes:
    """The times of many rows, in blocks, of which a few marks are known."""

    def __init__(self, marks: Sequence[TimeMarks], look: Look) -> None:
        """`look` sees all times of a block."""
        self.num_rows = sum(block.num_rows for block in marks)
        self._marks, self._look = marks, look

    @classmethod
    def in_passes(cls, times: Callable[[], Iterable[NDArray[np.float64]]]) -> "RankedTimes":
        """Those that `times` gives block by block, as often as it is asked; no more than HELD_TIMES are asked for
        once, and held."""
        marks: list[TimeMarks] = []
        held: list[NDArray[np.float64]] | None = []
        for block in times():
            marks.append(TimeMarks.of(block))
            if held is not None:
                held.append(block)
                if sum(map(len, held)) > HELD_TIMES:
                    held = None

        def look(numbers: Sequence[int], low: float, high: float) -> Iterator[TimesAround]:
            wanted = set(numbers)
            for number, block in enumerate(times() if held is None else held):
                if number in wanted:
                    yield TimesAround.of(block, low, high)

        return cls(marks, look)

    def at(self, rank: int) -> RankedTime:
        """The time at `rank` (0-based, below `num_rows`) of all times in order; both zeros are one."""
        low, high = self._bounds(rank)
        before, to_see = 0, []
        for number, block in enumerate(self._marks):
            if block.num_rows and block.times[-1] < low:
                before += block.num_rows
            elif block.num_rows and block.times[0] <= high:
                to_see.append(number)
        seen = TimesAround.joined(list(self._look(to_see, low, high)))
        before += seen.before
        first_between, first_at_high = before + seen.at_low, before + seen.at_low + len(seen.between)
        if rank < first_between:
            return RankedTime(low + 0.0, before, first_between)
        if rank >= first_at_high:
            return RankedTime(high + 0.0, first_at_high, first_at_high + seen.at_high)
        time = float(np.partition(seen.between, rank - first_between)[rank - first_between])
        smaller, others = int((seen.between < time).sum()), int((seen.between <= time).sum())
        return RankedTime(time + 0.0, first_between + smaller, first_between + others)

    def _bounds(self, rank: int) -> tuple[float, float]:
        """Two marks between which the time at `rank` lies, or at which."""
        blocks = [block for block in self._marks if block.num_rows]
        times = np.concatenate([block.times for block in blocks])
        order = np.argsort(times)
        # At a mark, so many more rows of its block are certain to come up to it, and may come before what follows it.
        certain = np.concatenate([np.diff(block.places, prepend=-1) for block in blocks])[order]
        possible = np.concatenate([np.diff(block.places, append=block.num_rows) for block in blocks])[order]
        high = int(np.searchsorted(np.cumsum(certain), rank, side="right"))
        low = int(np.searchsorted(np.cumsum(possible) - possible, rank, side="right")) - 1
        return float(times[order[low]]), float(times[order[high]])


def time_cuts(data: DataSettings, times: RankedTimes) -> TimeCuts:
    """The exact cut points: the last `test` share of all rows, before it the last `valid` share of all.

    Rows of one instant stay together, in the later part.
    """
    assert isinstance(data.split, TimeSplit)
    parts = drawn_parts(data)
    test = valid = np.inf
    left = times.num_rows
    if "test" in parts:
        found = times.at(max(left - _num_wanted(data.split.test, times.num_rows), 0))
        test, left = found.time, found.before
    if "valid" in parts and left:
        valid = times.at(max(left - _num_wanted(data.split.valid, times.num_rows), 0)).time
    return TimeCuts(valid, test)


def _num_wanted(share: float, num_rows: int) -> int:
    return max(1, round(share * num_rows))
