"""Additive models fitted by counting: logit = bias + a weight per code of each column, shrunk as the data demand."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from widedeep.memory.columns import CodeColumn, Column, Floats, ListColumn, Mask, Rows, StoredSums, Sums
from widedeep.recipe.data import LabelKind

LEAST_SHRINKAGE, MOST_SHRINKAGE = 0.05, 1e5
FIRST_SHRINKAGE = 10.0
_NO_WEIGHTS: Floats = np.empty(0, dtype=np.float32)
_NO_BIAS: Floats = np.zeros(1, dtype=np.float32)


@dataclass(frozen=True)
class Target:
    """The label that a model predicts, and the rows' weights."""

    kind: LabelKind
    label: Floats
    """[n]."""
    weight: Floats | None = None
    """[n]."""

    def gather(self, rows: NDArray[np.int64]) -> "Target":
        """The rows with these numbers, in this order."""
        return replace(self, label=self.label[rows], weight=None if self.weight is None else self.weight[rows])

    def at(self, logit: Floats) -> Rows:
        """The rows at a model's logits [n]."""
        weight = _NO_WEIGHTS if self.weight is None else self.weight
        return Rows(self.kind == "binary", self.label, weight, logit)


def effective_weights(weight: Floats) -> Floats:
    """The weights [n], scaled so that they sum to the effective sample size, (sum w)^2 / sum w^2 (Kish 1965).

    That is the number of rows of equal weight that tell as much. A weight is no number of copies: taken as a count, a
    row of weight 100 would be nearly sure of its label.
    """
    exact = weight.astype(np.float64)
    squares = float(np.square(exact).sum())
    return (exact * (exact.sum() / squares)).astype(np.float32) if squares > 0.0 else weight


