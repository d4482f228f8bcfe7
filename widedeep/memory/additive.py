"""Additive models from counts: logit = bias + one weight per code of each column, with a shrinkage that the data choose."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from widedeep.memory.columns import CodeColumn, Column, Floats, ListColumn, Mask, Rows, Sums
from widedeep.recipe.data import LabelKind

LEAST_SHRINKAGE, MOST_SHRINKAGE = 0.05, 1e5
FIRST_SHRINKAGE = 10.0
_NO_WEIGHTS: Floats = np.empty(0, dtype=np.float32)
_NO_BIAS: Floats = np.zeros(1, dtype=np.float32)


@dataclass(frozen=True)
class Target:
    """What is predicted, in the rows of the columns."""

    kind: LabelKind
    label: Floats
    """[n]"""
    weight: Floats | None = None
    """[n]"""

    def taken(self, rows: NDArray[np.int64]) -> "Target":
        """The rows with these numbers, in this order."""
        return replace(self, label=self.label[rows], weight=None if self.weight is None else self.weight[rows])

    def at(self, logit: Floats) -> Rows:
        """The rows where a model says `logit` [n]."""
        weight = _NO_WEIGHTS if self.weight is None else self.weight
        return Rows(self.kind == "binary", self.label, weight, logit)


def of_rows_alone(weight: Floats) -> Floats:
    """The weights [n] scaled so that their sum is the number of equal rows that say as much: (sum w)^2 / sum w^2 (Kish 1965).

    Weights of rows that are no copies do not make more rows of them; taken as counts, a row of weight 100 would be sure of
    its label.
    """
    wide = weight.astype(np.float64)
    squares = float(np.square(wide).sum())
    return (wide * (wide.sum() / squares)).astype(np.float32) if squares > 0.0 else weight


@dataclass(frozen=True)
class Additive:
    """A fitted model."""

    bias: float
    weights: tuple[Floats, ...]
    """Per column [size]; 0 for codes that no used row has."""
    shrinkage: tuple[float, ...]
    """Per column: the ridge penalty lambda, (lambda / 2) * w^2 for each weight."""

    def logit(self, columns: Sequence[Column], num_rows: int) -> Floats:
        """The logits [num_rows] of rows given by the same columns, or by the first of them."""
        logit = np.full(num_rows, self.bias, dtype=np.float32)
        for column, weights in zip(columns, self.weights, strict=False):
            column.add_weights(weights, logit)
        return logit


def fit_additive(
    columns: Sequence[Column],
    target: Target,
    used: Mask,
    *,
    sweeps: int,
    shrinkage: Sequence[float] | None = None,
    offset: Floats | None = None,
    start: Additive | None = None,
    list_steps: int = 1,
) -> Additive:
    """Fit by `sweeps` over the columns, a column at a time, on the rows where `used` [n] holds.

    At a column's turn each of its weights takes a step that is certain to lower the penalised loss (see
    `counts.certain_steps`), and the rows follow it: a sweep never raises the loss, whatever the rate of positives is.

    The shrinkage of each column is that of maximal evidence (MacKay, "Bayesian interpolation", 1992: lambda = gamma
    noise / |w|^2 with gamma the number of well-determined weights), re-estimated at each sweep, unless it is given.
    `offset` [n] is added to the logits; `start` gives the weights of the first columns. A column of lists takes `list_steps`
    steps at its turn: its codes are stepped at once, and so less far than they have to go. The result depends on used rows
    only, and not on threads.
    """
    num_rows = len(target.label)
    weights = [np.zeros(column.size, dtype=np.float32) for column in columns]
    lambdas = [FIRST_SHRINKAGE] * len(columns) if shrinkage is None else list(shrinkage)
    bias = 0.0
    if start is not None:
        bias = start.bias
        for i, (known, penalty) in enumerate(zip(start.weights, start.shrinkage, strict=True)):
            weights[i][:] = known
            lambdas[i] = penalty if shrinkage is None else lambdas[i]
    elif offset is None:
        bias = _mean_logit(target, used)
    everywhere = CodeColumn([np.zeros(num_rows, dtype=np.int32)], 1)
    covers = [column.covers_all_rows for column in columns]
    for _ in range(sweeps):
        logit = Additive(bias, tuple(weights), ()).logit(columns, num_rows)
        if offset is not None:
            logit += offset
        rows = target.at(logit)
        moved = everywhere.sums(used, rows).steps(_NO_BIAS, 0.0, logistic=rows.logistic)
        everywhere.move(moved, rows)
        bias += float(moved[0])
        noise = _noise(target, rows.residual, used) if target.kind == "regression" else 1.0
        for i, column in enumerate(columns):
            for _ in range(list_steps if isinstance(column, ListColumn) else 1):
                sums = column.sums(used, rows)
                step = sums.steps(weights[i], lambdas[i], logistic=rows.logistic)
                weights[i] += step
                column.move(step, rows)
            if covers[i]:
                bias += _centre(weights[i], sums)
            if shrinkage is None:
                lambdas[i] = _shrinkage_of_most_evidence(weights[i], sums, lambdas[i], noise)
    return Additive(bias, tuple(weights), tuple(lambdas))


def _centre(weights: Floats, sums: Sums) -> float:
    """Take the mean off the weights, in place, of the codes that used rows have; gives what the bias must have of it.

    Where every row has a code of the column no logit changes and the penalty falls to its least: left to sweeps, the bias
    gets there the slower the more rows there are to a unit of the penalty.
    """
    held = sums.hessian > 0.0
    mean = np.float32(weights[held].mean(dtype=np.float64)) if held.any() else np.float32(0.0)
    weights[held] -= mean
    return float(mean)


def standing(
    model: Additive, columns: Sequence[Column], places: Iterable[int], target: Target, used: Mask
) -> list[tuple[float, float]]:
    """Of the columns at these places: the shrinkage that their true weights' variance by moments asks for, and the
    deviations by which that stands out from none (`Sums.standing`), at a fitted model of all columns."""
    rows = target.at(model.logit(columns, len(target.label)))
    noise, kurtosis = _chance(target, used) if target.kind == "binary" else (_noise(target, rows.residual, used), 0.0)
    found = []
    for i in places:
        variance, deviations = columns[i].sums(used, rows).standing(model.weights[i], noise, kurtosis)
        found.append((noise / variance if variance > 0.0 else MOST_SHRINKAGE, deviations))
    return found


def _shrinkage_of_most_evidence(weights: Floats, sums: Sums, penalty: float, noise: float) -> float:
    determined = float((sums.hessian / (sums.hessian + penalty)).sum())
    squares = float(np.square(weights, dtype=np.float64).sum())
    # Below MOST_SHRINKAGE without a floor of its own: labels, and so weights, may be of any scale.
    if determined * noise >= MOST_SHRINKAGE * squares:
        return MOST_SHRINKAGE
    return max(determined * noise / squares, LEAST_SHRINKAGE)


def _chance(target: Target, used: Mask) -> tuple[float, float]:
    """Second and fourth cumulant of a row's gradient by its curvature, the latter in units of the squared former, where all
    rows have one rate: of rows without weights 1 and 1 - 6 p (1 - p)."""
    mean = _mean(target, used)
    weight = np.ones(1) if target.weight is None else target.weight[used].astype(np.float64)
    gradient = weight * (target.label[used].astype(np.float64) - mean)
    curvature = float(weight.mean()) * mean * (1.0 - mean)
    squared, fourth = float(np.square(gradient).mean()), float(np.square(np.square(gradient)).mean())
    if curvature == 0.0 or squared == 0.0:  # one class alone has weight
        return 1.0, 1.0
    noise = squared / curvature
    return noise, max(0.0, (fourth - 3.0 * squared**2) / curvature) / noise**2


def _mean(target: Target, used: Mask) -> float:
    weight = None if target.weight is None else target.weight[used].astype(np.float64)
    return float(np.average(target.label[used].astype(np.float64), weights=weight))


def _mean_logit(target: Target, used: Mask) -> float:
    mean = _mean(target, used)
    if target.kind == "regression":
        return mean
    mean = min(max(mean, 1e-6), 1.0 - 1e-6)
    return float(np.log(mean / (1.0 - mean)))


def _noise(target: Target, residual: Floats, used: Mask) -> float:
    # residual is weight * (label - prediction): the weighted mean of the squared error.
    if target.weight is None:
        return float(np.square(residual[used], dtype=np.float64).mean())
    weight = target.weight[used].astype(np.float64)
    squared = np.square(residual[used], dtype=np.float64)
    held = weight > 0
    return float((squared[held] / weight[held]).sum() / weight.sum())
