"""Additive models from counts: logit = bias + one weight per code of each column, with a shrinkage that the data choose."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from widedeep.kernels import counts
from widedeep.memory.columns import Column, Floats, ListColumn, Mask

LEAST_SHRINKAGE, MOST_SHRINKAGE = 0.05, 1e5
FIRST_SHRINKAGE = 10.0
_NO_WEIGHTS: Floats = np.empty(0, dtype=np.float32)


@dataclass(frozen=True)
class Target:
    """What is predicted, in the rows of the columns."""

    kind: Literal["binary", "regression"]
    label: Floats
    """[n]"""
    weight: Floats | None = None
    """[n]"""

    def taken(self, rows: NDArray[np.int64]) -> "Target":
        """The rows with these numbers, in this order."""
        return replace(self, label=self.label[rows], weight=None if self.weight is None else self.weight[rows])

    def gradients(self, logit: Floats, residual: Floats, curvature: Floats) -> None:
        """Fill in the first and second derivative of the log likelihood at `logit`, all [n]."""
        weight = _NO_WEIGHTS if self.weight is None else self.weight
        counts.gradients(self.kind == "binary", self.label, weight, logit, residual, curvature)


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
    """Fit by `sweeps` of Gauss-Seidel Newton steps, a column at a time, on the rows where `used` [n] holds.

    The shrinkage of each column is that of maximal evidence (MacKay, "Bayesian interpolation", 1992: lambda = gamma
    noise / |w|^2 with gamma the number of well-determined weights), re-estimated at each sweep, unless it is given.
    `offset` [n] is added to the logits; `start` gives the weights of the first columns. A column of lists takes `list_steps`
    steps at its turn: its codes are stepped at once, and so less far than they have to go. The result depends on used rows
    only, and not on threads.
    """
    rows = len(target.label)
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
    residual, curvature = np.empty(rows, dtype=np.float32), np.empty(rows, dtype=np.float32)
    for _ in range(sweeps):
        logit = Additive(bias, tuple(weights), ()).logit(columns, rows)
        if offset is not None:
            logit += offset
        target.gradients(logit, residual, curvature)
        moved = float(residual[used].sum(dtype=np.float64) / curvature[used].sum(dtype=np.float64))
        bias += moved
        residual -= curvature * np.float32(moved)
        noise = 1.0 if target.kind == "binary" else _noise(target, residual, used)
        for i, column in enumerate(columns):
            for _ in range(list_steps if isinstance(column, ListColumn) else 1):
                evidence = _step(column, weights[i], lambdas[i], used, residual, curvature)
            if shrinkage is None:
                lambdas[i] = float(np.clip(evidence * noise, LEAST_SHRINKAGE, MOST_SHRINKAGE))
    return Additive(bias, tuple(weights), tuple(lambdas))


def _step(column: Column, weights: Floats, penalty: float, used: Mask, residual: Floats, curvature: Floats) -> float:
    """One Newton step of a column's weights, in place; gives gamma / |w|^2."""
    gradient, hessian = np.zeros(column.size), np.zeros(column.size)
    column.add_sums(used, residual, curvature, gradient, hessian)
    step = np.where(hessian > 0.0, (gradient - penalty * weights) / (hessian + penalty), 0.0).astype(np.float32)
    weights += step
    column.subtract_step(step, residual, curvature)
    determined = float((hessian / (hessian + penalty)).sum())
    return determined / max(float(np.square(weights, dtype=np.float64).sum()), 1e-12)


def _mean_logit(target: Target, used: Mask) -> float:
    weight = None if target.weight is None else target.weight[used].astype(np.float64)
    mean = float(np.average(target.label[used].astype(np.float64), weights=weight))
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
