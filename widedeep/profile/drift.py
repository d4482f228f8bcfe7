"""How far a column's values moved between two splits, beyond what chance explains."""

import math

import numpy as np
from numpy.typing import NDArray

STRONG_DRIFT = 0.25
"""What people call a strong drift."""
_HALF_ROW = 0.5
"""Added to every cell, so that one that is empty on one side has a logarithm."""
_DEVIATIONS = 4.0
"""How much chance is granted: with hundreds of columns none should seem to drift that does not."""


def drift(before: NDArray[np.int64], after: NDArray[np.int64]) -> float:
    """Population stability index of the rows per cell, each [cells], less what two samples of one source may show.

    PSI = sum of (q - p) * ln(q / p) over the cells' shares p and q; from .1 on people call it a change, from
    STRONG_DRIFT on a strong one. Without drift it behaves as chi-square with cells - 1 degrees of freedom times
    1/N + 1/M (Yurdakul and Naranjo 2020): the mean and four deviations of that are taken off. 0 if nothing is left.
    """
    used = (before + after) > 0
    before, after = before[used], after[used]
    if len(before) < 2 or not before.any() or not after.any():
        return 0.0
    p, q = ((one + _HALF_ROW) / (one + _HALF_ROW).sum() for one in (before, after))
    index = float(((q - p) * np.log(q / p)).sum())
    freedom = len(before) - 1
    chance = (freedom + _DEVIATIONS * math.sqrt(2 * freedom)) * (1 / before.sum() + 1 / after.sum())
    return max(0.0, index - float(chance))
