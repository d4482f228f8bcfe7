"""The level of a trained model: one shift of its bias, which valid rows ask for.

A network's mean score wanders by some percent from step to step, and the epoch that ranks best need not be one of a good
level. Rows that took no part in training tell it, as far as they are many and not all of a few users or hours.
"""

import numpy as np
from numpy.typing import NDArray

from widedeep.memory import counts

DEVIATION = 0.05
"""By how much, in logits, levels are off: the standard deviation of the normal prior that a shift has. With 25 positives a
shift is a sixteenth of what they ask for, with 4,000 nearly all."""
_BLOCKS = 30
"""Parts of consecutive rows that tell how much more than single rows the level varies."""
_STEPS = 30

Floats = NDArray[np.float32]


def level_shift(logit: Floats, label: Floats, weight: Floats | None) -> float:
    """What is to be added to the logits [N] of a binary label [N], by the greatest posterior under a normal prior.

    Rows are of users, sessions and hours, so that their sum varies more than independent rows would let it: the
    likelihood is divided by that factor, as consecutive blocks of rows show it (overdispersion, McCullagh and Nelder,
    "Generalized Linear Models", 1989). It also takes care of the unit of `weight` [N].
    """
    held = np.empty(0, dtype=np.float32) if weight is None else weight
    shift, reach = np.zeros(1, dtype=np.float32), np.ones(1, dtype=np.float32)
    odds, residual, curvature = (np.empty_like(logit) for _ in range(3))
    penalty = None
    for _ in range(_STEPS):
        counts.odds_of(logit + shift, odds)
        counts.logistic_gradients(label, held, odds, residual, curvature)
        if penalty is None:
            penalty = DEVIATION**-2 * _overdispersion(residual, curvature, weight)
        sums = (np.array([part.sum(dtype=np.float64)]) for part in (residual, curvature))
        step = counts.certain_steps(*sums, reach, shift, penalty, True)
        shift += step
        if abs(float(step[0])) < 1e-6:
            break
    return float(shift[0])


def _overdispersion(residual: Floats, curvature: Floats, weight: Floats | None) -> float:
    """How much more the residuals' sum varies than the curvature says, at least what the weights alone make of it."""
    squared = curvature if weight is None else curvature * weight
    total = float(curvature.sum(dtype=np.float64))
    least = float(squared.sum(dtype=np.float64)) / total if total > 0.0 else 1.0
    parts = [np.add.reduceat(part.astype(np.float64), _starts(len(part))) for part in (residual, curvature)]
    gradient, hessian = (part[parts[1] > 0.0] for part in parts)
    if len(gradient) < _BLOCKS:
        return max(least, 1e-12)
    about = gradient - hessian * (gradient.sum() / hessian.sum())
    return max(least, float((np.square(about) / hessian).sum()) / (len(gradient) - 1))


def _starts(rows: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, rows, _BLOCKS, endpoint=False).astype(np.int64))
