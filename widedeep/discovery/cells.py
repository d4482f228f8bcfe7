"""The gain of leave-one-out values of a candidate cross's cells; a cell is the rows with one combination of values."""

import numpy as np
from numpy.typing import NDArray

from widedeep.compiled import compiled


@compiled
def sorted_by_code(
    codes: NDArray[np.int32], rows: NDArray[np.int32], size: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """`rows` [n] sorted by their `codes` [n] (a counting sort), without those of negative codes.

    Returns the rows [m], and the position where each code's rows start, [size + 1].
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
    """The gain of leave-one-out values of the cells of a cross.

    `rows` [m] and `starts` [U + 1] are the rows sorted by the left member's code. `codes` [N] are the right member's
    codes of all rows, below `size`; negative codes are skipped. If the right member has lists, `codes` holds one row's
    list after the other, row i's from lists[i] to before lists[i + 1]. `residual` and `curvature` [N] are the first
    derivative and the negative second derivative of the rows' log likelihood. The cells of one left code fit into the
    nearest cache, so the rows are gone through by left code.

    A row's value is a Newton step without the row, d = (G - r) / D with D = H - h + lambda, where h is the cell's mean
    curvature. The gain in log likelihood, the sum of r d - h d^2 / 2, follows from the cell's sums (Q is that of r^2):
    (G^2 - Q) / D - h ((n - 2) G^2 + Q) / (2 D^2). The score is its first term. If rows are independent and the cell has
    no effect, the score has mean 0 and variance 2 (H^2 - n h^2) / D^2.

    Returns [L, 5], for each penalty lambda: gain, score and variance of the score; score and variance of cells of two
    rows.
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
