"""Shares of rows: where the share behind a count surely lies, and how far two distributions of shares lie apart."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Divergence:
    """Jensen-Shannon divergence of two distributions, in bits: from 0 (equal) to 1 (no value in common).

    Unlike the population stability index it is finite where a bin is empty, and has a largest value, so that one limit
    serves fields of two values and of a million.
    """

    value: float
    variances: tuple[float, float]
    """What one row of the first and of the second adds to the variance of the value."""


def jensen_shannon(first: Numbers, second: Numbers) -> Divergence:
    """The divergence of two distributions of shares [N], which sum to 1 each."""
    middle = (first + second) / 2.0
    means, variances = [], []
    for share in (first, second):
        bits = 0.5 * np.log2(np.divide(share, middle, out=np.ones_like(middle), where=share > 0.0))
        mean = float((share * bits).sum())
        means.append(mean)
        variances.append(max(0.0, float((share * np.square(bits)).sum()) - mean**2))
    return Divergence(max(0.0, sum(means)), (variances[0], variances[1]))


@dataclass(frozen=True)
class Shift:
    """How far the rows of one sample lie from those of another, by `Divergence`."""

    value: float
    """Less what chance adds on average."""
    low: float
    """What it surely is at least."""


def shift_of_counts(
    before: NDArray[np.int64], after: NDArray[np.int64], rows: tuple[int, int], *, sigmas: float, chance: float
) -> Shift:
    """The shift from the counts by bin `before` to those `after`, [N] each, of so many independent rows.

    `low` is so many standard errors, and what equal distributions reach with that `chance`, below what is observed.
    Where either has no rows, there is no shift.
    """
    if not (before.any() and after.any() and all(rows)):
        return Shift(0.0, 0.0)
    divergence = jensen_shannon(before / before.sum(), after / after.sum())
    # Of equal distributions, 8 ln 2 / (1/n + 1/m) times the divergence is chi-squared; Laurent and Massart (2000),
    # lemma 1, bound it for any number of bins.
    freedom, unit = int(np.count_nonzero(before + after)) - 1, sum(1.0 / n for n in rows) / (8.0 * math.log(2.0))
    unlikely = -math.log(chance)
    by_chance = freedom + 2.0 * math.sqrt(freedom * unlikely) + 2.0 * unlikely
    spread = math.sqrt(sum(variance / n for variance, n in zip(divergence.variances, rows, strict=True)))
    low = divergence.value - unit * by_chance - sigmas * spread
    return Shift(max(0.0, divergence.value - unit * freedom), low)


def wilson(share: Any, rows: Any, sigmas: float) -> tuple[Any, Any]:
    """Ends of Wilson's interval of `sigmas` standard errors for the share behind one that was observed among `rows`.

    Numbers, or arrays of one shape; there must be rows.
    """
    square = sigmas**2
    middle = (share + square / (2.0 * rows)) / (1.0 + square / rows)
    half = sigmas * np.sqrt(share * (1.0 - share) / rows + square / (4.0 * rows**2)) / (1.0 + square / rows)
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)
