"""Ranking metrics within groups of rows (GAUC, MAP, NDCG, MRR, hit rate), exact, spilled to disk by group hash."""

import math
import re
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from widedeep.errors import WriteError
from widedeep.files import temporary_directory

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Rows = NDArray[np.void]
Number = TypeVar("Number", np.int64, np.float64)

PARTITIONS = 256
"""Partitions, which are evaluated one by one; each is a file when spilled. All rows of a group are in one partition."""

_ROW = np.dtype([("group", np.uint64), ("score", np.float64), ("signed_weight", np.float64)])

_CUTOFF_TITLES = {"map": "MAP", "ndcg": "NDCG", "hit_rate": "hit rate"}
_TITLES = {"gauc": "GAUC", "mrr": "MRR", "groups": "groups", "groups_one_class": "groups of one class"}
GROUP_COUNTS = ("groups", "groups_one_class")
"""Figures that describe the groups; all others are metrics, and larger is better."""


def grouped_title(name: str) -> str:
    """Heading of a figure by group, such as `gauc` or `map@5`. Raises KeyError for an unknown name."""
    if match := re.fullmatch(r"(map|ndcg|hit_rate)@([1-9][0-9]*)", name):
        return f"{_CUTOFF_TITLES[match[1]]}@{match[2]}"
    return _TITLES[name]


