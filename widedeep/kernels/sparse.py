"""The hot loops that update a table: sum each row's gradients over a batch's look-ups, apply the optimizer's rule in place.

Every kernel does one part of the work: whole ranges of the table, or the rows whose hash falls to `part` of `parts`. A
row's gradients are summed in the order of the batch, so the sums do not depend on `parts`.

Shapes as in reading.py; states are shaped as their table, [R, D].
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from widedeep.compiled import compiled
from widedeep.kernels.prefetch import prefetch
from widedeep.kernels.reading import Floats, Ints, Longs

AHEAD = 12
"""Rows that are asked for before they are needed: enough to hide memory's delay behind the work on them."""
BLOCK = 512
"""Numbers that FTRL works on at a time, small enough for the first cache."""
WHOLE_GROUPS = 4
"""Groups per part from which on each is one part's work: none then looks at the rows of the others."""


class Entries(NamedTuple):
    """All places of a batch at which a table is read, with their gradients; ranges of the table in groups."""

    indices: Ints
    stride: int
    num_rows: int
    columns: Longs
    starts: Longs
    places: Longs
    column_bounds: Longs
    """[G + 1]: the columns of each group."""
    range_starts: Longs
    """[G + 1]: the first table row of each group, and the number of rows."""
    gradient: Floats
    bag_rows: Longs
    """[N] table rows of the bags' values."""
    bag_gradients: Floats
    """[N, D]."""
    bag_bounds: Longs
    """[G + 1]: the bags' values of each group."""


class Scratch(NamedTuple):
    """Room for one part's work on one group."""

    keys: Longs
    """[H], a power of two at least twice the group's look-ups."""
    slots: Ints
    """[S], H at least; all -1 between groups. Ranges of up to S rows need no hash."""
    rows: Longs
    """[M], the group's distinct table rows."""
    sums: Floats
    """[M, D], their gradients."""


@compiled
def _scrambled(row: int) -> np.uint64:
    return np.uint64(row) * np.uint64(0x9E3779B97F4A7C15)


@compiled
def _part_of(scrambled: np.uint64, parts: int) -> int:
    # The upper bits, scaled to the parts: a division takes longer than all else here.
    part: int = np.int64(((scrambled >> np.uint64(32)) * np.uint64(parts)) >> np.uint64(32))  # type: ignore[assignment]
    return part


@compiled
def _slot_of(row: int, first_row: int, direct: bool, mask: np.uint64, keys: Longs, slots: Ints) -> np.uint64:
    if direct:
        return np.uint64(row - first_row)
    slot: np.uint64 = (_scrambled(row) >> np.uint64(16)) & mask
    while slots[slot] >= 0 and keys[slot] != row:
        slot = (slot + np.uint64(1)) & mask
    return slot


@compiled
def _sum_numbers(
    indices: Ints,
    start: int,
    first_row: int,
    gradient: Floats,
    place: int,
    slots: Ints,
    rows: Longs,
    sums: Floats,
    count: int,
) -> int:
    """_sum_group for one column of a table of width 1 whose range needs no hash: in a third of its general loop's time."""
    slopes, stride, first = gradient.ravel(), np.uint64(gradient.shape[1]), np.uint64(place)
    shift = start - first_row
    for i in range(len(indices)):
        b = np.uint64(i)
        row = np.int64(indices[b])
        slot = np.uint64(row + shift)
        known = slots[slot]
        if known < 0:
            known = count
            slots[slot], rows[np.uint64(count)], sums[np.uint64(count)] = count, start + row, np.float32(0.0)
            count += 1
        sums[np.uint64(known)] += slopes[b * stride + first]
    return count


@compiled
def _sum_group(part: int, parts: int, group: int, entries: Entries, scratch: Scratch) -> int:
    """Sum the gradients of the part's rows of one group into `scratch`; returns how many rows there are."""
    if len(entries.column_bounds) > WHOLE_GROUPS * parts:
        if group % parts != part:
            return 0
        part, parts = 0, 1
    keys, slots, rows, sums = scratch
    first_row = entries.range_starts[group]
    direct = entries.range_starts[group + 1] - first_row <= len(slots)
    mask = np.uint64(len(keys) - 1)
    width = sums.shape[1]
    count = 0
    for c in range(entries.column_bounds[group], entries.column_bounds[group + 1]):
        base, start = entries.columns[c] * entries.stride, entries.starts[c]
        place = np.uint64(entries.places[c])
        if width == 1 and direct and parts == 1:
            own = entries.indices[base : base + entries.num_rows]
            count = _sum_numbers(own, start, first_row, entries.gradient, place, slots, rows, sums.ravel(), count)
            continue
        for b in range(entries.num_rows):
            row = start + np.int64(entries.indices[base + b])
            if parts > 1 and _part_of(_scrambled(row), parts) != part:
                continue
            slot = _slot_of(row, first_row, direct, mask, keys, slots)
            if slots[slot] < 0:
                slots[slot], rows[count] = count, row
                if not direct:
                    keys[slot] = row
                for d in range(width):
                    sums[np.uint64(count), np.uint64(d)] = entries.gradient[np.uint64(b), place + np.uint64(d)]
                count += 1
            else:
                known = np.uint64(slots[slot])
                for d in range(width):
                    sums[known, np.uint64(d)] += entries.gradient[np.uint64(b), place + np.uint64(d)]
    for j in range(entries.bag_bounds[group], entries.bag_bounds[group + 1]):
        row = entries.bag_rows[j]
        if parts > 1 and _part_of(_scrambled(row), parts) != part:
            continue
        slot = _slot_of(row, first_row, direct, mask, keys, slots)
        if slots[slot] < 0:
            slots[slot], rows[count] = count, row
            if not direct:
                keys[slot] = row
            for d in range(width):
                sums[count, d] = entries.bag_gradients[j, d]
            count += 1
        else:
            for d in range(width):
                sums[slots[slot], d] += entries.bag_gradients[j, d]
    if direct:
        for u in range(count):
            slots[rows[u] - first_row] = -1
    else:
        slots[: len(keys)] = -1
    return count


