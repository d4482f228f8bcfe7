"""The hot loops of additive models: sums over the rows of each code of a column, steps of weights, updates of rows.

They are compiled by Numba, because NumPy has no scatter-add that runs at memory speed. They release the GIL, so that
threads may share the work.

Shapes in all of them: `codes` [n] integers, of which those below `first` are skipped; `residual` and `curvature` [n]
float32, the first derivative and the negative second derivative of the rows' log likelihood in their logit; tables
[size].
"""

import numpy as np
from numpy.typing import NDArray

from widedeep.compiled import compiled

Floats = NDArray[np.float32]
Sums = NDArray[np.float64]
Codes = NDArray[np.int32]  # or, in columns of one code a row, UInt8 or UInt16


_BLOCK = 256
"""Rows of a block; what is kept of them for a moment fits into the nearest cache."""
LEAST_ODDS, MOST_ODDS = np.float32(1e-30), np.float32(1e30)
"""Odds are clipped to these bounds, logits of about +-69. A little further, float32 odds would be 0 or infinite."""


@compiled
def odds_of(logit: Floats, odds: Floats) -> None:
    """Fill `odds` with exp(logit), clipped to LEAST_ODDS and MOST_ODDS; both [n]."""
    for i in range(len(logit)):
        odds[i] = min(max(np.exp(logit[i]), LEAST_ODDS), MOST_ODDS)


@compiled
def _fill_row(i: int, label: Floats, weight: Floats, odds: np.float32, residual: Floats, curvature: Floats) -> None:
    # 1 - p is computed from the odds, because a float32 p near 1 would leave it no digits.
    q = np.float32(1.0) / (np.float32(1.0) + odds)
    p = odds * q
    residual[i] = label[i] * q - (np.float32(1.0) - label[i]) * p
    curvature[i] = p * q
    if len(weight):
        residual[i] *= weight[i]
        curvature[i] *= weight[i]


@compiled
def logistic_gradients(label: Floats, weight: Floats, odds: Floats, residual: Floats, curvature: Floats) -> None:
    """Fill `residual` and `curvature` of the logistic loss; all [n], `weight` [n] or [0]."""
    for i in range(len(label)):
        _fill_row(i, label, weight, odds[i], residual, curvature)


@compiled
def squared_gradients(label: Floats, weight: Floats, logit: Floats, residual: Floats, curvature: Floats) -> None:
    """Fill `residual` and `curvature` of half the squared error; all [n], `weight` [n] or [0]."""
    for i in range(len(label)):
        residual[i] = label[i] - logit[i]
        curvature[i] = np.float32(1.0)
        if len(weight):
            residual[i] *= weight[i]
            curvature[i] *= weight[i]


@compiled
def certain_steps(
    gradient: Sums, hessian: Sums, reach: Floats, weights: Floats, penalty: float, logistic: bool
) -> Floats:
    """A step [size] of each weight that is certain to lower the penalised loss, or 0.

    `gradient` and `hessian` [size] are the sums of a column's codes; `penalty` is lambda in (lambda / 2) w^2. A squared
    error equals its second-order expansion, so Newton's step is certain. The third derivative of the logistic loss is
    at most its second (Bach, "Self-concordant analysis for logistic regression", 2010). For a step d of a weight whose
    rows move by at most R |d|, this gives the bound

        loss(w + d) <= loss(w) - g d + H (exp(R |d|) - R |d| - 1) / R^2.

    `reach` [size] or [1] is R. The bound is least where g = H (exp(R d) - 1) / R + lambda d. Let D >= d be the smaller
    of Newton's step and of the solution for lambda = 0, log(1 + g R / H) / R. On [0, D] the exponential is below its
    chord: solving with the chord gives a step that does not go past the minimum of the bound. Near the end of a fit it
    is Newton's step.
    """
    step = np.zeros(len(weights), dtype=np.float32)
    for code in range(len(weights)):
        g = gradient[code] - penalty * weights[code]
        h = hessian[code]
        size = abs(g)
        if size == 0.0 or h + penalty <= 0.0:
            continue
        newton = size / (h + penalty)
        length = newton
        if logistic and h > 0.0:
            r = np.float64(reach[code] if len(reach) > 1 else reach[0])
            x = r * newton
            if x <= 1.0:
                # exp(x) - 1 <= x + x^2 / 2 + x^3 / 4 up to 1.
                length = size / (h * (1.0 + x * (0.5 + 0.25 * x)) + penalty)
            else:
                most = np.log1p(size * r / h) / r
                chord = size / most if most < newton else h * np.expm1(x) / x
                length = size / (chord + penalty)
        step[code] = np.float32(length if g > 0.0 else -length)
    return step


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
            gradient[np.uint64(code)] += residual[i]
            hessian[np.uint64(code)] += curvature[i]