class GroupedRanking:
    """Metrics of rankings within groups. About `max_held_rows` rows (24 bytes each) are held, the others are on disk.

    Row order, batch borders and spilling do not change a bit of the figures: a group's rows are all in one partition
    and are sorted by score and weight there, and the partitions' sums are added exactly. Each partition is evaluated in
    memory, with some 150 bytes a row. It has a 256th of all rows, or those of the largest group if that is larger.
    """

    def __init__(self, cutoffs: Sequence[int], spill_dir: Path | None, max_held_rows: int) -> None:
        if any(cutoff < 1 for cutoff in cutoffs):
            raise ValueError(f"cutoffs must be at least 1, not {list(cutoffs)}")
        self._cutoffs = tuple(dict.fromkeys(cutoffs))
        self._spill_dir = spill_dir
        self._max_held_rows = max_held_rows
        self._folder: Path | None = None
        self._folder_kept = ExitStack()
        self._held: list[tuple[Rows, IntArray]] = []
        """Blocks of rows sorted by partition, each with the borders of its partitions, int64 [PARTITIONS + 1]."""
        self._held_rows = 0

    def close(self) -> None:
        """Remove the spilled rows from disk."""
        self._folder_kept.close()
        self._folder = None

    def add(self, group: NDArray[np.uint64], score: FloatArray, signed_weight: FloatArray) -> None:
        """Add rows, [N] each. `signed_weight` is the weight of a positive row, or minus the weight of a negative row.

        Rows without weight are left out of everything. Raises WriteError if spilling fails.
        """
        kept = np.flatnonzero(signed_weight)
        # Multiplying by 2^64 / golden ratio spreads groups whose hash is not uniform, such as small integers.
        partition = ((group[kept] * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(56)).astype(np.uint8)
        kept = kept[np.argsort(partition, kind="stable")]
        rows = np.empty(len(kept), dtype=_ROW)
        rows["group"], rows["score"], rows["signed_weight"] = group[kept], score[kept], signed_weight[kept]
        borders = np.concatenate(([0], np.cumsum(np.bincount(partition, minlength=PARTITIONS))))
        self._held.append((rows, borders))
        self._held_rows += len(rows)
        if self._held_rows > self._max_held_rows:
            self._spill()

    def figures(self) -> dict[str, float | None]:
        """All figures by group, None if undefined; their definitions are in `MetricAccumulator`'s docstring."""
        sums: dict[str, list[float]] = {}
        for partition in range(PARTITIONS):
            rows = self._partition(partition)
            if len(rows):
                for name, value in _partition_sums(rows, self._cutoffs).items():
                    sums.setdefault(name, []).append(value)
        totals = {name: math.fsum(values) for name, values in sums.items()}
        at = {kind: [f"{kind}@{cutoff}" for cutoff in self._cutoffs] for kind in _CUTOFF_TITLES}
        means = {
            name: _mean(totals, name, "groups_with_positives")
            for name in (*at["map"], *at["ndcg"], "mrr", *at["hit_rate"])
        }
        counts = {name: int(totals.get(name, 0)) for name in GROUP_COUNTS}
        return {"gauc": _mean(totals, "gauc", "gauc_weight")} | means | counts

    def _partition(self, partition: int) -> Rows:
        parts = [rows[borders[partition] : borders[partition + 1]] for rows, borders in self._held]
        if self._folder is not None and (path := self._path(partition)).exists():
            parts.append(np.fromfile(path, dtype=_ROW))
        return np.concatenate(parts) if parts else np.empty(0, dtype=_ROW)

    def _path(self, partition: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{partition:03d}.rows"

    def _spill(self) -> None:
        try:
            if self._folder is None:
                self._folder = self._folder_kept.enter_context(temporary_directory(self._spill_dir))
            for partition in range(PARTITIONS):
                parts = [rows[borders[partition] : borders[partition + 1]] for rows, borders in self._held]
                if any(len(part) for part in parts):
                    with self._path(partition).open("ab") as file:
                        file.write(np.concatenate(parts).tobytes())
        except OSError as error:
            place, size = self._spill_dir or tempfile.gettempdir(), self._held_rows * _ROW.itemsize
            raise WriteError(f"{place}: cannot write the scores to rank by group ({size:,} bytes): {error}") from error
        self._held, self._held_rows = [], 0


def _mean(totals: dict[str, float], total: str, count: str) -> float | None:
    return totals[total] / totals[count] if totals.get(count) else None


# ---------------------------------------------------------------------------------------------- sums over groups


@dataclass(frozen=True)
class _Ties:
    """Ties, which are sets of rows with equal scores within a group, by group and falling score.

    Shapes: [T] for T ties, [G] for G groups.
    """

    first: IntArray
    """[G]: position of each group's first tie."""
    above: IntArray
    """[T]: number of rows of the group with a higher score."""
    size: IntArray
    """[T]: number of rows."""
    positives: IntArray
    """[T]: number of positive rows."""
    positive_weight: FloatArray
    """[T]."""
    negative_weight: FloatArray
    """[T]."""

    @classmethod
    def of_rows(cls, rows: Rows) -> Self:
        """The ties of rows. Rows are sorted by weight too, so that the last digits of sums do not show their order."""
        order = np.lexsort((rows["signed_weight"], -rows["score"], rows["group"]))
        group, score, signed_weight = (rows[name][order] for name in ("group", "score", "signed_weight"))
        new_group = np.concatenate(([True], group[1:] != group[:-1]))
        new_score = np.concatenate(([True], score[1:] != score[:-1]))
        start = np.flatnonzero(new_group | new_score)
        first = np.flatnonzero(new_group[start])
        return cls(
            first=first,
            above=start - np.repeat(start[first], np.diff(first, append=len(start))),
            size=np.diff(start, append=len(rows)),
            positives=np.add.reduceat((signed_weight > 0).astype(np.int64), start),
            positive_weight=np.add.reduceat(np.maximum(signed_weight, 0.0), start),
            negative_weight=np.add.reduceat(np.maximum(-signed_weight, 0.0), start),
        )

    def with_positives(self) -> Self:
        """Only the ties that have a positive row, and so only the groups that have one."""
        kept = np.flatnonzero(self.positives)
        number = np.repeat(np.arange(len(self.first)), np.diff(self.first, append=len(self.size)))[kept]
        return type(self)(
            np.flatnonzero(np.diff(number, prepend=-1)),
            self.above[kept],
            self.size[kept],
            self.positives[kept],
            self.positive_weight[kept],
            self.negative_weight[kept],
        )


def _partition_sums(rows: Rows, cutoffs: Sequence[int]) -> dict[str, float]:
    ties = _Ties.of_rows(rows)
    sums = {"groups": float(len(ties.first))} | _auc_sums(ties)
    relevant = ties.with_positives()
    sums["groups_with_positives"] = float(len(relevant.first))
    if len(relevant.first):
        sums |= _first_positive_sums(relevant, cutoffs) | _depth_sums(relevant, cutoffs)
    return sums


def group_aucs(
    group: NDArray[np.uint64], score: FloatArray, signed_weight: FloatArray
) -> tuple[NDArray[np.uint64], FloatArray, FloatArray]:
    """The groups with both classes in rising order, their AUCs and their weights, [G] each.

    Rows are [N], as in `GroupedRanking.add`.
    """
    rows = np.empty(int(np.count_nonzero(signed_weight)), dtype=_ROW)
    for name, values in (("group", group), ("score", score), ("signed_weight", signed_weight)):
        rows[name] = values[signed_weight != 0.0]
    if not len(rows):
        return np.empty(0, dtype=np.uint64), np.empty(0), np.empty(0)
    both, auc, weight = _aucs(_Ties.of_rows(rows))
    return np.unique(rows["group"])[both], auc, weight


def _aucs(ties: _Ties) -> tuple[IntArray, FloatArray, FloatArray]:
    """Positions of the groups with both classes, their AUCs (Mann-Whitney, a tie counts half) and their weights."""
    positive = np.add.reduceat(ties.positive_weight, ties.first)
    negative = np.add.reduceat(ties.negative_weight, ties.first)
    above = _sums_above(ties.positive_weight, ties.first, positive)
    concordant = np.add.reduceat(ties.negative_weight * (above + ties.positive_weight / 2), ties.first)
    both = np.flatnonzero((positive > 0) & (negative > 0))
    return both, concordant[both] / (positive[both] * negative[both]), (positive + negative)[both]


def _auc_sums(ties: _Ties) -> dict[str, float]:
    """`gauc`: sum of weight_g * AUC_g over the groups g with both classes. `gauc_weight`: sum of their weights."""
    both, auc, weight = _aucs(ties)
    return {
        "gauc": float((weight * auc).sum()),
        "gauc_weight": float(weight.sum()),
        "groups_one_class": float(len(ties.first) - len(both)),
    }


def _sums_above(values: NDArray[Number], first: IntArray, totals: NDArray[Number]) -> NDArray[Number]:
    """Sum of the values before each value in its group. `first` [G] is where groups begin, `totals` [G] their sums."""
    steps = values.copy()
    # Subtracting each group's total at the start of the next keeps the running sum, and so its rounding error, as small
    # as a group's. The error that is left over from earlier groups is subtracted at the end.
    steps[first[1:]] -= totals[:-1]
    above = np.cumsum(steps) - values
    return above - np.repeat(above[first], np.diff(first, append=len(values)))


# Below, tied rows are in random order, and all orders are equally likely: the sums add up groups' expected values.


def _first_positive_sums(ties: _Ties, cutoffs: Sequence[int]) -> dict[str, float]:
    """Reciprocal rank and hits, from the probability of each rank that the group's first positive row may have.

    Among s tied rows of which p are positive, the first positive is the j-th with probability C(s - j, p - 1) / C(s, p)
    (negative hypergeometric distribution), for j from 1 to s - p + 1.
    """
    above, size, positives = (values[ties.first] for values in (ties.above, ties.size, ties.positives))
    num_ranks = size - positives + 1
    start = np.cumsum(num_ranks) - num_ranks
    s, p = np.repeat(size, num_ranks), np.repeat(positives, num_ranks)
    j = np.arange(1, len(s) + 1) - np.repeat(start, num_ranks)
    log_factorial = np.fromiter(map(math.lgamma, range(1, int(size.max()) + 2)), dtype=np.float64)
    others = (log_factorial[s - j] - log_factorial[s - 1]) + (log_factorial[s - p] - log_factorial[s - p - j + 1])
    probability = p / s * np.exp(others)
    rank = np.repeat(above, num_ranks) + j
    sums = {"mrr": float(np.add.reduceat(probability / rank, start).sum())}
    for cutoff in cutoffs:
        hits = np.add.reduceat(np.where(rank <= cutoff, probability, 0.0), start)
        sums[f"hit_rate@{cutoff}"] = float(np.minimum(hits, 1.0).sum())
    return sums


def _depth_sums(ties: _Ties, cutoffs: Sequence[int]) -> dict[str, float]:
    """Average precision and NDCG down to each cutoff.

    A tied rank is positive with probability p / s, which is all that NDCG needs. It is positive together with an
    earlier rank of the same tie with probability p / s * q, where q = (p - 1) / (s - 1). With a rows and c positives
    above the tie, rank i therefore adds an expected precision of p / s * (c + 1 + (i - a - 1) q) / i. Summed over
    ranks, that needs only sums of 1 / i.
    """
    a, s, p = ties.above, ties.size, ties.positives
    group_positives = np.add.reduceat(p, ties.first)
    c = _sums_above(p, ties.first, group_positives)
    q = (p - 1) / np.maximum(s - 1, 1)
    depth = min(max(cutoffs, default=1), int((a + s).max()))
    rank = np.arange(1, depth + 1)
    reciprocals = np.concatenate(([0.0], np.cumsum(1 / rank)))
    discounts = np.concatenate(([0.0], np.cumsum(1 / np.log2(rank + 1))))
    sums: dict[str, float] = {}
    for cutoff in cutoffs:
        k = min(cutoff, depth)  # no tie with a positive row goes deeper
        begin, end = np.minimum(a, k), np.minimum(a + s, k)
        precision = p / s * ((c + 1 - (a + 1) * q) * (reciprocals[end] - reciprocals[begin]) + q * (end - begin))
        gain = p / s * (discounts[end] - discounts[begin])
        best = np.minimum(group_positives, k)
        sums[f"map@{cutoff}"] = float((np.add.reduceat(precision, ties.first) / best).sum())
        sums[f"ndcg@{cutoff}"] = float((np.add.reduceat(gain, ties.first) / discounts[best]).sum())
    return sums
