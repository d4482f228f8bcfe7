"""The gain of leave-one-out values of a candidate cross's cells; a cell is the rows with one combination of values."""

import numpy as np
from numpy.typing import NDArray

from widedeep.compiled import compiled
from widedeep.discovery.vectors import LANES, add_gains, add_row, clear_row


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
def joined(
    left: NDArray[np.int32], left_size: int, right: NDArray[np.int32], right_size: int
) -> tuple[NDArray[np.int32], int]:
    """One code [n] for each pair of codes, in their order, -1 if either is negative; and the number of codes."""
    by_right, _ = sorted_by_code(right, np.arange(len(right), dtype=np.int32), right_size)
    places, starts = sorted_by_code(left[by_right], by_right, left_size)
    codes = np.full(len(left), -1, dtype=np.int32)
    size = 0
    for run in range(left_size):
        for i in range(starts[run], starts[run + 1]):
            if i == starts[run] or right[places[i]] != right[places[i - 1]]:
                size += 1
            codes[places[i]] = size - 1
    return codes, size


@compiled
def in_order(rows: NDArray[np.int32], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """values[rows], [m]."""
    ordered = np.empty(len(rows), dtype=np.float32)
    for i in range(len(rows)):
        ordered[i] = values[np.uint64(rows[i])]
    return ordered


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
    list after the other, row i's from lists[i] to before lists[i + 1]. `residual` and `curvature` [m], in the order of
    `rows`, are the first derivative and the negative second derivative of the rows' log likelihood. The cells of one
    left code fit into the nearest cache, so the rows are gone through by left code.

    A row's value is a Newton step without the row, d = (G - r) / D with D = H - h + lambda, where h is the cell's mean
    curvature. The gain in log likelihood, the sum of r d - h d^2 / 2, follows from the cell's sums (Q is that of r^2):
    (G^2 - Q) / D - h ((n - 2) G^2 + Q) / (2 D^2). The score is its first term. If rows are independent and the cell has
    no effect, the score has mean 0 and variance 2 (H^2 - n h^2) / D^2.

    Returns [L, 5], for each penalty lambda, of which there are at most LANES: gain, score and variance of the score;
    score and variance of cells of two rows.
    """
    lanes = np.full(LANES, np.inf)
    lanes[: len(penalties)] = penalties
    totals = np.zeros((2, 3 * LANES))
    # A code is written to `touched` at each of its rows, and counted at the first: there is room for one more.
    sums, touched = np.zeros((size, 4), dtype=np.float32), np.empty(size + 1, dtype=np.int32)
    for run in range(len(starts) - 1):
        start, end = np.uint64(starts[run]), np.uint64(starts[run + 1])
        if end - start < 2:
            continue
        num_touched = np.uint64(0)
        if len(lists):
            for i in range(start, end):
                for j in range(np.uint64(lists[rows[i]]), np.uint64(lists[rows[i] + 1])):
                    if codes[j] >= 0:
                        num_touched += _add_to_cell(sums, touched, num_touched, codes[j], residual[i], curvature[i])
        else:
            for i in range(start, end):
                code = codes[np.uint64(rows[i])]
                if code >= 0:
                    num_touched += _add_to_cell(sums, touched, num_touched, code, residual[i], curvature[i])
        for k in range(num_touched):
            cell = np.uint64(touched[k])
            n = np.float64(sums[cell, 0])
            if n > 1:
                g = np.float64(sums[cell, 1])
                h_sum = np.float64(sums[cell, 2])
                q = np.float64(sums[cell, 3])
                h = h_sum / n
                score = g * g - q
                spread = 2.0 * h_sum * h_sum * (1.0 - 1.0 / n)
                bend = 0.5 * h * ((n - 2.0) * g * g + q)
                add_gains(totals, np.uint64(0), lanes, h_sum - h, score, bend, spread)
                if n == 2:
                    add_gains(totals, np.uint64(1), lanes, h_sum - h, score, bend, spread)
            clear_row(sums, cell)
    result = np.empty((len(penalties), 5))
    for p in range(len(penalties)):
        for place in range(3):
            result[p, place] = totals[0, place * LANES + p]
        for place in range(1, 3):
            result[p, 2 + place] = totals[1, place * LANES + p]
    return result


@compiled
def _add_to_cell(
    sums: NDArray[np.float32],
    touched: NDArray[np.int32],
    num_touched: int,
    code: int,
    residual: np.float32,
    curvature: np.float32,
) -> np.uint64:
    """Add a row to its cell; returns 1 if it is the cell's first row, else 0."""
    touched[num_touched] = code
    before = add_row(sums, np.uint64(code), np.float32(1.0), residual, curvature, residual * residual)
    return np.uint64(before == 0)
