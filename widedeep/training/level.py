"""Sets the level of a trained model: one shift of its bias, estimated from valid rows.

A network's mean score wanders by some percent from step to step, and at the best epoch it need not be right. Rows that
took no part in training tell how far it is off, if they are many and do not all come from a few users or hours.
"""

import numpy as np
from numpy.typing import NDArray

from widedeep.memory import counts

DEVIATION = 0.05
"""How far levels are off, in logits: the standard deviation of the normal prior of a shift. With 25 positives the shift
is a sixteenth of the one that fits them best, with 4,000 nearly all of it."""
_BLOCKS = 30
"""Blocks of consecutive rows, which tell how much more the level varies than with independent rows."""
_STEPS = 30
"""Newton steps at most."""

Floats = NDArray[np.float32]


def level_shift(logit: Floats, label: Floats, weight: Floats | None) -> float:
    """The number to add to the logits [N] of a binary label [N]: the mode of the posterior under a normal prior.

    Rows come from users, sessions and hours, so their sum varies more than that of independent rows. The likelihood is
    divided by that factor, which is estimated from consecutive blocks of rows (overdispersion, McCullagh and Nelder,
    "Generalized Linear Models", 1989). It also makes the result independent of the unit of `weight` [N].
    """
    weights = np.empty(0, dtype=np.float32) if weight is None else weight
    shift, reach = np.zeros(1, dtype=np.float32), np.ones(1, dtype=np.float32)
    odds, residual, curvature = (np.empty_like(logit) for _ in range(3))
    penalty = None
    for _ in range(_STEPS):
        counts.odds_of(logit + shift, odds)
        counts.logistic_gradients(label, weights, odds, residual, curvature)
        if penalty is None:
            penalty = DEVIATION**-2 * _overdispersion(residual, curvature, weight)
        sums = (np.array([part.sum(dtype=np.float64)]) for part in (residual, curvature))
        step = counts.certain_steps(*sums, reach, shift, penalty, True)
        shift += step
        if abs(float(step[0])) < 1e-6:
            break
    return float(shift[0])


def _overdispersion(residual: Floats, curvature: Floats, weight: Floats | None) -> float:
    """The variance of the residuals' sum over the variance of independent rows, which is the sum of `curvature`.

    It is at least the factor that the weights alone cause.
    """
    squared = curvature if weight is None else curvature * weight
    total = float(curvature.sum(dtype=np.float64))
    least = float(squared.sum(dtype=np.float64)) / total if total > 0.0 else 1.0
    parts = [np.add.reduceat(part.astype(np.float64), _starts(len(part))) for part in (residual, curvature)]
    gradient, hessian = (part[parts[1] > 0.0] for part in parts)
    if len(gradient) < _BLOCKS:
        return max(least, 1e-12)
    centred = gradient - hessian * (gradient.sum() / hessian.sum())
    return max(least, float((np.square(centred) / hessian).sum()) / (len(gradient) - 1))


def _starts(rows: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, rows, _BLOCKS, endpoint=False).astype(np.int64))