@compiled
def subtract_step(codes: Codes, first: int, step: Floats, residual: Floats, curvature: Floats) -> None:
    """Update the residuals of a squared error after a step [size] of a column's weights."""
    for i in range(len(codes)):
        code = codes[i]
        if code >= first:
            residual[i] -= curvature[i] * step[code]


@compiled
def multiply_odds(
    codes: Codes,
    first: int,
    factor: Floats,
    label: Floats,
    weight: Floats,
    odds: Floats,
    residual: Floats,
    curvature: Floats,
) -> None:
    """Update the rows of a logistic loss after a step of a column's weights; `factor` [size] is exp(step)."""
    # Factors are looked up for a block of rows first: without the look-up, a loop is compiled to vectors.
    factors = np.empty(_BLOCK, dtype=np.float32)
    num_rows = np.uint64(len(codes))
    for start in range(np.uint64(0), num_rows, np.uint64(_BLOCK)):
        length = min(np.uint64(_BLOCK), num_rows - start)
        for j in range(length):
            code = codes[start + j]
            factors[j] = factor[np.uint64(code)] if code >= first else np.float32(1.0)
        for j in range(length):
            i = start + j
            odds[i] = min(max(odds[i] * factors[j], LEAST_ODDS), MOST_ODDS)
            _fill_row(i, label, weight, odds[i], residual, curvature)


@compiled
def add_weights(codes: Codes, first: int, weights: Floats, logit: Floats) -> None:
    """Add each row's weight to its logit."""
    for i in range(len(codes)):
        code = codes[i]
        if code >= first:
            logit[i] += weights[code]


@compiled
def count_rows(codes: Codes, first: int, used: NDArray[np.bool_], counts: NDArray[np.int64]) -> None:
    """Add the number of used rows of each code to `counts` [size]."""
    for i in range(len(codes)):
        code = codes[i]
        if code >= first and used[i]:
            counts[code] += 1


# ------------------------------------------------------------------------------------------------ columns of lists
# `codes` and `factors` hold one row's list after the other; row i has lengths[i] of them. Empty `factors` are all 1.


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
    information: Sums,
    reach: Floats,
) -> None:
    """As `add_sums`, for logits that add up factor times weight over a row's list.

    The codes of a row step at the same time, so `hessian` gets the curvature of a separable bound:
    (sum a d)^2 <= (sum |a|)(sum |a| d^2). `information` [size] gets the curvature if a code steps alone. `reach` [size]
    becomes the greatest sum |a| of a code's rows.
    """
    place = 0
    for i in range(len(lengths)):
        end = place + lengths[i]
        if used[i] and curvature[i] > 0:
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
                    information[code] += factor * factor * curvature[i]
                    reach[code] = max(reach[code], total)
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
def multiply_list_odds(
    codes: Codes,
    lengths: NDArray[np.int64],
    factors: Floats,
    first: int,
    step: Floats,
    label: Floats,
    weight: Floats,
    odds: Floats,
    residual: Floats,
    curvature: Floats,
) -> None:
    """As `multiply_odds`, but with the step [size] itself."""
    place = 0
    for i in range(len(lengths)):
        moved = np.float32(0.0)
        for j in range(place, place + lengths[i]):
            if codes[j] >= first:
                moved += step[codes[j]] * (factors[j] if len(factors) else np.float32(1.0))
        if moved != 0.0:
            odds[i] = min(max(odds[i] * np.exp(moved), LEAST_ODDS), MOST_ODDS)
            _fill_row(i, label, weight, odds[i], residual, curvature)
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
