"""What rows looked like to the model: by field, how many lack a value or hold an unseen one and which bins the others
fall into; how their scores spread. Counts of parts add up, whatever the parts.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.features.plan import FeaturePlan, UnseenCounts
from widedeep.lists import Lists
from widedeep.shares import Shift, shift_of_counts, wilson

BINNED_ROWS = 1 << 12
"""Rows of a part whose values are counted by bin, evenly spread: they tell a shift, and cost next to nothing."""
_SINGLE, _GROUPS = 34, 32
"""An index below the first has a bin of its own (missing, unknown, the 32 commonest values, or the first buckets); the
others share as many bins as the second says, by their last bits."""
INDEX_BINS = _SINGLE + _GROUPS
_CELL_BITS = 20
_GOLDEN_RATIO = (5**0.5 - 1) / 2
NUMBER_CELLS = 1 << (32 - _CELL_BITS)
"""Cells of float32 numbers in ascending order, eight to a power of two: no grid has to be fitted, and any two fit."""
_NUMBER_BINS = 32
"""Bins of about equally many usual numbers, into which cells are joined to be compared."""
_SIGMAS = 4.0
_CHANCE = 1e-5
"""How sure a difference must be: hundreds of fields are judged every night, and none may be told by chance."""

Counts = NDArray[np.int64]
BIN_SHAPE = {"rows": int, "bins": [int], "counts": [int]}
FIELD_SHAPE = {"rows": int, "missing": int, "unseen": int, "binned": BIN_SHAPE}
SCORES_SHAPE = {"rows": int, "mean": float, "deviation": float, "binned": BIN_SHAPE}
"""What JSON files hold of a field and of the scores."""


def index_bins(indices: NDArray[np.int32]) -> Counts:
    """How many of the encoded indices [N] fall into each bin, [INDEX_BINS]."""
    return np.bincount(np.where(indices < _SINGLE, indices, _SINGLE + (indices & (_GROUPS - 1))), minlength=INDEX_BINS)


def number_cells(numbers: NDArray[np.float32]) -> Counts:
    """How many of the numbers [N] fall into each cell, [NUMBER_CELLS]."""
    bits = np.ascontiguousarray(numbers).view(np.int32)
    ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return np.bincount((ascending >> _CELL_BITS) + NUMBER_CELLS // 2, minlength=NUMBER_CELLS)


@dataclass
class Binned:
    """Counts by bin, and the number of rows that they are of (lists have several values a row)."""

    counts: Counts
    rows: int = 0
    """Of rows that stand for others, how many would tell as much by themselves (Kish's effective sample size)."""
    _stood_for: int = 0
    _squares: int = 0

    def add(self, counts: Counts, rows: int, step: int = 1) -> None:
        """Add the counts of some rows, each of which stands for `step` rows: parts weigh what they hold."""
        self.counts += counts * step
        self._stood_for += rows * step
        self._squares += rows * step * step
        self.rows = self._stood_for**2 // max(1, self._squares)

    def merge(self, other: "Binned") -> None:
        """Add what was added elsewhere."""
        self.counts += other.counts
        self._stood_for += other._stood_for
        self._squares += other._squares
        self.rows = self._stood_for**2 // max(1, self._squares)

    def __getstate__(self) -> tuple[Any, ...]:
        # Most bins of most parts are empty, and need not travel from a worker.
        bins = np.flatnonzero(self.counts)
        return len(self.counts), bins, self.counts[bins], self.rows, self._stood_for, self._squares

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        num_bins, bins, counts, self.rows, self._stood_for, self._squares = state
        self.counts = np.zeros(num_bins, dtype=np.int64)
        self.counts[bins] = counts

    def to_json(self) -> dict[str, Any]:
        """The bins that hold anything, and their counts."""
        bins = np.flatnonzero(self.counts)
        return {"rows": self.rows, "bins": bins.tolist(), "counts": self.counts[bins].tolist()}

    @classmethod
    def of_json(cls, content: Mapping[str, Any], num_bins: int) -> "Binned":
        """Read what `to_json` gave. Raises ValueError for bins or counts that cannot be."""
        counts = np.zeros(num_bins, dtype=np.int64)
        bins, values = content["bins"], content["counts"]
        if len(bins) != len(values) or any(not 0 <= number < num_bins for number in bins):
            raise ValueError("bins that are none")
        if content["rows"] < 0 or any(not 0 <= value < 2**53 for value in values):
            raise ValueError("counts that are none")
        counts[bins] = values
        return cls(counts, content["rows"])


def shift_of(usual: Binned, now: Binned) -> Shift:
    """How far the rows of `now` surely lie from `usual`. Where either has no rows, there is no shift."""
    before, after = usual.counts, now.counts
    if len(before) == NUMBER_CELLS and before.any():
        before, after = _merged(before, after)
    return shift_of_counts(before, after, (usual.rows, now.rows), sigmas=_SIGMAS, chance=_CHANCE)


def _merged(before: Counts, after: Counts) -> tuple[Counts, Counts]:
    """Cells of numbers joined to bins that hold about equally many of the usual numbers."""
    ranks = (np.cumsum(before) - before / 2) / before.sum()
    bins = np.minimum((ranks * _NUMBER_BINS).astype(np.int64), _NUMBER_BINS - 1)
    joined = [np.bincount(bins, weights=counts, minlength=_NUMBER_BINS).astype(np.int64) for counts in (before, after)]
    return joined[0], joined[1]


def rate_bounds(number: int, rows: int) -> tuple[float, float]:
    """Where the rate behind `number` of `rows` surely lies."""
    if not rows:
        return 0.0, 1.0
    low, high = wilson(number / rows, rows, _SIGMAS)
    return float(low), float(high)


@dataclass
class FieldTally:
    """What a field's rows held."""

    binned: Binned
    rows: int = 0
    missing: int = 0
    """Rows without a value."""
    unseen: int = 0
    """Rows with a value that train had not, or too rarely."""

    def rate(self, measure: str) -> float:
        """Share of the rows that are `missing` or `unseen`; 0 if there are none."""
        number: int = getattr(self, measure)
        return number / self.rows if self.rows else 0.0

    def to_json(self) -> dict[str, Any]:
        """The counts as plain values."""
        return {"rows": self.rows, "missing": self.missing, "unseen": self.unseen, "binned": self.binned.to_json()}

    @classmethod
    def of_json(cls, content: Mapping[str, Any], num_bins: int) -> "FieldTally":
        """Read what `to_json` gave. Raises ValueError for counts that cannot be."""
        rows, missing, unseen = content["rows"], content["missing"], content["unseen"]
        if not (0 <= missing <= rows and 0 <= unseen <= rows):
            raise ValueError("more rows without a value than rows")
        return cls(Binned.of_json(content["binned"], num_bins), rows, missing, unseen)


@dataclass
class ScoreTally:
    """How scores spread, and which they were."""

    binned: Binned = field(default_factory=lambda: Binned(np.zeros(NUMBER_CELLS, dtype=np.int64)))
    rows: int = 0
    total: float = 0.0
    squares: float = 0.0
    _digest: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))

    def add(self, scores: NDArray[np.float32]) -> None:
        """Add scores [N], in the order of the rows."""
        wide = scores.astype(np.float64)
        self.rows += len(scores)
        self.total += float(wide.sum())
        # Not `wide @ wide`: BLAS wakes threads for it, whose waiting costs more than all other counting.
        self.squares += float(np.square(wide).sum())
        self._digest.update(np.ascontiguousarray(scores))
        step, chosen = _spread(len(scores))
        told = scores[chosen]
        self.binned.add(number_cells(told), len(told), step)

    @property
    def digest(self) -> str:
        """Of all scores in their order: equal rows have equal scores."""
        digest: str = self._digest.hexdigest()
        return digest

    def to_json(self) -> dict[str, Any]:
        """Rows, mean, standard deviation and counts; no NaN."""
        mean = self.total / max(1, self.rows)
        deviation = max(0.0, self.squares / max(1, self.rows) - mean * mean) ** 0.5
        return {"rows": self.rows, "mean": mean, "deviation": deviation, "binned": self.binned.to_json()}


