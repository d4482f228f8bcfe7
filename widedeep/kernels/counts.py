"""Sums over the rows of each code of a column, and what follows from them: the hot loops of additive models from counts.

Numba, because numpy has no scatter-add that runs at memory speed. Every kernel releases the GIL, so that threads may
share the work.

Shapes, in all of them: `codes` [n] int32, of which those below `first` take no part; `residual` and `curvature` [n]
float32, the gradient and the second derivative of the rows' log likelihood in their logit; tables [size].
"""

import numpy as np
from numpy.typing import NDArray

from widedeep.compiled import compiled

Floats = NDArray[np.float32]
Sums = NDArray[np.float64]
Codes = NDArray[np.int32]


@compiled
def gradients(
    kind_is_binary: bool, label: Floats, weight: Floats, logit: Floats, residual: Floats, curvature: Floats
) -> None:
    """Fill `residual` and `curvature` of the logistic loss, or of half the squared error; all [n], `weight` [n] or [0]."""
    for i in range(len(label)):
        if kind_is_binary:
            p = np.float32(1.0) / (np.float32(1.0) + np.exp(-logit[i]))
            residual[i] = label[i] - p
            curvature[i] = max(p * (np.float32(1.0) - p), np.float32(1e-6))
        else:
            residual[i] = label[i] - logit[i]
            curvature[i] = np.float32(1.0)
        if len(weight):
            residual[i] *= weight[i]
            curvature[i] *= weight[i]


@compiled
def add_sums(
    codes: Codes,
    first: int,
    used: NDArray[np.bool_],
    residual: Floats,
    curvature: Floats,
    gradient: Sums,
    hessian: Sums,
) -> None:
    """Add each used row's residual and curvature to its code's `gradient` and `hessian`; `used` [n]."""
    for i in range(len(codes)):
        code = codes[i]
        if code >= first and used[i]:
            gradient[code] += residual[i]
            hessian[code] += curvature[i]


@compiled
def subtract_step(codes: Codes, first: int, step: Floats, residual: Floats, curvature: Floats) -> None:
    """What a step [size] of a column's weights does to the rows' residuals, to first order."""
    for i in range(len(codes)):
        code = codes[i]
        if code >= first:
            residual[i] -= curvature[i] * step[code]


@compiled
def add_weights(codes: Codes, first: int, weights: Floats, logit: Floats) -> None:
    """Add each row's weight to its logit."""
    for i in range(len(codes)):
        code = codes[i]
        if code >= first:
            logit[i] += weights[code]


@compiled
def count_rows(codes: Codes, first: int, used: NDArray[np.bool_], counts: NDArray[np.int64]) -> None:
    """Add the used rows to `counts` [size]."""
    for i in range(len(codes)):
        code = codes[i]
        if code >= first and used[i]:
            counts[code] += 1


# ------------------------------------------------------------------------------------------------ columns of lists
# `codes` and `factors` are those of all rows behind each other; row i has lengths[i] of them. Where `factors` is empty,
# each is 1.


@compiled
def add_list_sums(
    codes: Codes,
    lengths: NDArray[np.int64],
    factors: Floats,
    first: int,
    used: NDArray[np.bool_],
    residual: Floats,
    curvature: Floats,
    gradient: Sums,
    hessian: Sums,
) -> None:
    """As `add_sums`, of a sum of factor times weight over a row's list.

    The codes of a row are stepped at once, so their curvature is that of a separable bound:
    (sum a d)^2 <= (sum |a|)(sum |a| d^2).
    """
    place = 0
    for i in range(len(lengths)):
        end = place + lengths[i]
        if used[i]:
            total = np.float32(0.0)
            for j in range(place, end):
                if codes[j] >= first:
                    total += abs(factors[j]) if len(factors) else np.float32(1.0)
            for j in range(place, end):
                code = codes[j]
                if code >= first:
                    factor = factors[j] if len(factors) else np.float32(1.0)
                    gradient[code] += factor * residual[i]
                    hessian[code] += abs(factor) * total * curvature[i]
        place = end


@compiled
def subtract_list_step(
    codes: Codes,
    lengths: NDArray[np.int64],
    factors: Floats,
    first: int,
    step: Floats,
    residual: Floats,
    curvature: Floats,
) -> None:
    """As `subtract_step`."""
    place = 0
    for i in range(len(lengths)):
        for j in range(place, place + lengths[i]):
            if codes[j] >= first:
                factor = factors[j] if len(factors) else np.float32(1.0)
                residual[i] -= curvature[i] * factor * step[codes[j]]
        place += lengths[i]


@compiled
def add_list_weights(
    codes: Codes, lengths: NDArray[np.int64], factors: Floats, first: int, weights: Floats, logit: Floats
) -> None:
    """As `add_weights`."""
    place = 0
    for i in range(len(lengths)):
        for j in range(place, place + lengths[i]):
            if codes[j] >= first:
                factor = factors[j] if len(factors) else np.float32(1.0)
                logit[i] += factor * weights[codes[j]]
        place += lengths[i]


@compiled
def count_list_rows(
    codes: Codes, lengths: NDArray[np.int64], first: int, used: NDArray[np.bool_], counts: NDArray[np.int64]
) -> None:
    """As `count_rows`: a row counts for every code in its list."""
    place = 0
    for i in range(len(lengths)):
        if used[i]:
            for j in range(place, place + lengths[i]):
                if codes[j] >= first:
                    counts[codes[j]] += 1
        place += lengths[i]
