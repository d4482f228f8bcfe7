"""Accumulates the exact metrics of scored rows, chunk by chunk, as the sums that their formulas need."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from widedeep.evaluation.formulas import BY_KIND, FloatArray
from widedeep.evaluation.grouped import GroupedRanking
from widedeep.evaluation.ranking import Ranking
from widedeep.recipe.data import LabelKind

ECE_BINS = 20
"""Equal-width score bins of the expected calibration error."""

_BLOCK_ROWS = 1 << 16
"""Rows that are summed together. Blocks are cut by row number, so the sums do not depend on the caller's chunks."""


# ------------------------------------------------------------------------------------- sums over a block of rows


def _binary_sums(label: FloatArray, score: FloatArray, weight: FloatArray, eps: float) -> dict[str, FloatArray]:
    positive = weight * label
    predicted = weight * score
    clipped = np.clip(score, eps, 1.0 - eps)
    bins = np.minimum((score * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    sums = {
        "weight": weight.sum(),
        "positive": positive.sum(),
        "negative": (weight - positive).sum(),
        "predicted": predicted.sum(),
        "log_loss": -(weight * np.log(np.where(label == 1.0, clipped, 1.0 - clipped))).sum(),
        "squared_error": (weight * (score - label) ** 2).sum(),
        "correct": (weight * ((score >= 0.5) == (label == 1.0))).sum(),
        "bin_gaps": np.bincount(bins, weights=predicted - positive, minlength=ECE_BINS),
    }
    return {name: np.asarray(value, dtype=np.float64) for name, value in sums.items()}


def _regression_sums(label: FloatArray, score: FloatArray, weight: FloatArray, origin: float) -> dict[str, FloatArray]:
    # Labels are measured from an origin near their mean: their spread would be lost in the square of a large mean.
    offset = label - origin
    sums = {
        "weight": weight.sum(),
        "squared_error": (weight * (score - label) ** 2).sum(),
        "absolute_error": (weight * np.abs(score - label)).sum(),
        "offset": (weight * offset).sum(),
        "squared_offset": (weight * offset**2).sum(),
    }
    return {name: np.asarray(value, dtype=np.float64) for name, value in sums.items()}


class _RunningSum:
    """Sum of arrays of one shape with Neumaier's compensation: a billion rows lose no more digits than a block."""

    def __init__(self) -> None:
        self._total: FloatArray = np.zeros(())
        self._lost: FloatArray = np.zeros(())

    def add(self, value: FloatArray) -> None:
        total = self._total + value
        kept = np.abs(self._total) >= np.abs(value)
        self._lost = self._lost + np.where(kept, (self._total - total) + value, (value - total) + self._total)
        self._total = total

    def value(self) -> FloatArray:
        return self._total + self._lost


# ----------------------------------------------------------------------------------------------- the accumulator


class MetricAccumulator:
    """Collects labelled scores chunk by chunk and gives their exact metrics; close it (or use `with`) to drop spill
    files.

    The figures depend on the rows and their order, not on the chunks, and every sum is float64. Memory is bounded at
    some 80 bytes times `max_held_rows`. Beyond that, the data for ranking (24 bytes a score) are written to files in a
    folder of their own under `spill_dir`, or under the system's temporary folder. `regression` ranks nothing and spills
    nothing.

    Binary metrics (all are weighted): `auc` (a tie counts half), `log_loss` (nats; scores are clipped to [eps, 1 - eps]
    with the eps of their dtype, as in scikit-learn), `normalized_entropy`, `brier`, `calibration` (mean predicted /
    mean observed), `ece` (20 bins of equal width: sum of |predicted - observed| over the bins, per row),
    `average_precision` (as in scikit-learn: sum of precision times the step in recall, no interpolation), `accuracy`
    (score >= 0.5), `positives` (their rate). Regression metrics: `rmse`, `mae`, `r2`. Both: `rows`, a count that
    ignores weights.

    With `grouped`, `result` also tells how well rows are ranked within their groups (such as one user's impressions or
    one page's candidates), for any number of groups:

    - `gauc`: mean of the AUC within groups that have both classes (row weights count, a tie counts half), weighted by
      the sum of the group's row weights, its number of impressions (Zhu et al. 2017, Optimized Cost per Click in Taobao
      Display Advertising). Groups of one class are left out and counted as `groups_one_class`.
    - `map@k`, `ndcg@k`, `mrr`, `hit_rate@k` for each k of `cutoffs`: plain means over the groups with a positive row;
      groups without one are left out. AP@k = sum of precision@i over the ranks i <= k of positives / min(k, number of
      positives); NDCG@k has gain 1 and discount log2(rank + 1); the reciprocal rank (no cutoff) is that of the first
      positive; a hit is a positive among the first k. Tied rows count as if in random order: a group's figure is its
      expected value over all orders of its ties, exact but for rounding (for NDCG as scikit-learn's
      `ignore_ties=False`). Neither row order nor a constant score can flatter a model.
    - `groups`: the number of groups.

    Rows of weight 0 are left out of all of these; otherwise only `gauc` uses weights. Groups take another 24 bytes a
    row and are spilled beyond `max_held_rows` too. The largest group must fit in memory, at some 150 bytes a row. Row
    order, chunks and spilling do not change a single bit of the figures by group.

    An undefined metric is None, never NaN: `auc`, `average_precision` and `normalized_entropy` if only one class has
    weight; `gauc` without a group of both classes; the other metrics by group without a positive; `calibration` without
    positives; `r2` of a constant label; everything but counts if the weights sum to 0; and any figure that overflows
    float64.
    """

    def __init__(
        self,
        kind: LabelKind,
        *,
        cutoffs: Sequence[int] = (10,),
        grouped: bool = False,
        spill_dir: Path | None = None,
        max_held_rows: int = 8_000_000,
    ) -> None:
        if max_held_rows < 1:
            raise ValueError(f"max_held_rows must be at least 1, not {max_held_rows}")
        if grouped and kind != "binary":
            raise ValueError(f"metrics by group need a binary label, not {kind}")
        self._kind = kind
        self._ranking = Ranking(spill_dir, max_held_rows) if kind == "binary" else None
        self._grouped = GroupedRanking(cutoffs, spill_dir, max_held_rows) if grouped else None
        self._block: FloatArray = np.empty((3, _BLOCK_ROWS))  # label, score, weight
        self._group_block: NDArray[np.uint64] = np.empty(_BLOCK_ROWS if grouped else 0, dtype=np.uint64)
        self._filled = 0
        self._rows = 0
        self._dtype: np.dtype[np.floating] | None = None
        self._origin: float | None = None
        self._sums: dict[str, _RunningSum] = {}
        self._result: dict[str, float | None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the spill files; without spilled rows nothing happens."""
        for ranking in (self._ranking, self._grouped):
            if ranking is not None:
                ranking.close()

    def add(
        self,
        label: NDArray[np.floating],
        score: NDArray[np.floating],
        weight: NDArray[np.floating] | None = None,
        group: NDArray[np.uint64] | None = None,
    ) -> None:
        """Add rows: float32 or float64 arrays of shape [N]; without `weight` every row weighs 1.

        `group` is uint64 [N], a hash of the value that rows are grouped by; it is given if and only if the accumulator
        is `grouped`.

        Raises ValueError for shapes or dtypes that do not fit, a label other than 0 or 1 or a score outside [0, 1]
        (binary), a value that is not finite, a negative weight, a group that is missing or not expected, or a call
        after `result`; WriteError if spilling fails.
        """
        if self._result is not None:
            raise ValueError("result() has been taken; start a new accumulator for more rows")
        self._check(label, score, weight)
        self._check_group(group, len(score))
        for start in range(0, len(score), _BLOCK_ROWS):
            part = slice(start, start + _BLOCK_ROWS)
            self._fill(
                label[part],
                score[part],
                None if weight is None else weight[part],
                None if group is None else group[part],
            )
        self._rows += len(score)

    def result(self) -> dict[str, float | None]:
        """Metric → value (None if undefined), and `rows`. It ends the accumulation and may be called again."""
        if self._result is None:
            if self._filled or not self._sums:
                self._reduce_block()
            totals = {name: running.value() for name, running in self._sums.items()}
            if self._ranking is not None:
                concordant, precision = self._ranking.sums()
                totals |= {"concordant": np.asarray(concordant), "precision": np.asarray(precision)}
            values = {metric.name: metric.formula(totals) for metric in BY_KIND[self._kind]}
            values |= self._grouped.figures() if self._grouped is not None else {}
            finite = {name: v if v is not None and math.isfinite(v) else None for name, v in values.items()}
            self._result = {**finite, "rows": self._rows}
        return dict(self._result)

    def _check(
        self, label: NDArray[np.floating], score: NDArray[np.floating], weight: NDArray[np.floating] | None
    ) -> None:
        arrays = {"label": label, "score": score} | ({} if weight is None else {"weight": weight})
        for name, values in arrays.items():
            if values.ndim != 1 or len(values) != len(score) or values.dtype not in (np.float32, np.float64):
                raise ValueError(
                    f"{name} must be float32 or float64 of shape [{len(score)}], not {values.dtype} {values.shape}"
                )
            if not np.isfinite(values).all():
                raise ValueError(
                    f"{name} has a value that is not finite, at row {self._rows + int(np.argmin(np.isfinite(values)))}"
                )
        self._dtype = self._dtype or score.dtype
        if score.dtype != self._dtype:
            raise ValueError(
                f"scores were {self._dtype} and are now {score.dtype}: log loss clips by the dtype, keep one"
            )
        if weight is not None and (weight < 0).any():
            raise ValueError(f"weights must not be negative, not {weight.min()}")
        if self._kind == "binary":
            if ((label != 0) & (label != 1)).any():
                raise ValueError("a binary label must be 0 or 1")
            if len(score) and not (score.min() >= 0 and score.max() <= 1):
                raise ValueError(f"binary scores must lie in [0, 1], not [{score.min()}, {score.max()}]")

    def _check_group(self, group: NDArray[np.uint64] | None, rows: int) -> None:
        if (group is None) != (self._grouped is None):
            expected = (
                "no group, because the accumulator is not grouped" if self._grouped is None else "a group for every row"
            )
            raise ValueError(f"add() needs {expected}")
        if group is not None and (group.dtype != np.uint64 or group.shape != (rows,)):
            raise ValueError(f"group must be uint64 of shape [{rows}], not {group.dtype} {group.shape}")

    def _fill(
        self,
        label: NDArray[np.floating],
        score: NDArray[np.floating],
        weight: NDArray[np.floating] | None,
        group: NDArray[np.uint64] | None,
    ) -> None:
        """Copy rows, at most a block of them, into the block, and reduce the block when it is full."""
        done = 0
        while done < len(score):
            take = min(len(score) - done, _BLOCK_ROWS - self._filled)
            target, source = slice(self._filled, self._filled + take), slice(done, done + take)
            self._block[0, target], self._block[1, target] = label[source], score[source]
            self._block[2, target] = 1.0 if weight is None else weight[source]
            if group is not None:
                self._group_block[target] = group[source]
            self._filled += take
            done += take
            if self._filled == _BLOCK_ROWS:
                self._reduce_block()

    def _reduce_block(self) -> None:
        label, score, weight = self._block[:, : self._filled]
        if self._ranking is not None:
            signed_weight = np.where(label == 1.0, weight, -weight)
            self._ranking.add(score, signed_weight)
            if self._grouped is not None:
                self._grouped.add(self._group_block[: self._filled], score, signed_weight)
            sums = _binary_sums(label, score, weight, float(np.finfo(self._dtype or np.float64).eps))
        else:
            if self._origin is None:
                self._origin = float(label.mean()) if self._filled else 0.0
            sums = _regression_sums(label, score, weight, self._origin)
        for name, value in sums.items():
            self._sums.setdefault(name, _RunningSum()).add(value)
        self._filled = 0
