"""The cells of a candidate cross, summed over rows, and the gain that leave-one-out values of the cells would bring."""

import numpy as np
from numpy.typing import NDArray

from widedeep.compiled import compiled


@compiled
def runs_of(
    codes: NDArray[np.int32], rows: NDArray[np.int32], size: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """`rows` [n] in order of their `codes` [n] (a counting sort, negative codes left out), and where each code's begin.

    Returns the rows [m] and starts [size + 1].
    """
    starts = np.zeros(size + 1, dtype=np.int64)
    for i in range(len(codes)):
        if codes[i] >= 0:
            starts[codes[i] + 1] += 1
    for code in range(size):
        starts[code + 1] += starts[code]
    place = starts[:-1].copy()
    ordered = np.empty(starts[size], dtype=np.int32)
    for i in range(len(codes)):
        code = codes[i]
        if code >= 0:
            ordered[place[code]] = rows[i]
            place[code] += 1
    return ordered, starts


@compiled
def leave_one_out(
    rows: NDArray[np.int32],
    starts: NDArray[np.int64],
    codes: NDArray[np.int32],
    lists: NDArray[np.int64],
    size: int,
    residual: NDArray[np.float32],
    curvature: NDArray[np.float32],
    penalties: NDArray[np.float64],
) -> NDArray[np.float64]:
    """What leave-one-out values of the cells of a cross would gain.

    `rows` [m] and `starts` [U + 1] are the rows in order of the left member's code; `codes` [N] the right member's codes
    by row, below `size`, a negative one of which takes no part, or where it has lists their values behind each other, row
    i's from lists[i] to before lists[i + 1]; `residual` and `curvature` [N] are the first and second derivative of the
    rows' log likelihood. Row by row of the left member's runs the cells fit into the nearest cache.

    A row's value is a Newton step without the row, d = (G - r) / D with D = H - h + lambda, h taken as the cell's mean
    curvature. The gain in log likelihood, sum of r d - h d^2 / 2, follows from the cell's sums (Q of r^2):
    (G^2 - Q) / D - h ((n - 2) G^2 + Q) / (2 D^2). The score is its first term; where rows are independent and the cell
    has no effect it has mean 0 and variance 2 (H^2 - n h^2) / D^2.

    Returns [L, 5], per penalty lambda: gain, score, its variance; score and variance of the cells of two rows alone.
    """
    result = np.zeros((len(penalties), 5))
    sums = np.zeros((size, 4), dtype=np.float32)
    touched = np.empty(size, dtype=np.int32)
    for run in range(len(starts) - 1):
        if starts[run + 1] - starts[run] < 2:
            continue
        num_touched = 0
        for i in range(starts[run], starts[run + 1]):
            row = rows[i]
            first, last = (lists[row], lists[row + 1]) if len(lists) else (np.int64(row), np.int64(row) + 1)
            for j in range(first, last):
                code = codes[j]
                if code >= 0:
                    if sums[code, 0] == 0:
                        touched[num_touched] = code
                        num_touched += 1
                    r = residual[row]
                    sums[code, 0] += np.float32(1.0)
                    sums[code, 1] += r
                    sums[code, 2] += curvature[row]
                    sums[code, 3] += r * r
        for k in range(num_touched):
            code = touched[k]
            n = np.float64(sums[code, 0])
            if n > 1:
                g = np.float64(sums[code, 1])
                h_sum = np.float64(sums[code, 2])
                q = np.float64(sums[code, 3])
                h = h_sum / n
                score = g * g - q
                spread = 2.0 * h_sum * h_sum * (1.0 - 1.0 / n)
                bend = 0.5 * h * ((n - 2.0) * g * g + q)
                for p in range(len(penalties)):
                    d = 1.0 / (h_sum - h + penalties[p])
                    result[p, 0] += score * d - bend * d * d
                    result[p, 1] += score * d
                    result[p, 2] += spread * d * d
                    if n == 2:
                        result[p, 3] += score * d
                        result[p, 4] += spread * d * d
            sums[code, 0] = 0
            sums[code, 1] = 0
            sums[code, 2] = 0
            sums[code, 3] = 0
    return result
