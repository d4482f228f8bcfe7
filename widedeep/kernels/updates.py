"""The hot loops of the optimizer rules (see rules.py), which apply each touched row's summed gradient in place.

As in sparse.py, each call does one part of the work. Shapes as in reading.py; states have their table's shape, [R, D].
"""

import math

import numpy as np

from widedeep.compiled import compiled
from widedeep.kernels.reading import Floats, Longs
from widedeep.kernels.sparse import Entries, Scratch, sum_group
from widedeep.prefetch import prefetch

AHEAD = 12
"""A row is prefetched this many rows before it is needed, so that work on others hides the delay of memory."""
BLOCK = 512
"""Numbers that FTRL works on at a time: few enough for the first cache."""


@compiled
def _ask_ahead(rows: Longs, u: int, count: int, table: Floats, first_state: Floats, second_state: Floats) -> None:
    if u + AHEAD < count:
        row = rows[u + AHEAD]
        prefetch(table, row)
        prefetch(first_state, row)
        prefetch(second_state, row)


@compiled
def _collect(rows: Longs, table: Floats, block: Floats) -> None:
    width = table.shape[1]
    if width == 1:  # the wide part, where a loop over one number costs more than copying it
        numbers = table.ravel()
        for u in range(len(rows)):
            block[np.uint64(u)] = numbers[np.uint64(rows[np.uint64(u)])]
        return
    for u in range(len(rows)):
        for d in range(width):
            block[u * width + d] = table[rows[u], d]


@compiled
def _bring_back(rows: Longs, block: Floats, table: Floats) -> None:
    width = table.shape[1]
    if width == 1:
        numbers = table.ravel()
        for u in range(len(rows)):
            numbers[np.uint64(rows[np.uint64(u)])] = block[np.uint64(u)]
        return
    for u in range(len(rows)):
        for d in range(width):
            table[rows[u], d] = block[u * width + d]


@compiled
def follow_ftrl(
    gradients: Floats,
    w: Floats,
    z: Floats,
    n: Floats,
    alpha: np.float32,
    beta: np.float32,
    l1: np.float32,
    l2: np.float32,
) -> None:
    """rules.Ftrl on contiguous numbers, all [N]."""
    zero = np.float32(0.0)
    for i in range(len(gradients)):
        g = gradients[i]
        old_root, new_n = math.sqrt(n[i]), n[i] + g * g
        new_root = math.sqrt(new_n)
        new_z = z[i] + g - (new_root - old_root) / alpha * w[i]
        n[i] = new_n
        z[i] = new_z
        shrunk = max(abs(new_z) - l1, zero)
        w[i] = (shrunk if new_z < zero else zero - shrunk) / ((beta + new_root) / alpha + l2)


@compiled
def ftrl(
    part: int,
    parts: int,
    entries: Entries,
    scratch: Scratch,
    table: Floats,
    z: Floats,
    n: Floats,
    alpha: np.float32,
    beta: np.float32,
    l1: np.float32,
    l2: np.float32,
) -> None:
    """rules.Ftrl. Blocks of rows are copied to contiguous memory and back, so that eight roots are taken at a time."""
    width = table.shape[1]
    block = max(1, BLOCK // width)
    size = block * width
    block_w, block_z, block_n = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    for group in range(len(entries.column_bounds) - 1):
        count = sum_group(part, parts, group, entries, scratch)
        for first in range(0, count, block):
            rows = scratch.rows[first : min(first + block, count)]
            sums = scratch.sums[first : first + len(rows)].ravel()
            _collect(rows, table, block_w)
            _collect(rows, z, block_z)
            _collect(rows, n, block_n)
            follow_ftrl(sums, block_w, block_z, block_n, alpha, beta, l1, l2)
            _bring_back(rows, block_w, table)
            _bring_back(rows, block_z, z)
            _bring_back(rows, block_n, n)


@compiled
def adagrad(
    part: int,
    parts: int,
    entries: Entries,
    scratch: Scratch,
    table: Floats,
    n: Floats,
    rate: np.float32,
    l2: np.float32,
    epsilon: np.float32,
) -> None:
    """rules.Adagrad."""
    width = table.shape[1]
    for group in range(len(entries.column_bounds) - 1):
        count = sum_group(part, parts, group, entries, scratch)
        for u in range(count):
            _ask_ahead(scratch.rows, u, count, table, n, n)
            row, entry = np.uint64(scratch.rows[u]), np.uint64(u)
            for i in range(width):
                d = np.uint64(i)
                g = scratch.sums[entry, d] + l2 * table[row, d]
                n[row, d] += g * g
                table[row, d] -= rate * g / (math.sqrt(n[row, d]) + epsilon)


@compiled
def rowwise_adagrad(
    part: int,
    parts: int,
    entries: Entries,
    scratch: Scratch,
    table: Floats,
    n: Floats,
    rate: np.float32,
    l2: np.float32,
    epsilon: np.float32,
) -> None:
    """rules.RowwiseAdagrad; `n` [R, 1]."""
    width = table.shape[1]
    for group in range(len(entries.column_bounds) - 1):
        count = sum_group(part, parts, group, entries, scratch)
        for u in range(count):
            _ask_ahead(scratch.rows, u, count, table, n, n)
            row, entry = np.uint64(scratch.rows[u]), np.uint64(u)
            squares = np.float32(0.0)
            for i in range(width):
                d = np.uint64(i)
                g = scratch.sums[entry, d] + l2 * table[row, d]
                scratch.sums[entry, d] = g
                squares += g * g
            n[row, 0] += squares / np.float32(width)
            step = rate / (math.sqrt(n[row, 0]) + epsilon)
            for i in range(width):
                table[row, np.uint64(i)] -= step * scratch.sums[entry, np.uint64(i)]


@compiled
def adam(
    part: int,
    parts: int,
    entries: Entries,
    scratch: Scratch,
    table: Floats,
    m: Floats,
    v: Floats,
    step_size: np.float32,
    v_scale: np.float32,
    l2: np.float32,
    beta1: np.float32,
    beta2: np.float32,
    epsilon: np.float32,
) -> None:
    """rules.Adam; `step_size` is rate / (1 - beta1^step), `v_scale` 1 / (1 - beta2^step)."""
    width = table.shape[1]
    one = np.float32(1.0)
    for group in range(len(entries.column_bounds) - 1):
        count = sum_group(part, parts, group, entries, scratch)
        for u in range(count):
            _ask_ahead(scratch.rows, u, count, table, m, v)
            row, entry = np.uint64(scratch.rows[u]), np.uint64(u)
            for i in range(width):
                d = np.uint64(i)
                g = scratch.sums[entry, d] + l2 * table[row, d]
                new_m = m[row, d] + (one - beta1) * (g - m[row, d])
                new_v = v[row, d] * beta2 + g * g * (one - beta2)
                m[row, d] = new_m
                v[row, d] = new_v
                table[row, d] -= step_size * new_m / (math.sqrt(new_v * v_scale) + epsilon)


@compiled
def sgd(part: int, parts: int, entries: Entries, scratch: Scratch, table: Floats, rate: np.float32) -> None:
    """rules.Sgd."""
    width = table.shape[1]
    for group in range(len(entries.column_bounds) - 1):
        count = sum_group(part, parts, group, entries, scratch)
        for u in range(count):
            row, entry = np.uint64(scratch.rows[u]), np.uint64(u)
            for d in range(width):
                table[row, np.uint64(d)] -= rate * scratch.sums[entry, np.uint64(d)]