@dataclass(frozen=True)
class PartCounts:
    """What one part of the rows held; counted on any thread."""

    odd: UnseenCounts
    bins: Mapping[str, Counts] = field(default_factory=dict)
    rows: int = 0
    binned_rows: int = 0
    step: int = 1
    """How many rows each row of `bins` stands for."""


class OddValues:
    """Sums up the rows whose value was missing or unseen in train; only fields that have any."""

    def __init__(self) -> None:
        self.missing: dict[str, int] = {}
        self.unseen: dict[str, int] = {}

    def add(self, counts: UnseenCounts) -> None:
        """Add the counts of some rows."""
        for name, of_field in counts.items():
            for total, number in ((self.missing, of_field["missing"]), (self.unseen, of_field["unseen"])):
                if number:
                    total[name] = total.get(name, 0) + number

    def count(self, plan: FeaturePlan, typed: pl.DataFrame, encoded: pl.DataFrame) -> PartCounts:
        """What to add of typed rows and their encoding."""
        return PartCounts(plan.count_unseen(typed, encoded))

    def add_part(self, part: PartCounts, scores: NDArray[np.float32]) -> None:
        """Add what `count` gave, and the rows' scores, in the order of the rows."""
        self.add(part.odd)

    def merge(self, later: "OddValues") -> None:
        """Add what a worker has counted of the rows that follow, all but their scores."""
        for total, of_later in ((self.missing, later.missing), (self.unseen, later.unseen)):
            for name, number in of_later.items():
                total[name] = total.get(name, 0) + number

    def add_scores(self, scores: NDArray[np.float32]) -> None:
        """Add the scores of a part of the rows that were merged; here they are not asked for."""