@compiled
def add_gradients(part: int, parts: int, entries: Entries, scratch: Scratch, dense: Floats) -> None:
    """Set the gradient [R, D] of the rows that the batch touched; the others are left as they are."""
    width = dense.shape[1]
    for group in range(len(entries.column_bounds) - 1):
        for u in range(_sum_group(part, parts, group, entries, scratch)):
            for d in range(width):
                dense[scratch.rows[u], d] = scratch.sums[u, d]


@compiled
def pay(
    part: int,
    parts: int,
    indices: Ints,
    stride: int,
    num_rows: int,
    columns: Longs,
    starts: Longs,
    bag_rows: Longs,
    table: Floats,
    received: NDArray[np.float64],
    decay: float,
) -> None:
    """Shrink the rows that the batch reads by what they owe: exp(decay - received); `received` [R], both logarithms."""
    for c in range(len(columns)):
        for b in range(num_rows):
            _pay_row(part, parts, starts[c] + np.int64(indices[columns[c] * stride + b]), table, received, decay)
    for j in range(len(bag_rows)):
        _pay_row(part, parts, bag_rows[j], table, received, decay)


@compiled
def _pay_row(part: int, parts: int, row: int, table: Floats, received: NDArray[np.float64], decay: float) -> None:
    if _part_of(_scrambled(row), parts) == part and received[row] != decay:
        owed = np.float32(math.exp(decay - received[row]))
        received[row] = decay
        for d in range(table.shape[1]):
            table[row, d] *= owed


# ------------------------------------------------------------------------------------------------ the rules (see rules.py)


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
    if width == 1:  # the wide part: a loop over one number costs more than the number
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
    """rules.Ftrl on numbers that lie side by side, all [N]."""
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
    """rules.Ftrl. The rows of a block are copied together and back: its roots and divisions then go eight at a time."""
    width = table.shape[1]
    block = max(1, BLOCK // width)
    size = block * width
    own_w, own_z, own_n = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    for group in range(len(entries.column_bounds) - 1):
        count = _sum_group(part, parts, group, entries, scratch)
        for first in range(0, count, block):
            rows = scratch.rows[first : min(first + block, count)]
            sums = scratch.sums[first : first + len(rows)].ravel()
            _collect(rows, table, own_w)
            _collect(rows, z, own_z)
            _collect(rows, n, own_n)
            follow_ftrl(sums, own_w, own_z, own_n, alpha, beta, l1, l2)
            _bring_back(rows, own_w, table)
            _bring_back(rows, own_z, z)
            _bring_back(rows, own_n, n)


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
        count = _sum_group(part, parts, group, entries, scratch)
        for u in range(count):
            _ask_ahead(scratch.rows, u, count, table, n, n)
            row, own = np.uint64(scratch.rows[u]), np.uint64(u)
            for i in range(width):
                d = np.uint64(i)
                g = scratch.sums[own, d] + l2 * table[row, d]
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
        count = _sum_group(part, parts, group, entries, scratch)
        for u in range(count):
            _ask_ahead(scratch.rows, u, count, table, n, n)
            row, own = np.uint64(scratch.rows[u]), np.uint64(u)
            squares = np.float32(0.0)
            for i in range(width):
                d = np.uint64(i)
                g = scratch.sums[own, d] + l2 * table[row, d]
                scratch.sums[own, d] = g
                squares += g * g
            n[row, 0] += squares / np.float32(width)
            step = rate / (math.sqrt(n[row, 0]) + epsilon)
            for i in range(width):
                table[row, np.uint64(i)] -= step * scratch.sums[own, np.uint64(i)]


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
        count = _sum_group(part, parts, group, entries, scratch)
        for u in range(count):
            _ask_ahead(scratch.rows, u, count, table, m, v)
            row, own = np.uint64(scratch.rows[u]), np.uint64(u)
            for i in range(width):
                d = np.uint64(i)
                g = scratch.sums[own, d] + l2 * table[row, d]
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
        count = _sum_group(part, parts, group, entries, scratch)
        for u in range(count):
            row, own = np.uint64(scratch.rows[u]), np.uint64(u)
            for d in range(width):
                table[row, np.uint64(d)] -= rate * scratch.sums[own, np.uint64(d)]
