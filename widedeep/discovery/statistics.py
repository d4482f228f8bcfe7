"""From scores to q-values: the null that permuted partners give, and false discovery rates."""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def tail(z: Numbers, null: Numbers) -> Numbers:
    """One-sided p-values of `z` under a normal law about 0 that is as wide as the scores `null` are above 0."""
    deviation = _null_deviation(null)
    return np.array([0.5 * math.erfc(one / deviation / math.sqrt(2.0)) for one in np.asarray(z)])


def q_values(p: Numbers) -> Numbers:
    """Benjamini and Hochberg (1995): the least false discovery rate at which each p-value of all of them is a discovery."""
    order = np.argsort(p)[::-1]
    ranks = np.arange(len(p), 0, -1)
    adjusted = np.minimum.accumulate(p[order] * len(p) / ranks)
    q = np.empty(len(p))
    q[order] = np.minimum(adjusted, 1.0)
    return q


def threshold(z: Numbers, null: Numbers, rate: float, total: int) -> float:
    """The score from which on a candidate is a discovery at this false discovery rate, given the best `z` of `total`."""
    p = np.concatenate([tail(z, null), np.ones(total - len(z))])
    found = int((q_values(p) <= rate).sum())
    return _null_deviation(null) * NormalDist().inv_cdf(1.0 - rate * max(1, found) / max(1, total))


def _null_deviation(null: Numbers) -> float:
    """Root mean square of the scores above 0, and 1 at least: a null that is luckily quiet makes nothing significant.

    Those below 0 tell nothing of the upper tail: a cross of no effect does harm, more so the more combinations it has.
    """
    above = null[null > 0.0]
    return max(1.0, float(np.sqrt(np.square(above).mean()))) if len(above) else 1.0