class Tally(OddValues):
    """Sums up what a guard asks: odd values, bins and scores."""

    def __init__(self, plan: FeaturePlan) -> None:
        super().__init__()
        self.fields = {name: FieldTally(no_counts(is_number=is_number)) for name, is_number in fields_of(plan).items()}
        self.scores = ScoreTally()
        self.rows = 0
        self._waiting: list[NDArray[np.float32]] = []
        self._num_waiting = 0

    def count(self, plan: FeaturePlan, typed: pl.DataFrame, encoded: pl.DataFrame) -> PartCounts:
        step, chosen = _spread(len(typed))
        columns = {name: _read(encoded[name], chosen) for name in self.fields}
        told = len(typed) if isinstance(chosen, slice) else len(chosen)
        return PartCounts(plan.count_unseen(typed, encoded), binned(columns), len(typed), told, step)

    def add_part(self, part: PartCounts, scores: NDArray[np.float32]) -> None:
        super().add_part(part, scores)
        self.rows += part.rows
        for name, counts in part.bins.items():
            self.fields[name].binned.add(counts, part.binned_rows, part.step)
        self.add_scores(scores)

    def add_scores(self, scores: NDArray[np.float32]) -> None:
        # Rows that come one by one wait for others, as an answer must not wait for them.
        self._waiting.append(scores)
        self._num_waiting += len(scores)
        if self._num_waiting >= BINNED_ROWS:
            self._add_waiting()

    def merge(self, later: OddValues) -> None:
        super().merge(later)
        assert isinstance(later, Tally)
        self.rows += later.rows
        for name, of_field in later.fields.items():
            self.fields[name].binned.merge(of_field.binned)

    def __getstate__(self) -> dict[str, Any]:
        # Scores are left to whoever has those of all rows: their sums and their digest depend on the order.
        return {**vars(self), "scores": None, "_waiting": [], "_num_waiting": 0}

    def settle(self) -> None:
        """Bring all figures up to date with the rows that were added."""
        self._add_waiting()
        for name, of_field in self.fields.items():
            of_field.rows = self.rows
            of_field.missing, of_field.unseen = self.missing.get(name, 0), self.unseen.get(name, 0)

    def _add_waiting(self) -> None:
        if self._waiting:
            self.scores.add(np.concatenate(self._waiting))
            self._waiting, self._num_waiting = [], 0

    def to_json(self) -> dict[str, Any]:
        """The counts as plain values."""
        self.settle()
        fields = {name: of_field.to_json() for name, of_field in self.fields.items()}
        return {"fields": fields, "scores": self.scores.to_json()}


def fields_of(plan: FeaturePlan) -> dict[str, bool]:
    """Field → whether it is a number, for every field of the plan."""
    names = {field.name: False for field in plan.vocabulary_fields}
    return names | {number.name: True for number in plan.numerics}


def binned(columns: Mapping[str, NDArray[Any]]) -> dict[str, Counts]:
    """Field → counts by bin of its encoded indices (int32) or numbers (float32)."""
    return {
        name: number_cells(values) if values.dtype == np.float32 else index_bins(values)
        for name, values in columns.items()
    }


def num_bins(*, is_number: bool) -> int:
    """How many bins a field has."""
    return NUMBER_CELLS if is_number else INDEX_BINS


def missing_and_unseen(column: NDArray[np.int32] | Lists) -> tuple[int, int]:
    """Rows that hold the index of a missing value, and rows that hold that of an unseen one."""
    if isinstance(column, Lists):
        rows = column.row_of_values()
        return len(np.unique(rows[column.values == 0])), len(np.unique(rows[column.values == 1]))
    return int((column == 0).sum()), int((column == 1).sum())


def no_counts(*, is_number: bool) -> Binned:
    """Bins of a field that hold nothing yet."""
    return Binned(np.zeros(num_bins(is_number=is_number), dtype=np.int64))


def _read(column: pl.Series, chosen: slice | Counts) -> NDArray[Any]:
    """The values of the chosen rows."""
    if not isinstance(column.dtype, pl.List):
        return column.to_numpy()[chosen]  # without a copy of all, and without waking Polars' threads
    return (column if isinstance(chosen, slice) else column.gather(chosen)).explode().to_numpy()


def _spread(rows: int) -> tuple[int, slice | Counts]:
    """How many rows each chosen row stands for, and the rows to choose: of every so many, one.

    Which of them moves by the golden ratio: rows that come in turns (the places of a page, 1 to 10) would meet a fixed
    one in a few of their turns only.
    """
    step = max(1, rows // BINNED_ROWS)
    if step == 1:
        return 1, slice(None)
    starts = np.arange(0, rows, step)
    turns = np.arange(len(starts)) * _GOLDEN_RATIO % 1.0
    return step, np.minimum(starts + (turns * step).astype(np.int64), rows - 1)
