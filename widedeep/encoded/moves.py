"""The hot loops that shuffle encoded rows. A row is one piece of memory here, because that moves faster than its parts.

Shapes: `columns` [C, N] int32, each column's numbers contiguous; `rows` [R, C] int32, C-contiguous.
"""

import numpy as np
from numpy.typing import NDArray

from widedeep.compiled import compiled
from widedeep.prefetch import prefetch

LINE = 16
"""32-bit numbers in a line of the cache."""
AHEAD = 12
"""A row is asked for this many rows before it is moved, so that work on others hides the delay of memory."""

Ints = NDArray[np.int32]


@compiled
def to_rows(columns: Ints, rows: Ints) -> None:
    """Write columns [C, N] to rows [N, C]."""
    for i in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            rows[np.uint64(i), np.uint64(c)] = columns[np.uint64(c), np.uint64(i)]


@compiled
def to_columns(rows: Ints, order: NDArray[np.int64], columns: Ints) -> None:
    """Write the rows with the numbers in `order` [N] to columns [C, N], in that order."""
    width = rows.shape[1]
    flat = rows.ravel()
    lines = flat[: len(flat) // LINE * LINE].reshape(-1, LINE)
    lines_of_row = (width + LINE - 1) // LINE + 1  # a row may start within a line
    for i in range(len(order)):
        if i + AHEAD < len(order):
            line = order[i + AHEAD] * width // LINE
            for number in range(lines_of_row):
                prefetch(lines, line + number)
        row = np.uint64(order[i])
        for c in range(width):
            columns[np.uint64(c), np.uint64(i)] = rows[row, np.uint64(c)]
