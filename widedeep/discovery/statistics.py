"""From scores to q-values: a null from permuted crosses, and false discovery rates."""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def tail(z: Numbers, null: Numbers) -> Numbers:
    """One-sided p-values of `z` under a normal law with mean 0, as wide as the positive ones of the scores `null`."""
    deviation = _null_deviation(null)
    return np.array([0.5 * math.erfc(value / deviation / math.sqrt(2.0)) for value in np.asarray(z)])


def q_values(p: Numbers) -> Numbers:
    """For each p-value the least false discovery rate at which it is a discovery (Benjamini and Hochberg 1995)."""
    order = np.argsort(p)[::-1]
    ranks = np.arange(len(p), 0, -1)
    adjusted = np.minimum.accumulate(p[order] * len(p) / ranks)
    q = np.empty(len(p))
    q[order] = np.minimum(adjusted, 1.0)
    return q


def threshold(z: Numbers, null: Numbers, rate: float, total: int) -> float:
    """The least score that is a discovery at this false discovery rate, given the best scores `z` of `total`."""
    p = np.concatenate([tail(z, null), np.ones(total - len(z))])
    discoveries = int((q_values(p) <= rate).sum())
    return _null_deviation(null) * NormalDist().inv_cdf(1.0 - rate * max(1, discoveries) / max(1, total))


def _null_deviation(null: Numbers) -> float:
    """Root mean square of the scores above 0, but at least 1: a null that is narrow by luck makes nothing significant.

    Scores below 0 tell nothing of the upper tail, because a cross without effect does harm, and more with many
    combinations.
    """
    above = null[null > 0.0]
    return max(1.0, float(np.sqrt(np.square(above).mean()))) if len(above) else 1.0
