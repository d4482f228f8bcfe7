"""The level of a trained model: one shift of its bias, which valid rows ask for.

A network's mean score wanders by some percent from step to step, and the epoch that ranks best need not be one of a good
level. Rows that took no part in training tell it.
"""

import numpy as np
from numpy.typing import NDArray

from widedeep.kernels import counts

DEVIATION = 0.1
"""By how much, in logits, levels are off: the standard deviation of the normal prior that a shift has. With 25 positives a
shift is a fifth of what they ask for, with 3,000 nearly all."""
_STEPS = 30


def level_shift(logit: NDArray[np.float32], label: NDArray[np.float32], weight: NDArray[np.float32] | None) -> float:
    """What is to be added to the logits [N] of a binary label [N], by the greatest posterior under a normal prior.

    Rows of `weight` [N] count for as many as they are worth: (sum of weights)^2 / sum of squares (Kish 1965) in all.
    """
    if weight is not None:
        squares = float(np.square(weight, dtype=np.float64).sum())
        weight = (weight * (float(weight.sum(dtype=np.float64)) / squares)).astype(np.float32) if squares else weight
    held = np.empty(0, dtype=np.float32) if weight is None else weight
    shift, reach = np.zeros(1, dtype=np.float32), np.ones(1, dtype=np.float32)
    odds, residual, curvature = (np.empty_like(logit) for _ in range(3))
    for _ in range(_STEPS):
        counts.odds_of(logit + shift, odds)
        counts.logistic_gradients(label, held, odds, residual, curvature)
        sums = (np.array([part.sum(dtype=np.float64)]) for part in (residual, curvature))
        step = counts.certain_steps(*sums, reach, shift, DEVIATION**-2, True)
        shift += step
        if abs(float(step[0])) < 1e-6:
            break
    return float(shift[0])