@dataclass(frozen=True)
class Additive:
    """A fitted additive model."""

    bias: float
    weights: tuple[Floats, ...]
    """For each column [size]; 0 for codes that no used row has."""
    shrinkage: tuple[float, ...]
    """For each column the ridge penalty lambda: (lambda / 2) * w^2 for each weight."""

    def logit(self, columns: Sequence[Column], num_rows: int, used: Mask | None = None) -> Floats:
        """The logits [num_rows] of rows, given as the same columns or as the first of them.

        With `used` [num_rows], only those of such rows are sure to be right.
        """
        logit = np.full(num_rows, self.bias, dtype=np.float32)
        for column, weights in zip(columns, self.weights, strict=False):
            column.add_weights(weights, logit, used)
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
    stored: Sequence[StoredSums] | None = None,
) -> Additive:
    """Fit on the rows where `used` [n] holds, by `sweeps` over the columns, a column at a time.

    At a column's turn, each of its weights takes a step that is certain to lower the penalised loss (see
    `counts.certain_steps`), and the rows' logits follow. A sweep never raises the loss, whatever the rate of positives
    is.

    Unless it is given, the shrinkage of each column is re-estimated in each sweep as that of maximal evidence (MacKay,
    "Bayesian interpolation", 1992): lambda = gamma noise / |w|^2, with gamma the number of well-determined weights.
    `offset` [n] is added to the logits. `start` gives the weights of the first columns. A column of lists takes
    `list_steps` steps at its turn: its codes move at the same time, so a single step would not go far enough. The
    result depends on used rows only, and not on threads. `stored` holds sums of rows that are gone, for each column:
    they count as used rows do, but not for the bias.
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
    everywhere = CodeColumn([np.zeros(num_rows, dtype=np.uint8)], 1)
    # Moving a column's mean to the bias would change what the stored sums say of its weights.
    covers_all_rows = [stored is None and column.covers_all_rows for column in columns]
    for _ in range(sweeps):
        logit = Additive(bias, tuple(weights), ()).logit(columns, num_rows, used)
        if offset is not None:
            logit += offset
        rows = target.at(logit)
        del logit  # `rows` holds what a sweep needs of it
        bias_step = everywhere.sums(used, rows).steps(_NO_BIAS, 0.0, logistic=rows.logistic)
        everywhere.move(bias_step, rows, used)
        bias += float(bias_step[0])
        noise = _noise(target, rows.residual, used) if target.kind == "regression" else 1.0
        for i, column in enumerate(columns):
            for _ in range(list_steps if isinstance(column, ListColumn) else 1):
                sums = column.sums(used, rows)
                if stored is not None:
                    sums = sums.joined(stored[i], weights[i])
                step = sums.steps(weights[i], lambdas[i], logistic=rows.logistic)
                weights[i] += step
                column.move(step, rows, used)
            if covers_all_rows[i]:
                bias += _centre(weights[i], sums)
            if shrinkage is None:
                lambdas[i] = _shrinkage_of_most_evidence(weights[i], sums, lambdas[i], noise)
    return Additive(bias, tuple(weights), tuple(lambdas))


def _centre(weights: Floats, sums: Sums) -> float:
    """Subtract their mean, in place, from the weights of codes that used rows have; returns the mean, for the bias.

    If every row has a code of the column, no logit changes and the penalty becomes as small as it can. Sweeps would
    reach that too, but the more rows there are per unit of the penalty, the slower.
    """
    used_codes = sums.hessian > 0.0
    mean = np.float32(weights[used_codes].mean(dtype=np.float64)) if used_codes.any() else np.float32(0.0)
    weights[used_codes] -= mean
    return float(mean)


def stored_sums(
    model: Additive, columns: Sequence[Column], target: Target, used: Mask, stored: Sequence[StoredSums] | None
) -> list[StoredSums]:
    """What is kept of the used rows and of those in `stored`, for each column, once the model is fitted to them."""
    rows = target.at(model.logit(columns, len(target.label)))
    kept = []
    for i, (column, weights) in enumerate(zip(columns, model.weights, strict=True)):
        sums = column.sums(used, rows)
        kept.append((sums if stored is None else sums.joined(stored[i], weights)).stored(weights))
    return kept


def shrinkage_and_z(
    model: Additive,
    columns: Sequence[Column],
    positions: Iterable[int],
    target: Target,
    used: Mask,
    stored: Sequence[StoredSums] | None = None,
) -> list[tuple[float, float]]:
    """For the columns at `positions` of a fitted model: the shrinkage by moments, and z, the evidence of any effect.

    The shrinkage is that which suits the variance of the column's true weights, z the number of deviations by which
    this variance stands out from 0 (see `Sums.variance_and_z`).
    """
    chance = _chance(target, used) if target.kind == "binary" else None
    rows = target.at(model.logit(columns, len(target.label)))
    noise, kurtosis = (_noise(target, rows.residual, used), 0.0) if chance is None else chance
    results = []
    for i in positions:
        sums = columns[i].sums(used, rows)
        if stored is not None:
            sums = sums.joined(stored[i], model.weights[i])
        variance, z = sums.variance_and_z(model.weights[i], noise, kurtosis)
        results.append((noise / variance if variance > 0.0 else MOST_SHRINKAGE, z))
    return results


def _shrinkage_of_most_evidence(weights: Floats, sums: Sums, penalty: float, noise: float) -> float:
    determined = float((sums.hessian / (sums.hessian + penalty)).sum())
    squares = float(np.square(weights, dtype=np.float64).sum())
    # `squares` has no floor, because labels, and so weights, may be of any scale.
    if determined * noise >= MOST_SHRINKAGE * squares:
        return MOST_SHRINKAGE
    return max(determined * noise / squares, LEAST_SHRINKAGE)


def _chance(target: Target, used: Mask) -> tuple[float, float]:
    """(noise, kurtosis): second and fourth cumulant of a row's gradient, over its curvature, if all rows have rate p.

    The kurtosis is in units of the squared noise. Without weights they are 1 and 1 - 6 p (1 - p).
    """
    mean = _mean(target, used)
    gradient = target.label[used].astype(np.float64)
    gradient -= mean
    mean_weight = 1.0
    if target.weight is not None:
        weight = target.weight[used].astype(np.float64)
        gradient *= weight
        mean_weight = float(weight.mean())
    curvature = mean_weight * mean * (1.0 - mean)
    # In place: [n] in float64 is as much memory as several columns take.
    squared = float(np.square(gradient, out=gradient).mean())
    fourth = float(np.square(gradient, out=gradient).mean())
    if curvature == 0.0 or squared == 0.0:  # only rows of one class have weight
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
    # The weighted mean of the squared error; residual is weight * (label - prediction).
    if target.weight is None:
        return float(np.square(residual[used], dtype=np.float64).mean())
    weight = target.weight[used].astype(np.float64)
    squared = np.square(residual[used], dtype=np.float64)
    positive = weight > 0
    return float((squared[positive] / weight[positive]).sum() / weight.sum())
